"""Captions as they are published: Karpathy's splits, COCO-like files, translations, screens."""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlm.data.layouts.published import known_answers, read_json, read_json_lines

Row = dict[str, Any]


def karpathy(path: Path) -> Iterator[Row]:
    """`dataset_coco.json` and its kin: every image with all captions and its `split`."""
    for image in read_json(path)['images']:
        captions = [sentence['raw'].strip() for sentence in image['sentences']]
        number = image.get('cocoid', image['imgid'])
        yield {**image, 'id': number, 'captions': captions, 'sentences': None}


def coco_captions(path: Path) -> Iterator[Row]:
    """A COCO-like file of `images` and, where they are published, `annotations` (NoCaps)."""
    content = read_json(path)
    captions = defaultdict(list)
    for annotation in content.get('annotations', ()):
        captions[annotation['image_id']].append(annotation['caption'])
    for image in content['images']:
        yield {**image, 'captions': known_answers(captions[image['id']])}


def textcaps(path: Path) -> Iterator[Row]:
    """`TextCaps_0.1_*.json`: a row a caption, joined by image; lower case, as PaliGemma does."""
    captions: dict[str, list[str]] = {}
    for row in read_json(path)['data']:
        known = captions.setdefault(row['image_id'], [])
        if row.get('caption_str'):
            known.append(row['caption_str'].lower())
    for image_id, found in captions.items():
        yield {'id': image_id, 'image_id': image_id, 'captions': known_answers(found)}


def scicap(list_file: Path, folder: Path) -> Iterator[Row]:
    """A list of figures, and a file for each: its first sentence, in lower case, unnumbered."""
    for name in read_json(list_file):
        stem = name.removesuffix('.png')
        cleaned = read_json(folder / f'{stem}.json')[
            '1-lowercase-and-token-and-remove-figure-index'
        ]
        sentences = cleaned.get('sentence') or [cleaned['caption']]
        yield {'id': stem, 'name': name, 'caption': sentences[0]}


def screen2words(list_file: Path, summaries: Path) -> Iterator[Row]:
    """The screens of a split, one number a line, and all summaries in one CSV file."""
    captions = defaultdict(list)
    with summaries.open(newline='', encoding='utf-8') as file:
        for row in csv.DictReader(file):
            captions[row['screenId']].append(row['summary'])
    for number in list_file.read_text().split():
        yield {'id': number, 'captions': known_answers(captions[number])}


# Rico's coordinates are those of this canvas, whatever size its screenshots have.
_RICO_WIDTH, _RICO_HEIGHT = 1440, 2560


def widget_captions(list_file: Path, captions: Path, screens: Path) -> Iterator[Row]:
    """Widgets of the screens of a split, with the `box` of each out of its screen's tree."""
    wanted = set(list_file.read_text().split())
    with captions.open(newline='', encoding='utf-8') as file:
        for row in csv.DictReader(file):
            if row['screenId'] in wanted:
                yield {
                    'id': f'{row["screenId"]}_{row["nodeId"]}',
                    'screen': row['screenId'],
                    'box': _widget_box(screens / f'{row["screenId"]}.json', row['nodeId']),
                    'captions': row['captions'].split('|'),
                }


def _widget_box(screen: Path, node_id: str) -> list[float]:
    """A node's place: '0.1.2' is the third child of the root's second child."""
    node = read_json(screen)['activity']['root']
    for number in node_id.split('.')[1:]:
        node = node['children'][int(number)]
    left, top, right, bottom = node['bounds']
    edges = top / _RICO_HEIGHT, left / _RICO_WIDTH, bottom / _RICO_HEIGHT, right / _RICO_WIDTH
    return [min(max(edge, 0.0), 1.0) for edge in edges]


def crossmodal(path: Path) -> Iterator[Row]:
    """`captions.jsonl` of Crossmodal-3600: `captions` by language."""
    for row in read_json_lines(path):
        captions = {k: v['caption'] for k, v in row.items() if isinstance(v, dict)}
        yield {'id': row['image/key'], 'key': row['image/key'], 'captions': captions}


def coco_35l(translations: Path, coco: Path) -> Iterator[Row]:
    """`coco_mt_*.jsonl` with Karpathy's file for the names of the pictures.

    A line is an English caption and its translation; English itself is taken from the lines of one
    language, or every caption would be there 35 times.
    """
    places = {image['cocoid']: image for image in read_json(coco)['images']}
    captions: dict[int, dict[str, list[str]]] = {}
    for row in read_json_lines(translations):
        found = captions.setdefault(int(row['image_id'].split('_')[0]), defaultdict(list))
        found[row['trg_lang']].append(row['translation_tokenized'])
        if row['trg_lang'] == 'de':
            found['en'].append(row['caption_tokenized'])
    for number, found in captions.items():
        place = {name: places[number][name] for name in ('filepath', 'filename')}
        yield {'id': number, **place, 'captions': dict(found)}
