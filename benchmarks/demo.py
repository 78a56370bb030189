"""Trains the demo several times and prints what docs/results.md states.

    python benchmarks/demo.py --gin_file=demo.gin --seeds 0 1 2

Each run is the `vlm train` command in a process of its own; nothing else should run meanwhile.
Prints a row a seed: the scores, the time of the whole run, the share of the train step in it, the
time from the command to the end of the first training step (everything compiled anew), and peak
resident memory (of the one process: it starts no others).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import peak_memory

SHOWN = {
    'easy_vqa': ['vqa_accuracy'],
    'easy_vqa_caption': ['exact_match'],
    'easy_vqa_locca_aref': ['acc_at_0.5', 'mean_iou'],
    'digits_ocr': ['exact_match', 'character_error_rate'],
    'digits_detect': ['f1_at_0.5'],
}


def main() -> None:
    """Runs the seeds one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gin_file', default='demo.gin')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--keep', type=Path, help='a folder for the run directories')
    args, overrides = parser.parse_known_args()
    folder = args.keep or Path(tempfile.mkdtemp())
    for seed in args.seeds:
        run = folder / f'seed_{seed}'
        print(json.dumps(measure(args.gin_file, seed, run, overrides)), flush=True)


def measure(gin_file: str, seed: int, run: Path, overrides: list[str]) -> dict[str, object]:
    """One training run: its figures by name."""
    flags = [f'--gin_file={gin_file}', f'--gin.MODEL_DIR={str(run)!r}', f'--gin.RANDOM_SEED={seed}']
    began = time.time()
    flags += ['--gin.LOG_PERIOD=1', '--gin.COMPILATION_CACHE=False']
    program = [sys.executable, '-m', 'vlm.cli', 'train', *flags, *overrides]
    peak = peak_memory.run(program)
    seconds = time.time() - began
    first = json.loads((run / 'metrics.jsonl').read_text().splitlines()[0])
    summary = json.loads((run / 'summary.json').read_text())
    figures: dict[str, object] = {'seed': seed}
    for score in json.loads((run / 'scores.json').read_text())['scores']:
        if score['metric'] in SHOWN.get(score['task'], ()):
            figures[f'{score["task"]}/{score["metric"]}'] = round(score['value'], 3)
    figures |= {
        'seconds': round(seconds),
        'share_of_train_step': summary['share_of_train_step'],
        'first_step_seconds': round(first['time'] - began, 1),
        'peak_rss_gib': round(peak / 2**30, 2),
    }
    return figures


if __name__ == '__main__':
    main()
