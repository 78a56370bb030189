"""What a run does about losses that are not finite, and about losses that jump.

The step itself leaves out an update whose loss or gradient is not finite (`keep_if`); here it is
counted and named, and ended when it goes on.
"""

import collections
import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from vlm.errors import UserError
from vlm.runner.feed import Origin
from vlm.runner.state import TrainState

SKIPPED = 'skipped'  # the metric of a step that changed nothing
WINDOW = 100  # losses that the next one is compared with
FEWEST = 20  # with less there is no telling what is usual


def keep_if(finite: Bool[Array, ''], new: TrainState, old: TrainState) -> TrainState:
    """`new` where `finite`, bit for bit; otherwise `old` at the step of `new`."""
    chosen = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
    return chosen.replace(step=new.step)


@dataclasses.dataclass(frozen=True)
class Guard:
    """What is still borne.

    Attributes:
      max_skipped_steps: steps in a row that may be skipped because loss or gradient is not finite;
        one more ends the run.
      spike_factor: a loss is noted as a spike when it is further above the median of the last 100
        than so many times their median deviation (for normally distributed losses 10 is 6.7
        standard deviations).
    """

    max_skipped_steps: int = 5
    spike_factor: float = 10.0

    def __post_init__(self):
        if self.max_skipped_steps < 0 or self.spike_factor <= 0:
            raise UserError(
                f'Guard.max_skipped_steps = {self.max_skipped_steps} must not be negative and '
                f'Guard.spike_factor = {self.spike_factor} must be above 0.'
            )


class Watch:
    """Applies a `Guard` to the steps of a run; conspicuous batches go to `path`, a line each.

    Every process knows its own examples only; those after the first write `path`-1 and so on.
    """

    def __init__(self, guard: Guard, path: Path):
        self._guard = guard
        process = jax.process_index()
        self._path = path.with_stem(f'{path.stem}-{process}') if process else path
        self._in_a_row = 0
        self._losses: collections.deque[float] = collections.deque(maxlen=WINDOW)

    def after(self, step: int, metrics: dict[str, Any], origin: Origin) -> None:
        """Takes the finished step `step`; raises `UserError` after too many skipped ones."""
        if not metrics[SKIPPED]:
            self._in_a_row = 0
            return
        self._in_a_row += 1
        loss, norm = (float(metrics[name]) for name in ('loss', 'grad_norm'))
        self._write(step, 'not finite', {'loss': loss, 'grad_norm': norm}, origin)
        limit = self._guard.max_skipped_steps
        told = f'step {step}: loss {loss:g}, gradient norm {norm:g}'
        if self._in_a_row > limit:
            raise UserError(
                f'{told}: {self._in_a_row} steps in a row were not finite '
                f'(Guard.max_skipped_steps = {limit}). The batches, with tasks and ids: '
                f'{self._path}'
            )
        print(f'warning: {told}; skipped, {self._in_a_row} in a row.', file=sys.stderr)

    def spiked(self, step: int, loss: float, origin: Origin) -> bool:
        """Whether the (finite) loss of a step is a spike among those before it."""
        known = self._losses
        spike = False
        if len(known) >= FEWEST:
            usual = statistics.median(known)
            spread = statistics.median(abs(each - usual) for each in known)
            # Losses that hardly vary would make a spike of every small rise.
            spread = max(spread, 0.01 * abs(usual))
            spike = loss > usual + self._guard.spike_factor * spread
        known.append(loss)
        if spike:
            self._write(step, 'loss spike', {'loss': loss, 'usual': usual}, origin)
        return spike

    def _write(self, step: int, what: str, values: dict[str, float], origin: Origin) -> None:
        examples = origin.examples()
        row = {
            'step': step,
            'what': what,
            **{
                name: value if abs(value) < float('inf') else str(value)
                for name, value in values.items()
            },
            'tasks': dict(collections.Counter(task for task, _ in examples)),
            'examples': [{'task': task, 'id': name} for task, name in examples],
        }
        with self._path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(row, ensure_ascii=False) + '\n')
