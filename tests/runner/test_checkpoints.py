"""What is kept, what is read, and what a disk that fails does."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from vlm.errors import UserError
from vlm.runner.checkpoints import (
    CheckpointConfig,
    Checkpoints,
    latest_step,
    restore_params,
    saved_shapes,
    step_named,
)
from vlm.runner.resume import check_training, restore_state
from vlm.runner.run_dir import RunDir
from vlm.runner.state import TrainState

ADAM = optax.multi_transform(
    {'trained': optax.adam(0.1), 'frozen': optax.set_to_zero()},
    lambda params: {name: 'frozen' if name == 'vision' else 'trained' for name in params},
)
UNROLLED = {
    'vision': {f'layers_{i}': {'kernel': jnp.full((2, 3), i + 1.0)} for i in range(3)},
    'decoder': {f'layers_{i}': {'kernel': jnp.full((3,), 5.0 * i)} for i in range(2)},
    'head': jnp.arange(4.0),
}


class NoData:
    """A position without anything to write down."""

    def save(self, folder, step):
        (folder / 'at').write_text(str(step))

    def restore(self, folder, step):
        return (folder / 'at').read_text()


@pytest.fixture
def run(tmp_path):
    made = RunDir(tmp_path / 'run')
    made.create()
    return made


def state_of(params, optimizer=ADAM, ema=False):
    return TrainState.create(jax.tree.map(jnp.copy, params), optimizer, ema)


def save_steps(run, steps, config=None, scores=None):
    state = state_of(UNROLLED)
    checkpoints = Checkpoints(run, config or CheckpointConfig(keep=10))
    for step in steps:
        checkpoints.save(state.replace(step=jnp.asarray(step)), NoData())
        if scores and step in scores:
            with run.metrics.open('a') as file:
                row = {'step': step, 'kind': 'eval', 'values': {'t/m': scores[step]}}
                file.write(json.dumps(row) + '\n')
    checkpoints.close()
    return state


def test_the_latest_step_is_found_without_waiting_for_other_processes(run, monkeypatch):
    assert latest_step(RunDir(run.path / 'nowhere')) is None
    assert latest_step(run) is None
    save_steps(run, [3, 20])
    (run.checkpoints / '30.orbax-checkpoint-tmp').mkdir()  # being written
    monkeypatch.setattr(ocp, 'CheckpointManager', None)  # its constructor waits for all
    assert latest_step(run) == 20


def steps_there(run):
    return sorted(int(path.name) for path in run.checkpoints.iterdir())


@pytest.mark.parametrize(
    ('options', 'kept'),
    [
        ({'keep': 2}, [5, 6]),
        ({'keep': 1, 'keep_period': 2}, [2, 4, 6]),
        ({'keep': 1, 'best_metric': 't/m'}, [3, 6]),
        ({'keep': 1, 'best_metric': 't/m', 'lowest_is_best': True}, [1, 6]),
    ],
)
def test_what_is_kept(run, options, kept):
    scores = {1: 0.1, 2: 0.5, 3: 0.7, 4: 0.7}
    config = CheckpointConfig(**options)
    save_steps(run, range(1, 7), config, scores)
    assert steps_there(run) == kept
    assert latest_step(run) == 6
    if config.best_metric:
        assert step_named(run, 'best', config) == kept[0]


def test_only_parameters_are_read_to_evaluate(run, monkeypatch):
    save_steps(run, [1])
    read = []
    deserialize = ocp.type_handlers.ArrayHandler.deserialize

    async def spied(self, infos, args=None):
        read.extend(info.name for info in infos)
        return await deserialize(self, infos, args)

    monkeypatch.setattr(ocp.type_handlers.ArrayHandler, 'deserialize', spied)
    step, params = restore_params(run)
    assert step == 1
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), params, UNROLLED))
    assert len(read) == 6 and all(name.startswith('params.') for name in read)


def test_scanned_stacks_go_on_unrolled_and_back_with_their_optimizer_state(run):
    gradient = jax.tree.map(jnp.sin, UNROLLED)
    state = state_of(UNROLLED)
    state = state.replace(opt_state=ADAM.update(gradient, state.opt_state)[1], step=jnp.asarray(1))
    checkpoints = Checkpoints(run, CheckpointConfig())
    checkpoints.save(state, NoData())
    checkpoints.close()
    scanned = {
        'vision': {'layers': {'kernel': jnp.zeros((3, 2, 3))}},
        'decoder': {'layers': {'kernel': jnp.zeros((2, 3))}},
        'head': jnp.zeros(4),
    }
    checkpoints = Checkpoints(run, CheckpointConfig())
    moved = restore_state(checkpoints, run, state_of(scanned), state_of)
    stacked = np.stack([np.full((2, 3), i + 1.0) for i in range(3)])
    np.testing.assert_array_equal(moved.params['vision']['layers']['kernel'], stacked)
    adam = moved.opt_state.inner_states['trained'].inner_state[0]
    first = 0.1 * np.stack([np.sin(np.full(3, 0.0)), np.sin(np.full(3, 5.0))])
    np.testing.assert_allclose(adam.mu['decoder']['layers']['kernel'], first, rtol=1e-6)
    assert int(adam.count) == 1
    checkpoints.save(moved.replace(step=jnp.asarray(2)), NoData())
    checkpoints.close()
    checkpoints = Checkpoints(run, CheckpointConfig())
    back = restore_state(checkpoints, run, state_of(UNROLLED), state_of)
    checkpoints.close()
    same = jax.tree.map(lambda a, b: bool((a == b).all()), back.replace(step=state.step), state)
    assert jax.tree.all(same)


MESHES = """
import sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np, optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from vlm.runner.checkpoints import CheckpointConfig, Checkpoints
from vlm.runner.initial import InitialCheckpoint
from vlm.runner.run_dir import RunDir
from vlm.runner.state import TrainState

class NoData:
    def save(self, folder, step): pass

def state_of(params):
    return TrainState.create(params, optax.adam(0.1), False)

def on(count, value):
    # A state of parameters with this value, split over some devices.
    mesh = Mesh(np.array(jax.devices()[:count]), ('fsdp',))
    make = lambda: state_of({'kernel': jnp.full(8, value)})
    places = jax.tree.map(
        lambda leaf: NamedSharding(mesh, PartitionSpec(*['fsdp'][: leaf.ndim])),
        jax.eval_shape(make),
    )
    return jax.jit(make, out_shardings=places)()

def assert_is(state, like, value):
    np.testing.assert_array_equal(state.params['kernel'], np.full(8, value))
    same = jax.tree.map(lambda a, b: a.sharding.is_equivalent_to(b.sharding, a.ndim), state, like)
    assert jax.tree.all(same), same

run = RunDir(sys.argv[1])
run.create()
run.model.write_text('{}')
checkpoints = Checkpoints(run, CheckpointConfig())
checkpoints.save(on(4, 3.0).replace(step=jnp.asarray(5)), NoData())
checkpoints.close()
for count in (2, 1):
    like = on(count, 0.0)
    checkpoints = Checkpoints(run, CheckpointConfig())
    back = checkpoints.restore(like)
    checkpoints.close()
    assert back.step == 5
    assert_is(back, like, 3.0)
    begun = InitialCheckpoint(sys.argv[1]).load_into(like, None, state_of)
    assert begun.step == 0
    assert_is(begun, like, 3.0)
"""


def test_a_checkpoint_of_four_devices_is_gone_on_from_and_begun_with_on_two_and_one(tmp_path):
    environment = {**os.environ, 'JAX_NUM_CPU_DEVICES': '4'}
    command = [sys.executable, '-c', MESHES, str(tmp_path / 'run')]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-2000:]


def test_a_checkpoint_of_another_program_is_told(run):
    with ocp.CheckpointManager(run.checkpoints) as manager:
        manager.save(3, args=ocp.args.StandardSave({'params': UNROLLED['head']}))
    for read in (restore_params, saved_shapes):
        with pytest.raises(UserError, match='3 is no checkpoint of `vlm train`: it holds default'):
            read(run)


def test_another_optimizer_average_or_vocabulary_is_refused_in_one_line(run):
    save_steps(run, [3])
    run.vocabulary.write_bytes(b'words')
    check_training(run, state_of, b'words')
    with pytest.raises(UserError, match='step 3 with the state of another optimizer: .*absent'):
        check_training(run, lambda params: state_of(params, optax.sgd(0.1, momentum=0.9)), b'words')
    with pytest.raises(UserError, match='with no average of its parameters'):
        check_training(run, lambda params: state_of(params, ema=True), b'words')
    with pytest.raises(UserError, match='another vocabulary'):
        check_training(run, state_of, b'other words')


def test_a_disk_that_takes_no_more_is_told_and_loses_nothing(run):
    save_steps(run, [1])
    checkpoints = Checkpoints(run, CheckpointConfig())
    large = state_of({**UNROLLED, 'head': jnp.asarray(np.random.default_rng(0).random(1 << 18))})
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        with pytest.raises(UserError, match='cannot write .*step 1 is complete'):
            checkpoints.save(large.replace(step=jnp.asarray(2)), NoData())
            checkpoints.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        signal.signal(signal.SIGXFSZ, former)
    assert latest_step(run) == 1
    assert restore_params(run)[0] == 1
    save_steps(run, [2])  # and what was half written is in nobody's way
    assert steps_there(run) == [1, 2]


def test_a_directory_that_vanishes_is_told(run):
    checkpoints = Checkpoints(run, CheckpointConfig())
    shutil.rmtree(run.path)
    with pytest.raises(UserError, match='the run directory is gone. There is no complete'):
        checkpoints.save(state_of(UNROLLED).replace(step=jnp.asarray(1)), NoData())
    assert not run.path.exists()


@pytest.mark.parametrize('name', ['period', 'keep', 'keep_period'])
def test_counts_below_one_are_refused(name):
    with pytest.raises(UserError, match=f'{name} = 0 must be at least 1'):
        CheckpointConfig(**{name: 0})


def test_a_best_metric_that_nobody_evaluates_is_refused():
    config = CheckpointConfig(best_metric='squarse/vqa_accuracy')
    with pytest.raises(UserError, match='set EVAL_PERIOD'):
        config.check([])
    with pytest.raises(UserError, match='Nearest: squares'):
        config.check(['squares'])
