"""The remembered list of tasks."""

import os

import pytest

from vlm import cli
from vlm.runner import task_list

ROWS = {'tasks': [['a_task', 'train', 'say [x]', 'accuracy']], 'mixtures': [['a_mix', 'a_task 1']]}


def test_the_list_is_printed_from_memory_without_tensorflow(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cli.main(['tasks']) == 0
    first = capsys.readouterr().out
    assert 'digits_ocr' in first and 'demo_eval' in first
    monkeypatch.setattr(cli, '_load_tensorflow', lambda: 1 / 0)
    assert cli.main(['tasks']) == 0
    assert capsys.readouterr().out == first
    # Only the plain list is remembered.
    with pytest.raises(ZeroDivisionError):
        cli.main(['tasks', '--mixture', 'demo'])


def test_other_sources_have_another_fingerprint(tmp_path):
    (tmp_path / 'sub').mkdir()
    source = tmp_path / 'sub' / 'a.py'
    source.write_text('1')
    before = task_list.fingerprint([tmp_path])
    assert before == task_list.fingerprint([tmp_path])
    stat = source.stat()
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert task_list.fingerprint([tmp_path]) != before


def test_what_was_kept_of_other_sources_or_is_damaged_is_not_used(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert task_list.remembered() is None
    task_list.remember(ROWS)
    assert task_list.remembered() == ROWS
    monkeypatch.setattr(task_list, 'fingerprint', lambda folders: 'other')
    assert task_list.remembered() is None
    monkeypatch.undo()
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    for damaged in ('', '[]', '{', '{"of": 3}'):
        (tmp_path / 'vlm' / 'tasks.json').write_text(damaged)
        assert task_list.remembered() is None
