"""Prints what keeping freed memory gives: the demo's training with it and without, in turn.

    python benchmarks/freed_memory.py

Each run is `vlm train` with demo.gin in a process of its own, on the CPU. Prints the median of
images a second, without the first two log points, and the page faults of the process; at the end
the ratio of the best. Five minutes on two cores.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

KINDS = ('kept', 'given back')
LEFT_OUT = 2  # log points in which programs are loaded and buffers filled


def main() -> None:
    """Measures and prints, or is one of the runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=80)
    parser.add_argument('--repeats', type=int, default=2)
    parser.add_argument('--run', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        train(*args.run, args.steps)
        return
    best = dict.fromkeys(KINDS, 0.0)
    for _, kind in itertools.product(range(args.repeats), KINDS):
        with tempfile.TemporaryDirectory() as folder:
            rate, faults = measure(kind, Path(folder), args.steps)
        best[kind] = max(best[kind], rate)
        print(f'{kind}: {rate:.1f} images a second, {faults:,} page faults', flush=True)
    print(f'{best["kept"] / best["given back"]:.2f} times as quick where it is kept')


def train(kind: str, folder: str, steps: str) -> None:
    """A run that leaves its metrics in `folder`."""
    from vlm import cli

    flags = ['--gin_file=demo.gin', f'--gin.MODEL_DIR={folder!r}', f'--gin.TRAIN_STEPS={steps}']
    flags += ['--gin.LOG_PERIOD=10', '--gin.train.Trainer.evaluation=None']
    keeping = mock.patch.object(cli, '_keep_freed_memory', lambda: None)
    if kind == 'given back':
        keeping.start()
    sys.exit(cli.main(['train', *flags]))


def measure(kind: str, folder: Path, steps: int) -> tuple[float, int]:
    """Images a second and page faults of a run."""
    run = folder / 'run'
    command = [sys.executable, __file__, f'--steps={steps}', '--run', kind, str(run)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    rows = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    rates = [row['values'].get('examples_per_second') for row in rows]
    return statistics.median([rate for rate in rates if rate][LEFT_OUT:]), usage.ru_minflt


if __name__ == '__main__':
    main()
