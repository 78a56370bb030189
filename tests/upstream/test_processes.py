"""`python -m t5x.main` with the demo mixture: training, going on, evaluation, inference; and the
same checkpoint in both engines.
"""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from vlm.cli import main
from vlm.paths import gin_dir
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
    """`t5x('train', MODEL_DIR='run')`: a process of T5X's with the gin file of that mode."""

    def run(mode, file, **macros):
        flags = [f'--gin.{name}={value!r}' for name, value in macros.items()]
        done = subprocess.run(
            [sys.executable, '-m', 't5x.main', f'--run_mode={mode}',
             f'--gin_search_paths={folder},{gin_dir()}', f'--gin_file=t5x/{file}.gin',
             '--gin_file=tiny.gin', '--gin.EVAL_STEPS=1', *flags],
            cwd=folder, capture_output=True, text=True, env={**os.environ, 'JAX_PLATFORMS': 'cpu'},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]

    return run


@pytest.fixture(scope='module')
def trained(t5x, folder):
    """T5X's model directory after 30 steps and, another process, 30 more."""
    t5x('train', 'pretrain', MODEL_DIR=str(folder / 't5x_run'))
    t5x('train', 'pretrain', MODEL_DIR=str(folder / 't5x_run'), TRAIN_STEPS=60)
    return folder / 't5x_run'


@pytest.fixture(scope='module')
def imported(trained, folder):
    """A run of ours made of T5X's last checkpoint."""
    flags = [f'--gin_search_paths={folder}', '--gin_file=tiny.gin']
    run = folder / 'our_run'
    assert main(['import', str(trained), *flags, f'--gin.MODEL_DIR={str(run)!r}']) == 0
    return run


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_training_goes_on_and_a_frozen_encoder_stays(trained):
    trees = {step: read_t5x(trained / f'checkpoint_{step}') for step in (30, 60)}
    first, last = (flat_names(tree['target']) for tree in trees.values())
    for name, value in first.items():
        assert np.array_equal(value, last[name]) == name.startswith('vision/'), name
    state = flat_names(trees[60]['state'])
    counts = [int(value) for name, value in state.items() if name.endswith('count')]
    assert counts and set(counts) == {60}  # the optimizer's state went on, too
    assert not any('vision' in name for name in state)


def test_both_engines_infer_the_same_answers_and_keep_ids(t5x, trained, imported, folder):
    macros = {'EVAL_MIXTURE_OR_TASK_NAME': TASK, 'EVAL_BATCH_SIZE': 100}
    t5x('infer', 'infer', CHECKPOINT_PATH=str(trained / 'checkpoint_60'),
        INFER_OUTPUT_DIR=str(folder / 'answers'), **macros)  # fmt: skip
    assert main(['infer', str(imported), '--task', TASK, f'--output={folder / "ours.jsonl"}']) == 0
    ours = {row['id']: row['prediction'] for row in rows_of(folder / 'ours.jsonl')}
    theirs = rows_of(folder / 'answers' / f'{TASK}-predict.jsonl-00000-of-00001')
    theirs = {json.loads(row['inputs']['meta'])['id']: row['prediction'] for row in theirs}
    assert len(theirs) == 500 and len(set(theirs.values())) > 1
    assert {name: text.strip() for name, text in theirs.items()} == ours


def test_both_evaluators_give_the_same_values(t5x, imported, folder):
    assert main(['export', str(imported), '--format=t5x', f'--output={folder / "exported"}']) == 0
    t5x('eval', 'eval', CHECKPOINT_PATH=str(folder / 'exported' / 'checkpoint_60'),
        EVAL_OUTPUT_DIR=str(folder / 'scores'))  # fmt: skip
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
