"""Prints what the training loop costs in Python: everything but the device step.

    python benchmarks/loop_overhead.py

Runs the loop of `vlm train` with the state and the batches of a tiny model, but a step that
computes next to nothing and batches that are ready. What is left of a step's time is the loop:
fetching, sending to the device, dispatching, guards, metrics, the log. --profile prints where it
goes.
"""

import argparse
import cProfile
import functools
import itertools
import json
import pstats
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vlm.runner import train, train_step
from vlm.runner.checkpoints import CheckpointConfig, Checkpoints
from vlm.runner.datasets import DatasetConfig
from vlm.runner.logs import MetricsLog
from vlm.runner.mesh import MeshConfig
from vlm.runner.optimizers import Optimizer
from vlm.runner.run_dir import RunDir

from measuring import machine, make_batch, make_model

LENGTHS = {'images': 1, 'inputs': 16, 'targets': 16}
TASKS = ('first', 'second')


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--steps', type=int, default=1000)
    parser.add_argument('--batch', type=int, default=8)
    parser.add_argument('--log_period', type=int, default=20)
    parser.add_argument('--profile', action='store_true')
    args = parser.parse_args()
    print(machine())
    run_loop(50, args.batch, args.log_period)  # compiles, and fills Python's caches
    profile = cProfile.Profile()
    began = time.perf_counter()
    if args.profile:
        profile.enable()
    training = run_loop(args.steps, args.batch, args.log_period)
    profile.disable()
    if args.profile:
        pstats.Stats(profile).sort_stats('tottime').print_stats(25)
    print(
        f'{1e3 * training.seconds / args.steps:.2f} ms a step ({args.steps} steps, a log point '
        f'every {args.log_period}); with start and end of the run '
        f'{time.perf_counter() - began:.2f} s in all'
    )


def run_loop(steps: int, batch_size: int, log_period: int) -> train.Training:
    """The loop of a run over the same batch."""
    data = DatasetConfig('none', LENGTHS, batch_size=batch_size)
    optimizer = Optimizer(optax.sgd, lambda step: 0.1)
    model = make_model(1, 1)
    same = SameBatch(batch_size)
    trainer = train.Trainer(model, data, optimizer, steps, log_period=log_period)
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(train_step, 'make_train_step', idle_step),
        mock.patch.object(trainer, 'batch_shapes', same.shapes),
        mock.patch.object(DatasetConfig, 'task_names', lambda self: list(TASKS)),
    ):
        run = RunDir(folder)
        log = MetricsLog(run)
        checkpoints = Checkpoints(run, CheckpointConfig(10**9, 1))
        training = trainer._loop(run, log, MeshConfig().build(), checkpoints, same, 0)
        checkpoints.close()
        log.close()
    return training


class SameBatch:
    """The same random batch for ever, named; it has no position to save."""

    def __init__(self, size: int):
        names = [json.dumps([TASKS[i % len(TASKS)], f'example {i}']).encode() for i in range(size)]
        batch = make_batch(size, LENGTHS['inputs'], LENGTHS['targets'])
        self._batch = {**batch, 'name': np.array(names)}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return itertools.repeat(self._batch)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of what the model takes of it."""
        return {name: value.shape for name, value in self._batch.items() if name != 'name'}

    def save(self, folder: Path, step: int) -> None:
        """Nothing."""


def idle_step(*_: Any) -> Any:
    """A step with the signature and the metrics of the real one that only counts."""
    names = ('loss', 'token_loss', 'z_loss', 'token_accuracy', 'answer_tokens', 'grad_norm')

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state: Any, batch: Any, rng: Any) -> tuple[Any, dict[str, jax.Array]]:
        values = {name: jnp.ones(()) for name in (*names, 'learning_rate')}
        values |= {'task_loss': jnp.ones(len(TASKS)), 'skipped': jnp.zeros((), bool)}
        return state.replace(step=state.step + 1), values

    return step


if __name__ == '__main__':
    main()
