"""Means over tasks that belong together."""

import pytest

from vlm.data import tasks
from vlm.data.tasks import TaskSpec
from vlm.runner.families import family_rows


def row(task, metric, value, n):
    return {'task': task, 'metric': metric, 'value': value, 'n': n, 'definition': 'CIDEr-D'}


@pytest.fixture(autouse=True)
def declared(monkeypatch):
    specs = {'de': 'world', 'en': 'world', 'other': '', 'alone': 'few'}
    made = {name: TaskSpec(name, lambda *_: [], '', family=f) for name, f in specs.items()}
    monkeypatch.setattr(tasks, '_SPECS', made)


def test_every_task_of_a_family_weighs_the_same():
    scores = [
        row('de', 'cider', 1.0, 10),
        row('en', 'cider', 0.5, 1000),
        row('de', 'exact_match', 0.2, 10),
        row('other', 'cider', 9.0, 5),
        row('alone', 'cider', 9.0, 5),
        row('en', 'exact_match', 0.4, 1000),
    ]
    definition = 'mean over 2 tasks (de, en) of: CIDEr-D'
    first = {**row('world', 'cider', 0.75, 1010), 'definition': definition}
    second = {
        **row('world', 'exact_match', pytest.approx(0.3), 1010),
        'definition': definition,
    }
    assert family_rows(scores) == [first, second]
