"""A full disk and a vanished directory."""

import errno
import json
import os
import shutil

import pytest

from vlm.errors import UserError
from vlm.runner.checkpoints import restore_params
from vlm.runner.logs import MetricsLog
from vlm.runner.run_dir import RunDir
from vlm.runner.storage import storage_errors_told


def at_step(monkeypatch, step, act):
    """Has `act` happen when the log point of a step is written."""
    real = MetricsLog.write

    def write(self, at, kind, values):
        if at == step and kind == 'train':
            act()
        real(self, at, kind, values)

    monkeypatch.setattr(MetricsLog, 'write', write)


def test_a_full_disk_ends_the_run_and_completed_checkpoints_stay(
    vlm, tmp_path, monkeypatch, capsys
):
    def fill():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    at_step(monkeypatch, 5, fill)
    run = tmp_path / 'run'
    options = {'TRAIN_STEPS': 8, 'LOG_PERIOD': 1, 'CHECKPOINT_PERIOD': 3, 'evaluated': False}
    assert vlm('train', run_dir=run, **options) == 2
    said = capsys.readouterr().err
    assert f'cannot write {run}: No space left on device' in said and 'step 3 is complete' in said
    assert restore_params(RunDir(run))[0] == 3
    monkeypatch.undo()
    assert vlm('train', run_dir=run, **options) == 0
    lines = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    steps = [line['step'] for line in lines if line['kind'] == 'train']
    assert steps == [*range(1, 9)]  # that of step 4 came again


def test_a_vanished_directory_ends_the_run_at_the_next_log_point(
    vlm, tmp_path, monkeypatch, capsys
):
    run = tmp_path / 'run'
    at_step(monkeypatch, 2, lambda: shutil.rmtree(run))
    assert vlm('train', run_dir=run, TRAIN_STEPS=8, LOG_PERIOD=2, evaluated=False) == 2
    assert f'{run}: the run directory is gone' in capsys.readouterr().err


def told_of(error, run):
    with pytest.raises(UserError) as told, storage_errors_told(run):
        raise error
    return str(told.value)


def test_a_disk_that_cannot_be_written_is_told_wherever_it_shows(tmp_path):
    run = RunDir(tmp_path)
    read_only = OSError(errno.EROFS, 'not looked at', 'a/metrics.jsonl')
    assert told_of(read_only, run).startswith('cannot write a/metrics.jsonl: Read-only file system')
    hidden = RuntimeError('save failed')
    hidden.__cause__ = ValueError('tensorstore: write failed: No space left on device')
    assert told_of(hidden, run).startswith(f'cannot write {tmp_path}: No space left on device.')


@pytest.mark.parametrize('error', [ValueError('other'), FileNotFoundError(errno.ENOENT, 'other')])
def test_other_errors_stay_what_they_are(error, tmp_path):
    with pytest.raises(type(error), match='other'), storage_errors_told(RunDir(tmp_path)):
        raise error
