"""Steps that are not finite, and losses that jump."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.runner import train
from vlm.runner.feed import Origin
from vlm.runner.guards import Guard, Watch, keep_if
from vlm.runner.state import TrainState

ORIGIN = Origin(np.array([b'["a", "1"]', b'["b", "2"]', b'["a", "3"]']), 7)
SOUND = {'skipped': False, 'loss': 1.0, 'grad_norm': 2.0}
BROKEN = {'skipped': True, 'loss': float('nan'), 'grad_norm': float('inf')}


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_step_that_is_not_finite_changes_nothing_but_its_number():
    old = TrainState(jnp.array(3), {'w': jnp.array([1.0, 2.0])}, (jnp.array(5), jnp.array([0.5])))
    new = TrainState(
        jnp.array(4), {'w': jnp.array([jnp.nan, 9.0])}, (jnp.array(6), jnp.array([7.0]))
    )
    for finite, expected in ((False, old), (True, new)):
        kept = keep_if(jnp.array(finite), new, old)
        assert kept.step == 4
        jax.tree.map(
            np.testing.assert_array_equal,
            (kept.params, kept.opt_state),
            (expected.params, expected.opt_state),
        )


def test_the_run_ends_after_one_more_than_the_steps_allowed_in_a_row(tmp_path, capsys):
    path = tmp_path / 'flagged.jsonl'
    watch = Watch(Guard(max_skipped_steps=2), path)
    for step, metrics in enumerate([BROKEN, BROKEN, SOUND, BROKEN, BROKEN], 1):
        watch.after(step, metrics, ORIGIN)
    assert capsys.readouterr().err.count('skipped') == 4
    with pytest.raises(UserError, match=r'step 6: .*3 steps in a row.*max_skipped_steps = 2'):
        watch.after(6, BROKEN, ORIGIN)
    lines = lines_of(path)
    assert [line['step'] for line in lines] == [1, 2, 4, 5, 6]
    assert lines[-1]['tasks'] == {'a': 2, 'b': 1}
    assert lines[-1]['examples'][1] == {'task': 'b', 'id': '2'}
    assert (lines[-1]['loss'], lines[-1]['grad_norm']) == ('nan', 'inf')


def test_no_step_may_be_skipped(tmp_path):
    with pytest.raises(UserError, match='step 1'):
        Watch(Guard(max_skipped_steps=0), tmp_path / 'f').after(1, BROKEN, ORIGIN)


def test_a_spike_is_far_above_the_median(tmp_path):
    path = tmp_path / 'flagged.jsonl'
    watch = Watch(Guard(spike_factor=10.0), path)
    # Losses 1.0, 1.1, 1.2 in turn: median 1.1, median deviation 0.1; a spike is above 2.1.
    usual = [1.0, 1.1, 1.2] * 7
    assert not any(watch.spiked(i, loss, ORIGIN) for i, loss in enumerate(usual))
    assert not watch.spiked(30, 2.05, ORIGIN)
    assert watch.spiked(31, 2.15, ORIGIN)
    assert [(line['step'], line['what']) for line in lines_of(path)] == [(31, 'loss spike')]


def test_a_falling_loss_and_a_constant_one_have_no_spikes(tmp_path):
    watch = Watch(Guard(), tmp_path / 'f')
    falling = [10 * 0.9**i for i in range(120)]
    assert not any(watch.spiked(i, loss, ORIGIN) for i, loss in enumerate(falling))
    watch = Watch(Guard(), tmp_path / 'f')
    assert not any(watch.spiked(i, loss, ORIGIN) for i, loss in enumerate([1.0] * 40 + [1.05]))


def test_training_goes_past_a_bad_batch_and_ends_at_too_many(vlm, tmp_path, monkeypatch, capsys):
    real = train.feed
    poisoned = set()

    def feed(batches, put, tasks):
        for step, fed in enumerate(real(batches, put, tasks), 1):
            if step in poisoned:
                fed.arrays['decoder_loss_weights'] *= jnp.nan
            yield fed

    monkeypatch.setattr(train, 'feed', feed)
    run = tmp_path / 'run'
    options = {'TRAIN_STEPS': 6, 'LOG_PERIOD': 3, 'evaluated': False}
    poisoned |= {2}
    assert vlm('train', run_dir=run, **options) == 0
    rows = lines_of(run / 'metrics.jsonl')
    guard = [(row['step'], row['values']) for row in rows if row['kind'] == 'guard']
    assert guard == [(3, {'skipped_steps': 1.0})]
    assert all(np.isfinite(row['values']['loss']) for row in rows if row['kind'] == 'train')
    flagged = lines_of(run / 'flagged_batches.jsonl')
    assert [line['step'] for line in flagged] == [2]
    assert flagged[0]['tasks'] == {'squares': 8}
    assert all(example['id'].startswith('train/') for example in flagged[0]['examples'])
    poisoned |= {3, 4}
    limit = '--gin.guards.Guard.max_skipped_steps=2'
    assert vlm('train', limit, run_dir=tmp_path / 'ended', **options) == 2
    assert 'step 4' in capsys.readouterr().err
