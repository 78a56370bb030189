"""Classes as they are published: lists of pictures, synsets, names in other languages."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlm.data.layouts.published import read_json
from vlm.errors import unknown_name

Row = dict[str, Any]


def synset_names(path: Path) -> dict[str, str]:
    """ImageNet's `LOC_synset_mapping.txt`, in its order: 'n01440764' -> 'tench'."""
    lines = (line.split(' ', 1) for line in path.read_text().splitlines() if line)
    return {synset: names.split(',')[0].strip() for synset, names in lines}


def imagenet_train(synsets: Path, folder: Path) -> Iterator[Row]:
    """A folder per synset."""
    for synset, label in synset_names(synsets).items():
        for name in sorted(os.listdir(folder / synset)):
            yield {'id': name, 'name': f'{synset}/{name}', 'label': label}


def imagenet_val(synsets: Path, solution: Path) -> Iterator[Row]:
    """Kaggle's `LOC_val_solution.csv`: a picture and its synset, with boxes behind it."""
    names = synset_names(synsets)
    for picture, synset in _solution(solution):
        yield {'id': picture, 'name': f'{picture}.JPEG', 'label': names[synset]}


def babel_imagenet(labels: Path, synsets: Path, solution: Path, language: str) -> Iterator[Row]:
    """Babel-ImageNet (2306.08658): names of some of the classes in one language.

    The file holds {'DE': [[class numbers], [names]], ...}; numbers count synsets in their order.
    """
    content = read_json(labels)
    if language.upper() not in content:
        raise unknown_name('language', language, map(str.lower, content), str(labels))
    numbers, names = content[language.upper()]
    order = sorted(synset_names(synsets))
    known = {order[number]: name for number, name in zip(numbers, names, strict=True)}
    for picture, synset in _solution(solution):
        if synset in known:
            yield {'id': picture, 'name': f'{picture}.JPEG', 'label': known[synset]}


def _solution(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(newline='') as file:
        for row in csv.DictReader(file):
            yield row['ImageId'], row['PredictionString'].split()[0]


def food101(path: Path) -> Iterator[Row]:
    """`meta/train.json`: {'apple_pie': ['apple_pie/1005649', ...]}."""
    for label, names in read_json(path).items():
        for name in names:
            yield {'id': name, 'name': f'{name}.jpg', 'label': label.replace('_', ' ')}


def pets(path: Path) -> Iterator[Row]:
    """`annotations/trainval.txt`: 'Abyssinian_100 1 1 1'."""
    for line in path.read_text().splitlines():
        if line and not line.startswith('#'):
            name = line.split()[0]
            label = name.rpartition('_')[0].replace('_', ' ')
            yield {'id': name, 'name': f'{name}.jpg', 'label': label}


def sun397(path: Path) -> Iterator[Row]:
    """`Training_01.txt`: '/a/apartment_building/outdoor/sun_aaa.jpg'."""
    for name in path.read_text().split():
        label = ' '.join(name.strip('/').split('/')[1:-1]).replace('_', ' ')
        yield {'id': name, 'name': name.strip('/'), 'label': label}
