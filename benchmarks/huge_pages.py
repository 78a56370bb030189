"""Prints what memory in huge pages gives: the demo's training with it and without, in turn.

    python benchmarks/huge_pages.py

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

from vlm.runner.host_memory import SETTING, VARIABLE

KINDS = {'huge pages': f'{SETTING}=1', 'small pages': f'{SETTING}=0'}
LEFT_OUT = 2  # log points in which programs are loaded and buffers filled


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=80)
    parser.add_argument('--repeats', type=int, default=2)
    args = parser.parse_args()
    best = dict.fromkeys(KINDS, 0.0)
    for _, kind in itertools.product(range(args.repeats), KINDS):
        with tempfile.TemporaryDirectory() as folder:
            rate, faults = measure(kind, Path(folder), args.steps)
        best[kind] = max(best[kind], rate)
        print(f'{kind}: {rate:.1f} images a second, {faults:,} page faults', flush=True)
    print(f'{best["huge pages"] / best["small pages"]:.2f} times as quick with huge pages')


def measure(kind: str, folder: Path, steps: int) -> tuple[float, int]:
    """Images a second and page faults of a run."""
    run = folder / 'run'
    command = [sys.executable, '-m', 'vlm.cli', 'train', '--gin_file=demo.gin']
    command += [f'--gin.MODEL_DIR={str(run)!r}', f'--gin.TRAIN_STEPS={steps}']
    command += ['--gin.LOG_PERIOD=10', '--gin.train.Trainer.evaluation=None']
    environment = {**os.environ, VARIABLE: KINDS[kind]}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    rows = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    rates = [row['values'].get('examples_per_second') for row in rows]
    return statistics.median([rate for rate in rates if rate][LEFT_OUT:]), usage.ru_minflt


if __name__ == '__main__':
    main()
