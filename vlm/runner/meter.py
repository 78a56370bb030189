"""What training steps are measured by: means between log points, and where the time went."""

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from vlm.data.bad_data import bad_data
from vlm.runner.feed import Origin
from vlm.runner.guards import SKIPPED, Watch
from vlm.runner.logs import MetricsLog

TASK_LOSS = 'task_loss'  # the metric that has one value a task


class Meter:
    """Collects the metrics of steps and writes them at log points.

    Args:
      log: where to write.
      watch: looks at every step.
      tasks: names of the values in the metric 'task_loss'.
      batch_size: examples a step.
      log_period: steps between log points; `last_step` is one, too.
      utilisation: returns (model FLOPs of a step, rate of all devices); it takes a second, so it is
        called at the first log point, when nothing waits for the first step any more.
    """

    def __init__(
        self,
        log: MetricsLog,
        watch: Watch,
        tasks: Sequence[str],
        batch_size: int,
        log_period: int,
        last_step: int,
        utilisation: Callable[[], tuple[float, float]] | None = None,
    ):
        self._log, self._watch, self._tasks = log, watch, tasks
        self._batch_size, self._log_period, self._last_step = batch_size, log_period, last_step
        self._utilisation = utilisation and functools.cache(utilisation)
        self._window: list[tuple[int, Mapping[str, Any], Origin]] = []
        self._seconds = {'step': 0.0, 'wait': 0.0}
        self._logged = dict(self._seconds)
        self._began = time.monotonic()

    def timed(self, what: str) -> '_Timer':
        """Counts the time within as 'step' or as 'wait' (for data)."""
        return _Timer(self._seconds, what)

    def after(
        self, step: int, metrics: Mapping[str, Any], origin: Origin
    ) -> dict[str, float] | None:
        """Keeps a finished step's metrics; at a log point writes means, returns what to show."""
        self._watch.after(step, metrics, origin)
        self._window.append((step, metrics, origin))
        if step % self._log_period and step != self._last_step:
            return None
        window, self._window = self._window, []
        rows = jax.device_get([row for _, row, _ in window])
        tokens = sum(each.tokens for *_, each in window)
        values = self._means(rows) | self._rates(len(rows), tokens)
        self._log.write(step, 'train', values)
        self._note(window, rows)
        shown = {'loss': 'loss', 'accuracy': 'accuracy', 'examples/s': 'examples_per_second'}
        return {name: values[key] for name, key in shown.items() if key in values}

    def _means(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Over the steps that were not skipped; of a task's loss, over those that had the task."""
        rows = [row for row in rows if not row[SKIPPED]]
        if not rows:
            return {}
        plain = [name for name in rows[0] if name not in (SKIPPED, TASK_LOSS)]
        values = {name: float(np.mean([row[name] for row in rows])) for name in plain}
        values['accuracy'] = values.pop('token_accuracy')
        if TASK_LOSS in rows[0]:
            by_task = np.stack([row[TASK_LOSS] for row in rows], axis=1)
            for task, losses in zip(self._tasks, by_task, strict=True):
                if not np.isnan(losses).all():
                    values[f'{TASK_LOSS}/{task}'] = float(np.nanmean(losses))
        return values

    def _rates(self, steps: int, tokens: int) -> dict[str, float]:
        """Since the last log point, evaluations and checkpoints left out."""
        step, wait = (self._seconds[name] - self._logged[name] for name in ('step', 'wait'))
        self._logged = dict(self._seconds)
        seconds = step + wait
        values = {
            'examples_per_second': steps * self._batch_size / seconds,
            'tokens_per_second': tokens / seconds,
            'share_of_waiting_for_data': wait / seconds,
        }
        if self._utilisation is not None:
            flops, rate = self._utilisation()
            values['model_flop_utilisation'] = steps * flops / seconds / rate
        return values

    def _note(self, window: Sequence[tuple], rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes what should not be there: skipped steps, spikes, data that could not be used."""
        step = window[-1][0]
        if skipped := sum(bool(row[SKIPPED]) for row in rows):
            self._log.write(step, 'guard', {'skipped_steps': skipped})
        for (at, _, origin), row in zip(window, rows, strict=True):
            if np.isfinite(row['loss']) and self._watch.spiked(at, float(row['loss']), origin):
                self._log.write(at, 'guard', {'loss_spike': row['loss']})
        if counts := bad_data.counts():
            self._log.write(step, 'data', {f'data/{kind}': n for kind, n in counts.items()})

    def totals(self) -> tuple[float, float, float]:
        """Seconds since the beginning, of them in steps, and waiting for data."""
        return time.monotonic() - self._began, self._seconds['step'], self._seconds['wait']


class _Timer:
    def __init__(self, seconds: dict[str, float], what: str):
        self._seconds, self._what = seconds, what

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *error: Any) -> None:
        self._seconds[self._what] += time.monotonic() - self._start
