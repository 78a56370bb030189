"""Beginning with another run's parameters: what is restored, resampled, new, skipped, refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.flexivit import pi_resize, resample_positions
from vlm.nn.network import NetworkConfig
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.checkpoints import CheckpointConfig, Checkpoints
from vlm.runner.initial import InitialCheckpoint, summary_rows
from vlm.runner.model_file import Serving
from vlm.runner.run_dir import RunDir
from vlm.runner.state import TrainState

THERE = VitConfig((8, 12), 4, width=4, num_layers=1, num_heads=1, mlp_dim=4)  # a grid of 2 x 3
HERE = VitConfig((16, 16), 4, width=4, num_layers=1, num_heads=1, mlp_dim=4)  # 4 x 4
TEXT = TextConfig(8, 4, 1, num_heads=1, head_dim=4, mlp_dim=4)


class NoData:
    def save(self, folder, step):
        pass

    def restore(self, folder, step):
        return ''


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def state_of(params):
    optimizer = optax_like()
    return TrainState.create(params, optimizer, ema=False)


def optax_like():
    import optax

    # Its state begins with a copy of the parameters.
    return optax.GradientTransformation(
        lambda params: {'copy': jax.tree.map(jnp.copy, params)}, lambda *args: args
    )


SAVED = {
    'vision': {
        'position_embedding': drawn(6, 4),
        'patch_embed': {'kernel': drawn(4, 4, 3, 4), 'bias': drawn(4)},
        'layers_0': {'kernel': drawn(4, 4, seed=1)},
        'layers_1': {'kernel': drawn(4, 4, seed=2)},
    },
    'text': {'embedding': drawn(8, 4), 'head': drawn(4)},
    'old': {'bias': drawn(2)},
}


@pytest.fixture(scope='module')
def saved(tmp_path_factory):
    run = RunDir(tmp_path_factory.mktemp('runs') / 'first')
    run.create()
    network = NetworkConfig(THERE, TEXT)
    run.write_json(run.model, Serving(network, {}, {}, {}, {}, {}).to_json())
    checkpoints = Checkpoints(run, CheckpointConfig())
    state = TrainState.create(SAVED, optax_like(), ema=True)
    # What is evaluated is what the next run begins with.
    state = state.replace(params=jax.tree.map(jnp.zeros_like, SAVED), step=jnp.asarray(7))
    checkpoints.save(state, NoData())
    checkpoints.close()
    return str(run.path)


def model():
    return {
        'vision': {
            'position_embedding': jnp.zeros((16, 4)),
            'patch_embed': {'kernel': jnp.zeros((2, 2, 3, 4)), 'bias': jnp.zeros(4)},
            'layers': {'kernel': jnp.zeros((2, 4, 4))},
        },
        'decoder': {'embedding': jnp.zeros((8, 4)), 'head': jnp.full(4, 9.0)},
        'fresh': jnp.full(3, 9.0),
    }


RENAME = [('^text/', 'decoder/')]


def test_parameters_are_restored_renamed_resampled_and_told(saved):
    initial = InitialCheckpoint(saved, rename=RENAME, skip=['decoder/head'])
    rows = initial.plan(model(), HERE)
    assert {row.name: row.status for row in rows} == {
        'vision/position_embedding': 'resampled',
        'vision/patch_embed/kernel': 'resampled',
        'vision/patch_embed/bias': 'restored',
        'vision/layers/kernel': 'restored',
        'decoder/embedding': 'restored',
        'decoder/head': 'skipped',
        'fresh': 'new',
        'old/bias': 'unused',
    }
    assert ('restored', '3', 'decoder, vision') in summary_rows(rows)
    state = initial.load_into(state_of(model()), HERE, state_of)
    vision, decoder = state.params['vision'], state.params['decoder']
    there = SAVED['vision']
    table = resample_positions(there['position_embedding'].reshape(2, 3, 4), (4, 4))
    np.testing.assert_array_equal(vision['position_embedding'], table.reshape(16, 4))
    kernel = pi_resize(there['patch_embed']['kernel'], (2, 2))
    np.testing.assert_array_equal(vision['patch_embed']['kernel'], kernel)
    layers = np.stack([there[f'layers_{i}']['kernel'] for i in range(2)])
    np.testing.assert_array_equal(vision['layers']['kernel'], layers)
    np.testing.assert_array_equal(decoder['embedding'], SAVED['text']['embedding'])
    np.testing.assert_array_equal(decoder['head'], np.full(4, 9.0))
    np.testing.assert_array_equal(state.params['fresh'], np.full(3, 9.0))
    copies = state.opt_state['copy']['vision']['layers']['kernel']
    np.testing.assert_array_equal(copies, layers)  # made of the new parameters


def test_another_shape_is_refused_with_the_way_out(saved):
    other = model()
    other['decoder']['embedding'] = jnp.zeros((9, 4))
    with pytest.raises(UserError) as told:
        InitialCheckpoint(saved, rename=RENAME).plan(other, HERE)
    assert 'decoder/embedding ((8, 4) there, (9, 4) here)' in str(told.value)
    assert 'skip="[\'decoder/embedding\']"' in str(told.value)
    rows = InitialCheckpoint(saved, rename=RENAME, skip=['decoder/emb']).plan(other, HERE)
    assert {r.name: r.status for r in rows}['decoder/embedding'] == 'skipped'


def test_a_checkpoint_of_which_nothing_fits_is_refused(saved):
    with pytest.raises(UserError, match='no parameter there has a name'):
        InitialCheckpoint(saved).plan({'other': {'kernel': jnp.zeros(2)}}, HERE)


@pytest.mark.parametrize(
    ('rename', 'said'), [([('(', '')], 'rename'), ([('.*/', '')], 'gives two the same name')]
)
def test_bad_renaming_is_refused(saved, rename, said):
    with pytest.raises(UserError, match=said):
        InitialCheckpoint(saved, rename=rename).plan(model(), HERE)


def test_a_path_that_is_no_run_is_left_to_others_and_a_step_that_is_not_there_told(saved, tmp_path):
    assert InitialCheckpoint(str(tmp_path)).plan(model(), HERE) == []
    with pytest.raises(UserError, match=r'no checkpoint of step 3, only of \[7\]'):
        InitialCheckpoint(saved, step=3).plan(model(), HERE)


def test_without_a_path_nothing_changes():
    state = state_of(model())
    assert InitialCheckpoint().plan(model(), HERE) == []
    assert InitialCheckpoint().load_into(state, HERE, state_of) is state
