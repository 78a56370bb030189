"""Rows of NLVR for training: its sentences, and made statements about all pictures.

Of the train split most pictures have no sentence, but what they show is known. Statements in the
sentences' words are drawn first, then pictures of which each is true and as many of which it is
not, so that words alone tell nothing; more than half of the time from the pictures of one sheet, as
the annotators saw them, which hold the same objects in other places. Beside them, reading out what
is in a box and counting teach to see.
"""

import collections
import json
import re
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from PIL import Image

from vlm.vocab_training import train_vocabulary

from nlvr_scenes import BOX_SIDE, Scene, is_tower, place, scene_of, things, things_of
from nlvr_statements import scattered_statement
from nlvr_towers import tower_statement

STATEMENTS = 24  # a picture, on average
COUNTS = 8  # questions for numbers
OWN_SENTENCE = 2  # how often a picture's own sentence, if it has one, is among them
FROM_SHEETS = 0.6  # share of statements
BOX_STEP = 150  # pixels from a box of the original picture to the next
BOXES = ('left', 'middle', 'right')

Row = dict[str, Any]


def prepare(folder: Path) -> None:
    """Writes train/train.jsonl, train/statements.jsonl, dev/test.jsonl and vocab.model.

    `folder` holds the unpacked splits; pictures without the strips between the boxes are put beside
    the original ones.
    """
    train, dev = folder / 'train', folder / 'dev'
    sentences, others = (_read(train / f'{name}.json') for name in ('train', 'train_nosentence'))
    _write(train / 'train.jsonl', [_sentence(row, train) for row in sentences])
    _write(dev / 'test.jsonl', [_sentence(row, dev) for row in _read(dev / 'dev.json')])
    rng = Random(0)
    rows = questions_of(sentences + others, rng)
    for row, asked in zip(sentences + others, rows, strict=True):
        asked['image'] = _picture(row, train)
    rng.shuffle(rows)
    _write(train / 'statements.jsonl', rows)
    texts = [text for row in rows[::4] for text in row['questions'] + row['answers']]
    texts += [plain(row['sentence']) for row in sentences]
    train_vocabulary(texts, folder / 'vocab.model', size=600)


def plain(sentence: str) -> str:
    """A sentence in lower case, without a full stop and superfluous spaces."""
    return re.sub(r'\s+', ' ', sentence.lower().strip(' .'))


def questions_of(annotations: list[Row], rng: Random) -> list[Row]:
    """A row with `questions` and `answers` for each annotated picture."""
    rows = [{'id': row['identifier'], 'questions': [], 'answers': []} for row in annotations]
    scenes = {row['identifier']: scene_of(row['structured_rep']) for row in annotations}
    for tower in (False, True):
        kept = [row for row in rows if is_tower(scenes[row['id']]) is tower]
        _add_statements(kept, scenes, tower, rng)
    for row, annotation in zip(rows, annotations, strict=True):
        scene = scenes[row['id']]
        if 'sentence' in annotation:
            for _ in range(OWN_SENTENCE):
                _ask(row, plain(annotation['sentence']), annotation['label'])
        for name, box in zip(BOXES, scene, strict=True):
            _ask(row, f'{name} box', ' '.join(f'{thing.color} {thing.shape}' for thing in box))
        for _ in range(COUNTS):
            _ask(row, *_how_many(scene, rng))
    return rows


def _add_statements(rows: list[Row], scenes: dict[str, Scene], tower: bool, rng: Random) -> None:
    draw = tower_statement if tower else scattered_statement
    sheets = collections.defaultdict(list)
    for row in rows:
        sheets[row['id'].split('-')[0]].append(row)
    sheets = list(sheets.values())
    wanted = STATEMENTS * len(rows)
    while wanted > 0:
        text, holds = draw(rng)
        from_sheets = rng.random() < FROM_SHEETS
        drawn = _sample(rng, sheets, 30) if from_sheets else [_sample(rng, rows, 40)]
        room = 4
        for part in drawn:
            true, false = _split(part, [holds(scenes[row['id']]) for row in part])
            for row, other in list(zip(true, false, strict=False))[:room]:
                _ask(row, text, 'true')
                _ask(other, text, 'false')
                room, wanted = room - 1, wanted - 2
            if not room:
                break


def _sample(rng: Random, population: list[Any], most: int) -> list[Any]:
    return rng.sample(population, min(most, len(population)))


def _split(rows: list[Row], truths: list[bool]) -> tuple[list[Row], list[Row]]:
    told = list(zip(rows, truths, strict=True))
    return [row for row, truth in told if truth], [row for row, truth in told if not truth]


def _how_many(scene: Scene, rng: Random) -> tuple[str, str]:
    tower = is_tower(scene)
    named, fits = things(rng, True, tower, colored=0.85)
    where, lies = ('', lambda thing: True)
    if not tower and rng.random() < 0.35:
        where, lies = place(rng)
        where = f' {where}'
    seen = things_of(scene)
    if rng.random() < 0.6:
        i = rng.randrange(len(scene))
        where, seen = f'{where} in the {BOXES[i]} box', scene[i]
    return f'how many {named}{where}', str(sum(fits(o) and lies(o) for o in seen))


def _ask(row: Row, question: str, answer: str) -> None:
    row['questions'].append(question)
    row['answers'].append(answer)


def _sentence(row: Row, folder: Path) -> Row:
    asked = {'question': plain(row['sentence']), 'answer': row['label']}
    return {'id': row['identifier'], 'image': _picture(row, folder), **asked}


def _picture(row: Row, folder: Path) -> str:
    """Writes the picture's boxes side by side; returns the file's place in `folder`."""
    name = f'{row["identifier"]}-0.png'
    path = folder / 'boxes' / f'{row["identifier"]}.png'
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        shown = Image.open(folder / 'images' / row['directory'] / f'{folder.name}-{name}')
        joined = Image.new('RGB', (BOX_SIDE * len(BOXES), BOX_SIDE))
        for i in range(len(BOXES)):
            left = BOX_STEP * i
            box = shown.convert('RGB').crop((left, 0, left + BOX_SIDE, BOX_SIDE))
            joined.paste(box, (BOX_SIDE * i, 0))
        joined.save(path)
    return str(path.relative_to(folder))


def _read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write(path: Path, rows: Iterable[Row]) -> None:
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
