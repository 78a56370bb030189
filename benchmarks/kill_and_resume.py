"""Kills a run again and again and shows that it ends as if nobody had touched it.

    python benchmarks/kill_and_resume.py

Trains a tiny model once without interruption. Then starts the same command as often as it takes,
ending the process by SIGKILL or SIGTERM: while it starts, at a random step, and while a checkpoint
is being written. At last compares every byte of the final parameters and the loss of every step.
Exit status 1 if anything differs. 20 kills take a few minutes.
"""

import argparse
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from vlm.runner.checkpoints import latest_step, restore_params
from vlm.runner.run_dir import RunDir

TASK = """
import numpy as np
from vlm.data.image_files import encode_png
from vlm.data.sources import RecordSource
from vlm.tasks.vqa import add_vqa_task

def read(split):
    rng = np.random.default_rng(0)
    for i in range(200):
        pixels = rng.integers(0, 256, (16, 16, 3), np.uint8)
        yield {'id': f'{split}/{i}', 'images': [encode_png(pixels)],
               'questions': ['how many?'], 'answers': [str(i % 10)]}

add_vqa_task('numbers', RecordSource(read, {'train': 200}))
"""
CONFIG = """
from __gin__ import dynamic_registration
from vlm.nn import t5
from vlm.nn import vit
from vlm.runner import train

include 'runs/train.gin'
include 'models/base.gin'
include 'optimizers/adamw.gin'

MIXTURE_OR_TASK_MODULE = 'numbers_task'
MIXTURE_OR_TASK_NAME = 'numbers'
TASK_FEATURE_LENGTHS = {'images': 1, 'inputs': 12, 'targets': 4}
IMAGE_SIZE = (16, 16)
PATCH_SIZE = 8
BATCH_SIZE = 8
LOG_PERIOD = 1
CHECKPOINT_PERIOD = 7
train.Trainer.evaluation = None
vit.VitConfig:
  width = 16
  num_layers = 1
  num_heads = 2
  mlp_dim = 32
  dropout = 0.1
t5.TextConfig:
  width = 16
  num_layers = 1
  num_heads = 2
  head_dim = 8
  mlp_dim = 32
"""
STEPS_A_LIFE = 30  # at most, of a process that is killed
START_UP = 6.0  # seconds within which a process is killed as it starts
PROGRAM = 'from vlm.cli import main; raise SystemExit(main())'


class Command:
    """`vlm train` of the tiny model with a run directory of its own."""

    def __init__(self, folder: Path, name: str, steps: int):
        self.run = RunDir(folder / name)
        self._folder = folder
        flags = [f'--gin.MODEL_DIR={str(self.run.path)!r}', f'--gin.TRAIN_STEPS={steps}']
        self._arguments = ['train', '--gin_file=numbers.gin', *flags]

    def start(self) -> subprocess.Popen:
        """A process; programs are compiled once for all of them."""
        environment = {
            **os.environ,
            'JAX_COMPILATION_CACHE_DIR': str(self._folder / 'programs'),
            'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
        }
        return subprocess.Popen(
            [sys.executable, '-c', PROGRAM, *self._arguments],
            cwd=self._folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def finish(self) -> None:
        """Lets it come to its end."""
        process = self.start()
        said, _ = process.communicate()
        if process.returncode:
            sys.exit(f'exit status {process.returncode}:\n{said}')

    def lines(self) -> int:
        """Log points so far."""
        return self.run.metrics.read_bytes().count(b'\n') if self.run.metrics.exists() else 0

    def is_saving(self) -> bool:
        """Whether a checkpoint is being written now."""
        return any('tmp' in path.name for path in self.run.checkpoints.glob('*'))


def main() -> None:
    """Kills, resumes, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    logging.getLogger('absl').setLevel(logging.ERROR)  # parameters are read alone, without the data
    rng = random.Random(args.seed)
    began = time.monotonic()
    steps = args.kills * STEPS_A_LIFE
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / 'numbers_task.py').write_text(TASK)
        (folder / 'numbers.gin').write_text(CONFIG)
        whole, killed = Command(folder, 'whole', steps), Command(folder, 'killed', steps)
        whole.finish()
        print(f'{steps} steps without interruption')
        for number in range(args.kills):
            print(f'{number + 1:3d}. {kill_once(killed, number, rng)}', flush=True)
        killed.finish()
        status = compare(whole.run, killed.run)
        print(f'{args.kills} kills, {time.monotonic() - began:.0f} s')
        sys.exit(status)


def kill_once(command: Command, number: int, rng: random.Random) -> str:
    """Starts the command and ends it; says where it stood."""
    sent = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)[number % 3]
    before = latest_step(command.run) or 0
    process = command.start()
    if number % 5 == 4:
        where = 'as it starts'
        moment = time.monotonic() + rng.random() * START_UP
        far = before + STEPS_A_LIFE
        wait(process, lambda: time.monotonic() > moment or command.lines() > far)
    else:
        where = 'at a random step'
        wait(process, lambda: before < command.lines() and not command.is_saving())
        goal = command.lines() + rng.randrange(STEPS_A_LIFE - 8)
        wait(process, lambda: command.lines() >= goal)
        if number % 2:
            where = 'inside a checkpoint'
            wait(process, command.is_saving)
    process.send_signal(sent)
    said, _ = process.communicate()
    expected = (-sent, 0) if sent == signal.SIGTERM else (-sent,)
    if process.returncode not in expected:
        sys.exit(f'exit status {process.returncode} after {sent.name}:\n{said}')
    saved = 'Stopped and saved' in said
    kept = latest_step(command.run) or 'none'
    return f'{sent.name} {where}: exit status {process.returncode}, step {kept} is kept' + (
        ', saved on request' if saved else ''
    )


def wait(process: subprocess.Popen, until: Callable[[], bool]) -> None:
    """Returns when `until()` is true; a process that ends by itself is a mistake."""
    while not until():
        if process.poll() is not None:
            sys.exit(f'ended by itself, exit status {process.returncode}:\n{process.stdout.read()}')
        time.sleep(0.0005)


def compare(whole: RunDir, killed: RunDir) -> int:
    """Prints what differs; the exit status."""
    (step, one), (_, other) = restore_params(whole), restore_params(killed)
    pairs = list(zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True))
    differing = sum(np.asarray(a).tobytes() != np.asarray(b).tobytes() for a, b in pairs)
    losses = [
        [(row['step'], row['values']['loss']) for row in map(json.loads, run.metrics.open())]
        for run in (whole, killed)
    ]
    same = losses[0] == losses[1]
    print(f'{len(pairs)} parameters at step {step}: {differing} differ in any byte')
    print(f'losses of {len(losses[0])} steps: {"all the same" if same else "DIFFERENT"}')
    return int(differing > 0 or not same)


if __name__ == '__main__':
    main()
