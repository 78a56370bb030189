"""T5X's checkpoints read and written without T5X, and whole runs from and to them."""

import shutil
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from vlm.errors import UserError
from vlm.runner.checkpoints import restore_params
from vlm.runner.run_dir import RunDir
from vlm.runner.state import TrainState, flat_names
from vlm.runner.t5x_checkpoints import (
    find_t5x_checkpoint,
    optimizer_state_of,
    params_of,
    read_t5x,
    write_t5x,
)

OLDER = Path(__file__).parents[3] / 'shared' / 'data' / 't5x_checkpoint' / 't5x_tiny.tar'

PARAMS = {
    'decoder': {
        'layers_0': {'kernel': jnp.arange(6.0).reshape(2, 3)},
        'layers_1': {'kernel': -jnp.arange(6.0).reshape(2, 3)},
    },
    'norm': {'scale': jnp.array([0.5, 2.0])},
}
FROZEN = optax.multi_transform(
    {'trained': optax.adamw(0.1), 'frozen': optax.set_to_zero()},
    {'decoder': 'trained', 'norm': 'frozen'},
)


def state_after(steps, ema=False):
    state = TrainState.create(PARAMS, FROZEN, ema)
    for _ in range(steps):
        updates, opt_state = FROZEN.update(state.params, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        state = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
    return state


def assert_same(found, wanted):
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert np.asarray(a).dtype == np.asarray(b).dtype
        np.testing.assert_array_equal(a, b)


def test_what_is_written_is_read_again(tmp_path):
    state = state_after(3)
    assert write_t5x(tmp_path, state) == tmp_path / 'checkpoint_3'
    tree = read_t5x(find_t5x_checkpoint(tmp_path))
    assert tree.keys() == {'target', 'state'} and int(tree['state']['step']) == 3
    assert_same(params_of(tree, PARAMS), jax.tree.map(np.asarray, state.params))
    fresh = state_after(0).opt_state
    assert_same(optimizer_state_of(tree, fresh), state.opt_state)
    assert optimizer_state_of(tree, optax.sgd(0.1, momentum=0.9).init(PARAMS)) is None
    with pytest.raises(UserError, match='checkpoint_3 exists'):
        write_t5x(tmp_path, state)


def test_averaged_parameters_are_what_leaves_a_run(tmp_path):
    state = state_after(2, ema=True)
    tree = read_t5x(write_t5x(tmp_path, state))
    assert_same(params_of(tree, PARAMS), jax.tree.map(np.asarray, state.ema_params))
    assert 'param_states' not in tree['state']


def test_layers_are_stacked_for_a_model_that_scans_them(tmp_path):
    tree = read_t5x(write_t5x(tmp_path, state_after(0)))
    like = {
        'decoder': {'layers': {'kernel': jax.ShapeDtypeStruct((2, 2, 3), jnp.float32)}},
        'norm': PARAMS['norm'],
    }
    kernel = params_of(tree, like)['decoder']['layers']['kernel']
    np.testing.assert_array_equal(kernel[1], PARAMS['decoder']['layers_1']['kernel'])


def test_another_model_is_told_by_name(tmp_path):
    tree = read_t5x(write_t5x(tmp_path, state_after(0)))
    like = {'decoder': PARAMS['decoder'], 'norm': {'scale': jnp.ones(3), 'bias': jnp.ones(3)}}
    message = (
        r'another model: norm/bias \(absent there, \[3\] here\), norm/scale \(\[2\] there, \[3\]'
    )
    with pytest.raises(UserError, match=message):
        params_of(tree, like)


def test_the_last_complete_checkpoint_of_a_folder_is_found(tmp_path):
    write_t5x(tmp_path, state_after(2))
    last = write_t5x(tmp_path, state_after(10))
    shutil.copytree(last, tmp_path / 'checkpoint_12.orbax-checkpoint-tmp')
    (tmp_path / 'checkpoint_99').mkdir()
    assert find_t5x_checkpoint(tmp_path) == last
    assert find_t5x_checkpoint(last) == last
    with pytest.raises(UserError, match='is no checkpoint of T5X'):
        find_t5x_checkpoint(tmp_path / 'checkpoint_99')


@pytest.mark.skipif(not OLDER.exists(), reason='the checkpoint that T5X wrote is not here')
def test_the_older_form_is_read(tmp_path):
    with tarfile.open(OLDER) as archive:
        archive.extractall(tmp_path, filter='data')
    folder = tmp_path / 't5_1_1_tiny'
    tree = read_t5x(find_t5x_checkpoint(folder))
    target = flat_names(tree['target'])
    assert int(tree['state']['step']) == 0
    assert target['token_embedder/embedding'].shape == (384, 32)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(tree))
    assert len(target) == len({path.name for path in (folder / 'checkpoint_0').glob('target.*')})
    raw = target['decoder/decoder_norm/scale']
    assert raw.shape == (32,) and np.std(raw) > 0
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, jnp.float32), tree['target'])
    assert_same(params_of(tree, like), tree['target'])


# ---- whole runs ----


def test_a_run_goes_out_and_comes_back_as_it_was(vlm, trained, tiny_gin, tmp_path, capsys):
    out = tmp_path / 'out'
    assert vlm('export', str(trained), '--format=t5x', f'--output={out}') == 0
    assert capsys.readouterr().out == f'step 60: {out / "checkpoint_60"}\n'
    back = tmp_path / 'back'
    flags = [f'--gin_file={tiny_gin}', f'--gin.MODEL_DIR={str(back)!r}']
    assert vlm('import', str(out), *flags) == 0
    assert "step 60, with the optimizer's state" in capsys.readouterr().out
    (step, params), (_, wanted) = (restore_params(RunDir(path)) for path in (back, trained))
    assert step == 60
    assert_same(params, wanted)
    assert_same(*(optimizer_state(path) for path in (back, trained)))
    assert vlm('import', str(out), *flags) == 2
    assert 'holds a run: choose another' in capsys.readouterr().err


def optimizer_state(path):
    with ocp.CheckpointManager(path / 'checkpoints') as manager:
        wanted = ocp.args.Composite(state=ocp.args.StandardRestore())
        return manager.restore(60, args=wanted)['state']['opt_state']


def test_a_folder_without_a_checkpoint_is_told(vlm, tmp_path, capsys):
    assert vlm('import', str(tmp_path)) == 2
    assert 'is no checkpoint of T5X' in capsys.readouterr().err
