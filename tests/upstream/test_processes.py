"""`python -m t5x.main` with the demo mixture: training, going on, evaluation, inference; and the
same checkpoint in both engines.
"""

import dataclasses
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest

from vlm.cli import main
from vlm.paths import gin_dir
from vlm.runner.checkpoints import restore_params
from vlm.runner.config import GinFlags
from vlm.runner.run_dir import RunDir
from vlm.runner.session import open_session
from vlm.runner.state import flat_names
from vlm.runner.t5x_checkpoints import read_t5x

pytestmark = pytest.mark.t5x
pytest.importorskip('easy_vqa')
pytest.importorskip('sklearn')

TINY = """
from __gin__ import dynamic_registration

from vlm.nn import t5
from vlm.nn import vit

include 'demo.gin'
include 'optimizers/adamw.gin'

IMAGE_SIZE = (32, 32)
FREEZE_VISION = True
TRAIN_STEPS = 30
CHECKPOINT_PERIOD = 30
LOG_PERIOD = 30
WARMUP_STEPS = 5
BATCH_SIZE = 4
EVAL_BATCH_SIZE = 8
EVAL_EXAMPLES = 8

vit.VitConfig:
  stem_widths = ()
  stem_blocks = 0
  width = 16
  num_layers = 1
  mlp_dim = 32

t5.TextConfig:
  width = 16
  num_layers = 1
  head_dim = 8
  mlp_dim = 32
"""
TASK = 'digits_ocr'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp('upstream')
    (path / 'tiny.gin').write_text(TINY)
    return path


@pytest.fixture(scope='module')
def t5x(folder):
    """`t5x('train', 'pretrain', MODEL_DIR='run')`: a process of T5X's in `folder`."""

    def run(mode, file, *extra, devices=1, **macros):
        flags = [*extra, *(f'--gin.{name}={value!r}' for name, value in macros.items())]
        made_up = {'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}'}
        done = subprocess.run(
            [sys.executable, '-m', 't5x.main', f'--run_mode={mode}',
             f'--gin_search_paths={folder},{gin_dir()}', f'--gin_file=t5x/{file}.gin',
             '--gin_file=tiny.gin', '--gin.EVAL_STEPS=1', *flags],
            cwd=folder, capture_output=True, text=True,
            env={**os.environ, 'JAX_PLATFORMS': 'cpu', **made_up},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]

    return run


@pytest.fixture(scope='module')
def trained(t5x, folder):
    """T5X's model directory after 30 steps and, another process, 30 more."""
    t5x('train', 'pretrain', MODEL_DIR='t5x_run')
    t5x('train', 'pretrain', MODEL_DIR='t5x_run', TRAIN_STEPS=60)
    return folder / 't5x_run'


@pytest.fixture(scope='module')
def imported(trained, folder):
    """A run of ours made of T5X's last checkpoint."""
    flags = [f'--gin_search_paths={folder}', '--gin_file=tiny.gin']
    run = folder / 'our_run'
    assert main(['import', str(trained), *flags, f'--gin.MODEL_DIR={str(run)!r}']) == 0
    return run


@pytest.fixture(scope='module')
def exported(imported, folder):
    """That run's checkpoint for T5X."""
    assert main(['export', str(imported), '--format=t5x', f'--output={folder / "exported"}']) == 0
    return folder / 'exported' / 'checkpoint_60'


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def only_text_moved(*checkpoints):
    """Whether all parameters differ but those of the encoder, which is frozen, bit by bit."""
    first, last = (flat_names(read_t5x(path)['target']) for path in checkpoints)
    same = {name for name, value in first.items() if np.array_equal(value, last[name])}
    return same == {name for name in first if name.startswith('vision/')}


def test_training_goes_on_and_a_frozen_encoder_stays(trained):
    assert only_text_moved(trained / 'checkpoint_30', trained / 'checkpoint_60')
    state = flat_names(read_t5x(trained / 'checkpoint_60')['state'])
    counts = [int(value) for name, value in state.items() if name.endswith('count')]
    assert counts and set(counts) == {60}  # the optimizer's state went on, too
    assert not any('vision' in name for name in state)


def inferred(t5x, folder, mode, *extra, **options):
    """What `t5x.infer` in this mode wrote of the last checkpoint, by the examples' ids."""
    options |= {'EVAL_MIXTURE_OR_TASK_NAME': TASK, 'EVAL_BATCH_SIZE': 100}
    t5x('infer', 'infer', f'--gin.infer.mode={mode!r}', *extra,
        CHECKPOINT_PATH='t5x_run/checkpoint_60', INFER_OUTPUT_DIR=mode,
        **options)  # fmt: skip
    rows = rows_of(folder / mode / f'{TASK}-{mode}.jsonl-00000-of-00001')
    found = {json.loads(row['inputs']['meta'])['id']: row for row in rows}
    assert len(found) == len(rows) == 500
    return found


def test_both_engines_infer_the_same_answers_and_keep_ids(t5x, imported, folder):
    rows = inferred(t5x, folder, 'predict_with_aux')
    assert main(['infer', str(imported), '--task', TASK, f'--output={folder / "ours.jsonl"}']) == 0
    ours = {row['id']: row['prediction'] for row in rows_of(folder / 'ours.jsonl')}
    theirs = {name: row['prediction'].strip() for name, row in rows.items()}
    assert len(set(theirs.values())) > 1
    assert theirs == ours
    scores = [row['aux']['scores'] for row in rows.values()]
    assert max(scores) < 0 and len(set(scores)) > 1


def test_scores_of_two_partitions_are_those_of_our_model(t5x, imported, folder):
    two = '--gin.PjitPartitioner.num_partitions=2'
    rows = inferred(t5x, folder, 'score', two, devices=2)
    trainer = open_session(GinFlags(), str(imported)).trainer
    data = dataclasses.replace(
        trainer.dataset, mixture_or_task_name=TASK, split='test', shuffle=False,
        task_feature_lengths=trainer.evaluation.task_feature_lengths,
    )  # fmt: skip
    model = trainer.model
    converter = model.FEATURE_CONVERTER_CLS(pack=False, names=True)
    batches = converter(data.examples(), dict(data.task_feature_lengths)).batch(500)
    batch = next(batches.as_numpy_iterator())
    ids = [json.loads(name)[1] for name in batch.pop('name')]
    scores = jax.jit(model.score_batch)(restore_params(RunDir(imported))[1], batch)
    wanted = dict(zip(ids, np.asarray(scores).tolist(), strict=True))
    assert {name: row['score'] for name, row in rows.items()} == pytest.approx(wanted, abs=1e-3)


def test_finetuning_goes_on_from_what_we_export(t5x, exported, folder):
    t5x('train', 'finetune', MODEL_DIR='tuned', TRAIN_STEPS=64,
        INITIAL_CHECKPOINT_PATH='exported/checkpoint_60')  # fmt: skip
    assert only_text_moved(exported, folder / 'tuned' / 'checkpoint_64')
    state = flat_names(read_t5x(folder / 'tuned' / 'checkpoint_64')['state'])
    assert {int(value) for name, value in state.items() if name.endswith('count')} == {64}
    assert list((folder / 'tuned' / 'inference_eval').glob('*-metrics.jsonl'))


def test_t5xs_own_adafactor(t5x, folder):
    own = '--gin_file=t5x/adafactor.gin'
    t5x('train', 'pretrain', own, MODEL_DIR='own', TRAIN_STEPS=2)
    assert only_text_moved(folder / 'own' / 'checkpoint_0', folder / 'own' / 'checkpoint_2')
    state = flat_names(read_t5x(folder / 'own' / 'checkpoint_2')['state'])
    assert any(name.endswith('v_row') for name in state)


def test_both_evaluators_give_the_same_values(t5x, imported, exported, folder):
    t5x('eval', 'eval', CHECKPOINT_PATH='exported/checkpoint_60', EVAL_OUTPUT_DIR='scores')
    assert main(['eval', str(imported)]) == 0
    found = {}
    for path in (folder / 'scores' / 'inference_eval').glob('*-metrics.jsonl'):
        (row,) = rows_of(path)
        assert row.pop('step') == 60
        task = path.name.removesuffix('-metrics.jsonl')
        found |= {(task, metric): value for metric, value in row.items()}
    scores = json.loads((imported / 'scores.json').read_text())['scores']
    wanted = {(row['task'], row['metric']): row['value'] for row in scores}
    assert len(wanted) >= 8 and len(set(wanted.values())) > 2  # not all of them 0
    assert found == pytest.approx(wanted, rel=1e-5)
