"""Meshes: sizes, rules, where a training state lives, and that no mesh changes a loss."""

import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
from jax.sharding import AbstractMesh

from vlm.errors import UserError
from vlm.runner.mesh import AXES, DataMesh, MeshConfig
from vlm.runner.placement import shardings, undivided
from vlm.runner.state import TrainState, flat_names

PROGRAMS = Path(__file__).parent / 'programs'


def mesh_of(data: int, fsdp: int, tensor: int, **options) -> DataMesh:
    return DataMesh(AbstractMesh((data, fsdp, tensor), AXES), **options)


@pytest.mark.parametrize(
    ('axes', 'sizes'),
    [
        ({}, (8, 1, 1)),
        ({'tensor': 2}, (4, 1, 2)),
        ({'fsdp': -1, 'tensor': 2}, (1, 4, 2)),
        ({'data': 2, 'fsdp': 2, 'tensor': 2}, (2, 2, 2)),
        ({'data': 1, 'fsdp': 8}, (1, 8, 1)),
    ],
)
def test_sizes_fill_up_the_devices(axes, sizes):
    assert tuple(MeshConfig(axes).sizes(8).values()) == sizes


@pytest.mark.parametrize(
    ('axes', 'told'),
    [
        ({'fsdp': 3}, 'sizes must multiply to the number of devices, 8'),
        ({'data': 2, 'fsdp': 2}, 'sizes must multiply to the number of devices, 8'),
        ({'data': -1, 'fsdp': -1}, 'only one axis can be -1'),
        ({'fdsp': 2}, "unknown mesh axis 'fdsp' (MESH). Nearest: fsdp"),
        ({'fsdp': 0}, 'fsdp = 0 is neither a number of devices nor -1'),
    ],
)
def test_wrong_sizes_are_told_in_a_line(axes, told):
    with pytest.raises(UserError) as error:
        MeshConfig(axes).sizes(8)
    assert told in str(error.value) and '\n' not in str(error.value)


def test_wrong_rules_are_told():
    with pytest.raises(UserError, match="logical axis 'embd'.*Nearest: embed"):
        MeshConfig(rules=(('embd', 'fsdp'),))
    with pytest.raises(UserError, match="mesh axis 'model'.*of mlp"):
        MeshConfig(rules=(('mlp', ('model',)),))


def test_rules_place_arrays_by_the_names_of_their_axes():
    mesh = mesh_of(2, 2, 4)

    def split(names, shape, mesh=mesh) -> tuple:
        return tuple(mesh.sharding(names, shape).spec)

    assert mesh.batch_shards == 4
    assert split(('embed', 'mlp'), (8, 8)) == ('fsdp', 'tensor')
    assert split(('layers', 'mlp', 'embed'), (3, 8, 8)) == (None, 'tensor', 'fsdp')
    # Batch comes first, so the width of an activation is left whole.
    activation = split(('batch', 'length', 'embed'), (8, 5, 8))
    assert activation == (('data', 'fsdp'), None, None)
    # Experts have `tensor`, so their MLPs do not.
    assert split(('expert', 'embed', 'mlp'), (4, 8, 8)) == ('tensor', 'fsdp', None)
    own = mesh_of(2, 2, 4, rules=(('mlp', ('fsdp', 'tensor')),))
    assert split(('embed', 'mlp'), (8, 8), own) == (None, ('fsdp', 'tensor'))


def test_an_axis_that_does_not_divide_is_left_whole_and_said_so():
    mesh = mesh_of(1, 2, 4)
    params = {'bias': jax.ShapeDtypeStruct((6, 32), np.float32)}
    axes = {'bias': ('heads', 'relpos_buckets')}
    assert tuple(shardings(params, axes, mesh)['bias'].spec) == (None, None)
    assert undivided(params, axes, mesh) == {'bias': 'heads 6 over tensor 4'}
    assert undivided(params, axes, mesh_of(4, 2, 2)) == {}


def test_a_batch_must_be_shared_evenly():
    mesh = mesh_of(2, 2, 2)
    mesh.check_batch_size(8, 'BATCH_SIZE', parts=2)
    with pytest.raises(UserError, match='BATCH_SIZE = 6 cannot be split evenly over 4 devices'):
        mesh.check_batch_size(6, 'BATCH_SIZE')
    with pytest.raises(UserError, match='in 2 microbatches: it must be a multiple of 8'):
        mesh.check_batch_size(12, 'BATCH_SIZE', parts=2)


@pytest.mark.parametrize('make', [optax.adamw, optax.contrib.muon, optax.adafactor])
def test_moments_and_averages_lie_with_their_parameters(make):
    mesh = mesh_of(1, 2, 2)
    axes = {'mlp/wi/kernel': ('embed', 'mlp'), 'mlp/norm/scale': ('embed',)}
    shapes = {'mlp': {'wi': {'kernel': (256, 512)}, 'norm': {'scale': (256,)}}}
    params = jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
        shapes,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )
    optimizer = make(learning_rate=1e-3)
    state = jax.eval_shape(lambda p: TrainState.create(p, optimizer, ema=True), params)
    places = flat_names(shardings(state, axes, mesh))
    wanted = {
        ('kernel', (256, 512)): ('fsdp', 'tensor'),
        ('scale', (256,)): ('fsdp',),
    }
    placed = 0
    for name, leaf in flat_names(state).items():
        where = tuple(places[name].spec)
        split = wanted.get((name.split('/')[-1], leaf.shape))
        placed += split is not None
        # Not split are counters, and Adafactor's factors, which are vectors.
        assert where == split if split else (not any(where) and len(leaf.shape) < 2), name
    assert placed >= 5  # parameters, averages, and of all but one at least one moment


QUICK, EVERY = '', '--every'


@pytest.fixture(scope='module', params=[QUICK, pytest.param(EVERY, marks=pytest.mark.slow)])
def losses(request) -> dict:
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / 'losses_on_meshes.py'), request.param],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


TOLERANCE = 1e-5  # relative: sums are made in another order


def test_every_mesh_gives_the_losses_of_one_device(losses, request):
    compared = [name for name in losses if not name.endswith(' one')]
    every = EVERY in request.node.callspec.params.values()
    families = {'pali_tiny', 'paligemma_tiny', 'locca_tiny'} if every else {'pali_tiny'}
    assert {name.split()[0] for name in compared} == families
    for name in compared:
        alone = losses[f'{name.split()[0]} one']
        # Gradients are clipped to a norm of 0.1, so a norm of a part would show in the next loss.
        assert min(alone['grad_norm']) > 1.0 and alone['loss'][4] < 0.9 * alone['loss'][0]
        for value in ('loss', 'grad_norm', 'token_accuracy', 'average'):
            np.testing.assert_allclose(
                losses[name][value], alone[value], rtol=TOLERANCE, err_msg=f'{name} {value}'
            )


def test_states_are_split_and_steps_compiled_once(losses):
    parts = {'one': 1, '8x1x1': 1, '1x8x1': 8, '2x2x2': 2}  # of a moment with axes (embed, None)
    for name, result in losses.items():
        family, mesh = name.split()[:2]
        assert result['bytes'] * parts[mesh] == losses[f'{family} one']['bytes'], name
    assert {result['programs'] for result in losses.values()} == {1}
