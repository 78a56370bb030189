"""The bar on terminals of several widths."""

import io

import pytest
from rich.console import Console

from vlm.runner import progress
from vlm.runner.progress import ProgressBar

NUMBERS = {'loss': 7.666, 'accuracy': 0.000907, 'examples/s': 104.8}


@pytest.mark.parametrize(
    ('width', 'shown', 'left_out'),
    [
        (120, ['loss 7.666', 'accuracy 0.000907', 'examples/s 104.8'], []),
        (80, ['loss 7.666', 'accuracy 0.000907'], ['examples/s']),
        (60, ['loss 7.666'], ['accuracy']),
        (50, [], ['loss']),
    ],
)
def test_numbers_give_way_to_what_must_be_readable(width, shown, left_out):
    bar = ProgressBar('train', 1550)
    bar._console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    with bar:
        bar.update(1060, NUMBERS)
    lines = bar._console.file.getvalue().splitlines()
    line = next(text for text in lines if '1060' in text)
    assert '1060/1550' in line and 'left' in line and '…' not in line
    assert line.count(':') >= 4  # both times whole
    assert all(word in line for word in shown) and not any(word in line for word in left_out)


def test_a_total_may_be_told_later(capsys, monkeypatch):
    monkeypatch.setattr(progress, 'PLAIN_PERIOD', -1.0)
    with ProgressBar('evaluate', None) as bar:
        bar.update(10, {'tasks to be read': 2.0})
        bar.update(20, {}, total=40)
        bar.update(30, {})
    first, *later = capsys.readouterr().out.splitlines()
    assert first.split() == ['evaluate', '10', 'tasks', 'to', 'be', 'read', '2']
    assert [line.split()[1] for line in later] == ['20/40', '30/40']


def test_a_bar_takes_the_total_that_is_told_later():
    bar = ProgressBar('evaluate', None)
    bar._console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    with bar:
        bar.update(10, {})
        bar.update(20, {}, total=40)
    text = bar._console.file.getvalue()
    assert '20/40' in text
