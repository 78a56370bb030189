"""Runs that are killed, go on, go on otherwise, or come in stages."""

import json
import shutil
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.flexivit import resample_positions
from vlm.runner.checkpoints import latest_step, restore_params
from vlm.runner.logs import MetricsLog
from vlm.runner.run_dir import RunDir

QUICK = '--gin.train.Trainer.evaluation=None'
# Killed while the checkpoint of step 40 is written; step 20 is complete then.
KILLED = """
import os, signal, sys
sys.path[:0] = {paths!r}
from vlm.cli import main
from vlm.runner.batches import Batches
save = Batches.save
def save_and_die(self, folder, step):
    save(self, folder, step)
    if step == 40:
        os.kill(os.getpid(), signal.SIGKILL)
Batches.save = save_and_die
main({arguments!r})
"""


def params_of(path):
    return jax.tree.map(np.asarray, restore_params(RunDir(path))[1])


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def files_of(folder):
    return {p: p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def train_rows(run):
    rows = [json.loads(line) for line in (run / 'metrics.jsonl').read_text().splitlines()]
    return [(row['step'], row['values']['loss']) for row in rows if row['kind'] == 'train']


def test_killed_inside_a_checkpoint_a_run_ends_as_if_it_had_not_been(
    vlm, trained, tiny_gin, tmp_path
):
    killed = tmp_path / 'killed'
    arguments = ['train', QUICK, '--gin.CHECKPOINT_PERIOD=20', f'--gin_file={tiny_gin}']
    arguments += [f'--gin.MODEL_DIR={str(killed)!r}']
    program = KILLED.format(paths=sys.path, arguments=arguments)
    ended = subprocess.run([sys.executable, '-c', program], capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()[-2000:]
    assert latest_step(RunDir(killed)) == 20
    assert train_rows(killed)[-1][0] == 40  # beyond the checkpoint: comes again
    assert vlm('train', run_dir=killed, evaluated=False, CHECKPOINT_PERIOD=20) == 0
    assert_same(params_of(trained), params_of(killed))
    assert train_rows(trained) == train_rows(killed)


def test_another_optimizer_is_refused_and_nothing_touched(vlm, trained, tmp_path, capsys):
    copy = tmp_path / 'copy'
    shutil.copytree(trained, copy)
    before = files_of(copy)
    sgd = '--gin.optimizers.Optimizer.make=@optax.sgd'
    assert vlm('train', sgd, run_dir=copy) == 2
    said = capsys.readouterr().err
    assert 'stands at step 60 with the state of another optimizer' in said
    assert files_of(copy) == before


def test_other_settings_and_a_scanned_stack_go_on_and_are_told(vlm, trained, tmp_path, capsys):
    copy = tmp_path / 'copy'
    shutil.copytree(trained, copy)
    scanned = ['--gin.vit.VitConfig.scan_layers=True', '--gin.t5.TextConfig.scan_layers=True']
    steps = {'TRAIN_STEPS': 61, 'optimizers.warmup_cosine.total_steps': 61}
    assert vlm('train', *scanned, run_dir=copy, evaluated=False, **steps) == 0
    assert 'TRAIN_STEPS = 61 (was 60)' in capsys.readouterr().err
    stacked = jax.tree.leaves(params_of(copy)['vision']['layers'])
    single = jax.tree.leaves(params_of(trained)['vision']['layers_0'])
    for a, b in zip(stacked, single, strict=True):
        # One step more, at the end of the schedule: nearly the same, and not the same.
        np.testing.assert_allclose(a[0], b, atol=1e-4)
    assert any((a[0] != b).any() for a, b in zip(stacked, single, strict=True))


def test_a_checkpoint_that_is_not_there_is_told(vlm, trained, capsys):
    assert vlm('eval', str(trained), '--checkpoint=7') == 2
    assert 'no checkpoint of step 7, only of [60]' in capsys.readouterr().err
    assert vlm('eval', str(trained), '--checkpoint=best') == 2
    assert 'has no CheckpointConfig.best_metric' in capsys.readouterr().err


def test_a_log_goes_on_where_the_checkpoint_stands_even_after_half_a_line(tmp_path):
    run = RunDir(tmp_path)
    log = MetricsLog(run)
    for step in (5, 10, 15):
        log.write(step, 'train', {'loss': step})
    with run.metrics.open('a') as file:
        file.write('{"step": 20, "ti')
    log.go_on_after(10)
    log.write(15, 'train', {'loss': 0.5})
    log.close()
    assert train_rows(tmp_path) == [(5, 5.0), (10, 10.0), (15, 0.5)]


def _interrupted(*arguments):
    raise KeyboardInterrupt


def _no_folder(*arguments):
    raise UserError('there is no folder photos')
    yield


@pytest.mark.parametrize(
    ('where', 'failing', 'status'),
    [('Trainer._first_state', _interrupted, 130), ('feed', _no_folder, 2)],
)
def test_an_early_end_does_not_wait_for_the_compiler(
    vlm, tmp_path, monkeypatch, where, failing, status
):
    told, compiled = threading.Event(), []
    monkeypatch.setattr(f'vlm.runner.train.{where}', failing)
    monkeypatch.setattr(
        'vlm.runner.train.Trainer._compiled_steps', lambda *_: compiled.append(told.wait(60))
    )
    assert vlm('train', run_dir=tmp_path / 'run', evaluated=False) == status
    assert not compiled
    told.set()


@pytest.mark.slow
def test_stages_begin_with_the_parameters_before_and_go_on_where_they_were(
    vlm, tiny_gin, tmp_path, capsys
):
    from vlm.cli import main

    for size in (16, 32):
        lines = [
            "include 'tiny.gin'",
            f'IMAGE_SIZE = ({size}, {size})',
            'LEARNING_RATE = 0.0',  # so that parameters are those a stage began with
            'TRAIN_STEPS = 1',
        ]
        (tmp_path / f'at_{size}.gin').write_text('\n'.join(lines))
    listed = tmp_path / 'list.gin'
    files = [str(tmp_path / f'at_{size}.gin') for size in (16, 32)]
    listed.write_text(f'STAGES = {files!r}\n')
    out = tmp_path / 'out'
    command = ['train', f'--gin_file={listed}', f'--gin_search_paths={tiny_gin.parent}']
    command += [f'--gin.MODEL_DIR={str(out)!r}', QUICK, '--gin.vit.VitConfig.positions="learned"']
    assert main(command) == 0
    first, second = params_of(out / '1-at_16'), params_of(out / '2-at_32')
    table = first['vision']['position_embedding'].reshape(2, 2, 16)
    wanted = np.asarray(resample_positions(table, (4, 4))).reshape(16, 16)
    np.testing.assert_array_equal(second['vision']['position_embedding'], wanted)
    assert_same(first['decoder'], second['decoder'])
    rows = json.loads((out / '2-at_32' / 'initial_checkpoint.json').read_text())
    resampled = [row['name'] for row in rows if row['status'] == 'resampled']
    assert resampled == ['vision/position_embedding']
    capsys.readouterr()
    # Stopped before the second stage was complete, the same command goes on with that one.
    (out / '2-at_32' / 'summary.json').unlink()
    assert main([*command, '--gin.LOG_PERIOD=7']) == 0
    said = capsys.readouterr().out
    assert 'Stage 1-at_16 is complete.' in said and 'Stage 2-at_32\n' in said
    assert 'parameters from' not in said


def test_a_stage_list_that_sets_anything_else_is_refused(tmp_path, capsys):
    from vlm.cli import main

    listed = tmp_path / 'list.gin'
    listed.write_text("STAGES = ['demo.gin']\nBATCH_SIZE = 4\n")
    assert main(['train', f'--gin_file={listed}', '--gin.MODEL_DIR="x"']) == 2
    assert 'BATCH_SIZE belongs in the files of the stages' in capsys.readouterr().err
    listed.write_text('STAGES = [1]\n')
    assert main(['train', f'--gin_file={listed}', '--gin.MODEL_DIR="x"']) == 2
    assert 'STAGES = [1] is no list of gin files' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['demo', 'paligemma', 'pali_x'])
def test_the_stages_that_ship_configure(name, tmp_path, clean_gin):
    from vlm.runner import config
    from vlm.runner.stages import stages_of

    flags = config.GinFlags(
        [f'stages/{name}.gin'],
        [],
        [f'MODEL_DIR = {str(tmp_path)!r}', "MIXTURE_OR_TASK_NAME = 'demo'"],
    )
    sizes = []
    for stage in stages_of(flags):
        config.load(stage.flags, needed=['MODEL_DIR'], optional=['MIXTURE_OR_TASK_MODULE'])
        sizes.append(config.macro('IMAGE_SIZE')[0])
    expected = {'demo': [32, 64], 'paligemma': [224, 448, 896], 'pali_x': [224, 448, 756]}
    assert sizes == expected[name]
