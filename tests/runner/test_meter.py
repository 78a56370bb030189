"""Means between log points, by task, and rates."""

import numpy as np
import pytest

from vlm.runner import meter as meters
from vlm.runner.feed import Origin
from vlm.runner.guards import Guard, Watch
from vlm.runner.logs import MetricsLog
from vlm.runner.meter import Meter

ORIGIN = Origin(np.array([b'["a", "1"]']), 50)


class Log(MetricsLog):
    def __init__(self):
        self.rows = []

    def write(self, step, kind, values):
        self.rows.append((step, kind, values))


def metrics(loss, by_task, skipped=False):
    return {
        'loss': np.float32(loss),
        'grad_norm': np.float32(1.0),
        'token_accuracy': np.float32(0.5),
        'task_loss': np.array(by_task, np.float32),
        'skipped': np.array(skipped),
    }


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only the test lets pass."""
    now = [0.0]
    monkeypatch.setattr(meters.time, 'monotonic', lambda: now[0])
    return now


def test_means_by_task_and_rates(clock, tmp_path, bad):
    log = Log()
    watch = Watch(Guard(), tmp_path / 'flagged')
    # 8 examples a step; 30 operations a step on devices that make 40 a second.
    meter = Meter(log, watch, ['a', 'b', 'c'], 8, 3, 100, lambda: (30.0, 40.0))
    nan = float('nan')
    steps = [
        metrics(1.0, [1.0, nan, nan]),
        metrics(nan, [nan, nan, nan], skipped=True),
        metrics(3.0, [2.0, 4.0, nan]),
    ]
    for step, row in enumerate(steps, 1):
        with meter.timed('step'):
            clock[0] += 1.5
        with meter.timed('wait'):
            clock[0] += 0.5
        clock[0] += 10.0  # an evaluation: in no rate
        shown = meter.after(step, row, ORIGIN)
    assert shown == {'loss': 2.0, 'accuracy': 0.5, 'examples/s': 4.0}
    (step, kind, values), skipped = log.rows
    assert (step, kind) == (3, 'train')
    assert values == {
        'loss': 2.0,
        'grad_norm': 1.0,
        'accuracy': 0.5,
        'task_loss/a': 1.5,
        'task_loss/b': 4.0,
        'examples_per_second': 4.0,
        'tokens_per_second': 25.0,
        'share_of_waiting_for_data': 0.25,
        'model_flop_utilisation': pytest.approx(3 * 30 / 6 / 40),
    }
    assert skipped == (3, 'guard', {'skipped_steps': 1})
    assert meter.totals() == (36.0, 4.5, 1.5)


def test_the_last_step_is_a_log_point(clock, tmp_path, bad):
    log = Log()
    meter = Meter(log, Watch(Guard(), tmp_path / 'f'), ['a', 'b'], 8, 10, 2)
    for step in (1, 2):
        with meter.timed('step'):
            clock[0] += 1
        meter.after(step, metrics(1.0, [1.0, 1.0]), ORIGIN)
    assert [(row[0], row[1]) for row in log.rows] == [(2, 'train')]
