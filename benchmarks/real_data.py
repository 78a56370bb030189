"""Trains on small real data sets and prints each score beside a trivial baseline.

    python benchmarks/real_data.py cifar10 nlvr --archives FOLDER

FOLDER holds the archives of `ARCHIVES`, one folder a data set. They are unpacked into --data (kept,
so the second run finds it), and rows are split into train.jsonl and test.jsonl: every fifth row is
for testing where no test split came along; nlvr_rows.py makes those of NLVR. Each run is the `vlm
train` command with gin/real/NAME.gin in a process of its own; flags after `--` are handed on. The
line printed for each holds the scores, the baseline's, the first and last training loss, seconds
and peak memory.
"""

import argparse
import collections
import json
import os
import sys
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from vlm.boxes import box_iou, clip_box
from vlm.metrics.captions import cider
from vlm.metrics.text import character_error_rate, exact_match

import nlvr_rows
import peak_memory

ARCHIVES = {
    'cifar10': ('cifar10/cifar10_train10k.tar', 'cifar10/cifar10_test1k.tar'),
    'iiit5k': ('iiit5k/iiit5k_train.tar',),
    'sroie': ('sroie_mini/sroie_mini_train.tar',),
    'flickr8k': ('flickr8k_mini/flickr8k_mini_train.tar',),
    'coco': ('coco_mini/coco_mini_train.tar',),
    'nlvr': ('nlvr/nlvr_train_perm0.tar', 'nlvr/nlvr_dev_perm0.tar'),
}
ROWS = {
    'iiit5k': 'iiit5k/train/words.jsonl',
    'sroie': 'sroie_mini/train/receipts.jsonl',
    'flickr8k': 'flickr8k_mini/train/captions.jsonl',
    'coco': 'coco_mini/train/objects.jsonl',
}
HELD_OUT = 5  # every fifth row
METRICS = {
    'exact_match': exact_match,
    'character_error_rate': character_error_rate,
    'cider': cider,
}

Rows = list[dict[str, Any]]


def main() -> None:
    """Prepares and runs the data sets named, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('names', nargs='+', choices=[*ARCHIVES, 'all'])
    parser.add_argument('--archives', type=Path, required=True, help='the folder of the archives')
    parser.add_argument('--data', type=Path, default=Path('real_data'), help='where to unpack')
    parser.add_argument('--runs', type=Path, default=Path('real_runs'), help='for run directories')
    args, flags = parser.parse_known_args()
    for name in args.names:
        for part in ARCHIVES if name == 'all' else [name]:
            prepare(part, args.archives, args.data)
        figures = train(name, args.data, args.runs / name, [f for f in flags if f != '--'])
        print(json.dumps(figures), flush=True)


def prepare(name: str, archives: Path, data: Path) -> None:
    """Unpacks a data set and writes its train.jsonl and test.jsonl, unless it is there."""
    done = data / f'{name}.prepared'
    if done.exists():
        return
    data.mkdir(parents=True, exist_ok=True)
    for archive in ARCHIVES[name]:
        with tarfile.open(archives / archive) as file:
            file.extractall(data, filter='data')
    if name == 'nlvr':
        nlvr_rows.prepare(data / 'nlvr')
    elif name in ROWS:
        path = data / ROWS[name]
        rows = [_unique_objects(row) if name == 'coco' else row for row in read_rows(path)]
        held = [i % HELD_OUT == 0 for i in range(len(rows))]
        for split, wanted in (('train', False), ('test', True)):
            kept = [
                row
                for row, out in zip(rows, held, strict=True)
                if out is wanted and row.get('objects') != []  # nothing to ask for
            ]
            write_rows(path.with_name(f'{split}.jsonl'), kept)
    done.touch()


def _unique_objects(row: dict[str, Any]) -> dict[str, Any]:
    """Only the objects that their label is enough to tell."""
    counts = collections.Counter(entry['label'] for entry in row['objects'])
    objects = [
        {**entry, 'expressions': [entry['label']]}
        for entry in row['objects']
        if counts[entry['label']] == 1
    ]
    return {**row, 'objects': objects}


def read_rows(path: Path) -> Rows:
    """The objects of a file of JSON lines."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """The reverse."""
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))


def train(name: str, data: Path, run: Path, flags: list[str]) -> dict[str, Any]:
    """One training run: its figures by name."""
    began = time.time()
    program = [sys.executable, '-m', 'vlm.cli', 'train', f'--gin_file=real/{name}.gin']
    if name == 'nlvr':
        vocabulary = str((data / 'nlvr' / 'vocab.model').resolve())
        program.append(f'--gin.VOCABULARY={vocabulary!r}')
    peak = peak_memory.run(
        [*program, f'--gin.MODEL_DIR={str(run)!r}', *flags],
        env={**os.environ, 'VLM_DATA_DIR': str(data.resolve())},
    )
    figures: dict[str, Any] = {'name': name, 'seconds': round(time.time() - began)}
    figures['peak_rss_gib'] = round(peak / 2**30, 2)
    logged = [row for row in read_rows(run / 'metrics.jsonl') if row['kind'] == 'train']
    losses = [row['values']['loss'] for row in logged]
    figures['losses'] = [round(losses[0], 3), round(losses[-1], 3)]
    for score in json.loads((run / 'scores.json').read_text())['scores']:
        key = f'{score["task"]}/{score["metric"]}'
        figures[key] = round(score['value'], 4)
        baseline = baseline_of(score, run, data)
        if baseline is not None:
            figures[f'{key} (baseline)'] = round(baseline, 4)
    return figures


def baseline_of(score: dict[str, Any], run: Path, data: Path) -> float | None:
    """The score of one constant answer, learnt from the training rows; None for other metrics."""
    answered = read_rows(run / 'inference' / f'{score["task"]}-{score["step"]:06d}.jsonl')
    name = score['task'].removeprefix('real_').removesuffix('_test')
    if name not in ARCHIVES:
        return None
    if name == 'coco':
        return mean_box_score(score['metric'], answered, read_rows(data / _train_file(name)))
    if score['metric'] not in METRICS:
        return None
    said = most_common_answer(name, data)
    targets = [row['references'] for row in answered]
    return METRICS[score['metric']](targets, [said] * len(targets))[score['metric']]


def most_common_answer(name: str, data: Path) -> str:
    """The label, word, shop, caption or truth value that training rows have most often."""
    if name == 'cifar10':
        folders = sorted((data / 'cifar10' / 'train').iterdir())
        return max(folders, key=lambda folder: len(list(folder.iterdir()))).name
    rows = read_rows(data / _train_file(name))
    answers = {
        'iiit5k': lambda row: [row['text']],
        'sroie': lambda row: [row['fields']['company']],
        'flickr8k': lambda row: row['captions'],
        'nlvr': lambda row: [row['answer']],
    }[name]
    counts = collections.Counter(answer for row in rows for answer in answers(row))
    return counts.most_common(1)[0][0]


def mean_box_score(metric: str, answered: Rows, training: Rows) -> float | None:
    """Mean IoU, or the share of 0.5 or more, of the mean box of the training objects."""
    boxes = [
        np.divide(entry['box'], [row['width'], row['height']] * 2)[[1, 0, 3, 2]]
        for row in training
        for entry in row['objects']
    ]
    mean = np.mean(clip_box(np.array(boxes)), axis=0)
    overlaps = box_iou(mean, np.array([row['reference_boxes'][0] for row in answered]))
    if metric == 'mean_iou':
        return float(np.mean(overlaps))
    return float(np.mean(overlaps >= 0.5)) if metric == 'acc_at_0.5' else None


def _train_file(name: str) -> str:
    if name == 'nlvr':
        return 'nlvr/train/train.jsonl'
    return str(Path(ROWS[name]).with_name('train.jsonl'))


if __name__ == '__main__':
    main()
