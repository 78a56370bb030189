"""From the command line to a run directory: training, resuming, evaluating, asking."""

import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from vlm.data.image_files import encode_png
from vlm.runner.ask import Predictor
from vlm.runner.checkpoints import restore_params
from vlm.runner.run_dir import RunDir

# shapes_task.py, imported as the user's module would be
TEST_IDS = [f'test/{i}' for i in range(9)]


def params_of(path, step=None):
    return jax.tree.map(np.asarray, restore_params(RunDir(path), step)[1])


def assert_same(a, b):
    flat_a, flat_b = jax.tree.leaves(a), jax.tree.leaves(b)
    assert len(flat_a) == len(flat_b)
    for x, y in zip(flat_a, flat_b, strict=True):
        np.testing.assert_array_equal(x, y)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def scores_of(path):
    return {
        (s['task'], s['metric']): s
        for s in json.loads((path / 'scores.json').read_text())['scores']
    }


def test_a_run_learns_and_leaves_a_complete_directory(trained):
    names = {entry.name for entry in trained.iterdir()}
    assert names >= {
        'config.gin', 'model.json', 'vocab', 'checkpoints', 'metrics.jsonl', 'scores.json',
        'inference', 'summary.json', 'report.html', 'tensorboard',
    }  # fmt: skip
    train = [row for row in rows_of(trained / 'metrics.jsonl') if row['kind'] == 'train']
    assert [row['step'] for row in train] == list(range(5, 61, 5))
    assert train[-1]['values']['loss'] < 0.2 * train[0]['values']['loss']
    score = scores_of(trained)['squares', 'vqa_accuracy']
    assert score['value'] == 1.0
    assert score['n'] == 9
    assert score['prompt'] == 'answer en {question}'
    assert score['definition']


def test_predictions_keep_ids_prompts_and_references(trained):
    rows = rows_of(trained / 'inference' / 'squares-000060.jsonl')
    assert [row['id'] for row in rows] == TEST_IDS
    assert {row['prompt'] for row in rows} == {'answer en what color is it?'}
    assert [row['references'] for row in rows] == [[c] for c in ['red', 'green', 'blue'] * 3]
    assert [row['prediction'] for row in rows] == ['red', 'green', 'blue'] * 3
    assert (trained / rows[0]['image']).is_file()


def test_learning_rate_in_the_log_is_the_schedule(trained):
    rows = [row for row in rows_of(trained / 'metrics.jsonl') if row['kind'] == 'train']
    # Steps 0..4 of a warm-up of 5 to 1e-2: mean of 0, .2, .4, .6, .8 times the peak.
    assert rows[0]['values']['learning_rate'] == pytest.approx(0.4e-2, rel=1e-5)


def test_resuming_gives_the_uninterrupted_parameters_bit_for_bit(vlm, begun, tmp_path):
    whole, halves = tmp_path / 'whole', tmp_path / 'halves'
    assert vlm('train', run_dir=whole, TRAIN_STEPS=8, evaluated=False) == 0
    shutil.copytree(begun, halves)
    assert vlm('train', run_dir=halves, TRAIN_STEPS=8, evaluated=False) == 0
    assert_same(params_of(whole), params_of(halves))
    steps = [row['step'] for row in rows_of(halves / 'metrics.jsonl') if row['kind'] == 'train']
    assert steps == [4, 5, 8]


def test_another_architecture_in_the_directory_is_refused_and_nothing_touched(
    vlm, trained, tmp_path, capsys
):
    copy = tmp_path / 'copy'
    shutil.copytree(trained, copy)
    before = {p: p.stat().st_mtime_ns for p in copy.rglob('*') if p.is_file()}
    assert vlm('train', '--gin.vit.VitConfig.mlp_dim=48', run_dir=copy) == 2
    said = capsys.readouterr().err
    assert 'holds another architecture' in said
    assert 'mlp' in said and '[16, 32] there, [16, 48] here' in said and str(copy) in said
    assert {p: p.stat().st_mtime_ns for p in copy.rglob('*') if p.is_file()} == before


def test_an_undecodable_image_is_counted_in_training(vlm, tmp_path, capsys):
    run = tmp_path / 'run'
    broken = '--gin.datasets.DatasetConfig.split="broken"'
    assert vlm('train', broken, run_dir=run, TRAIN_STEPS=5, evaluated=False) == 0
    data = [row for row in rows_of(run / 'metrics.jsonl') if row['kind'] == 'data']
    assert data[-1]['values']['data/undecodable_images'] >= 1
    assert 'test/4' in capsys.readouterr().out


def test_an_undecodable_image_is_a_wrong_answer_in_evaluation(vlm, trained, tmp_path):
    copy = tmp_path / 'copy'
    shutil.copytree(trained, copy)
    assert vlm('eval', str(copy), EVAL_SPLIT='broken') == 0
    score = scores_of(copy)['squares', 'vqa_accuracy']
    assert score['n'] == 9
    assert score['value'] == pytest.approx(8 / 9)
    assert json.loads((copy / 'scores.json').read_text())['undecodable'] == {'squares': ['test/4']}


def test_frozen_vision_is_bit_identical_after_training(vlm, tmp_path):
    run = tmp_path / 'run'
    options = {'TRAIN_STEPS': 5, 'CHECKPOINT_PERIOD': 4, 'evaluated': False}
    assert vlm('train', run_dir=run, FREEZE_VISION=True, **options) == 0
    a, b = params_of(run, 4), params_of(run)
    assert_same(a['vision'], b['vision'])
    kernel = a['decoder']['logits_dense']['kernel'], b['decoder']['logits_dense']['kernel']
    assert not np.array_equal(*kernel)


# Both questions about an image in one example, a row each.
ROWS = {
    'MIXTURE_OR_TASK_NAME': 'squares_all',
    'EVAL_MIXTURE_OR_TASK_NAME': 'squares',
    'ROWS_PER_IMAGE': 2,
    'TASK_FEATURE_LENGTHS': {'images': 1, 'inputs': 40, 'targets': 32},
    'EVAL_TASK_FEATURE_LENGTHS': {'images': 1, 'inputs': 16, 'targets': 8},
}


@pytest.mark.parametrize(
    'wiring',
    [
        pytest.param(
            {'WIRING': 'fusion_encoder', 'TextConfig.num_encoder_layers': 1, **ROWS},
            marks=pytest.mark.slow,
        ),
        {'WIRING': 'prefix_lm'},
    ],
)
def test_other_wirings_train_from_the_same_files(vlm, tmp_path, wiring):
    run = tmp_path / 'run'
    steps = {'TRAIN_STEPS': 150, 'optimizers.warmup_cosine.total_steps': 150}
    assert vlm('train', run_dir=run, **steps, **wiring) == 0
    assert scores_of(run)['squares', 'vqa_accuracy']['value'] >= 8 / 9
    red = np.full((16, 16, 3), (255, 0, 0), np.uint8)
    assert Predictor.load(run).ask(encode_png(red), 'what color is it?').text == 'red'
    assert vlm('eval', str(run)) == 0


def test_average_of_parameters_is_what_is_evaluated_and_served(vlm, begun, tmp_path):
    run = tmp_path / 'run'
    ema = '--gin.optimizers.Optimizer.ema_decay=0.5'
    assert vlm('train', ema, run_dir=run, TRAIN_STEPS=4, evaluated=False) == 0
    served, last = params_of(run), params_of(begun)
    kernel = served['decoder']['logits_dense']['kernel'], last['decoder']['logits_dense']['kernel']
    assert not np.array_equal(*kernel)


def test_infer_writes_a_row_an_example(vlm, trained, tmp_path):
    output = tmp_path / 'answers.jsonl'
    assert vlm('infer', str(trained), '--task=squares', f'--output={output}') == 0
    rows = rows_of(output)
    assert [row['id'] for row in rows] == TEST_IDS
    assert all(row['score'] == 1.0 for row in rows)


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(
    vlm, tmp_path, capsys, monkeypatch, number, status
):
    from vlm.runner import logs

    write = logs.MetricsLog.write

    def write_and_be_stopped(self, step, kind, values):
        write(self, step, kind, values)
        if kind == 'train' and step == 10:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(logs.MetricsLog, 'write', write_and_be_stopped)
    run = tmp_path / 'run'
    assert vlm('train', run_dir=run) == status
    assert 'saved at step 10. Go on with: vlm' in capsys.readouterr().out
    assert [path.name for path in (run / 'checkpoints').iterdir()] == ['10']
