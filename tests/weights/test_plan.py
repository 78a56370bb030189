"""What becomes of every tensor and parameter is decided, and told, before anything is read."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.network import NetworkConfig
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.weights import load, make_plan, summary
from vlm.weights.fitting import can_fit, fit
from vlm.weights.load import _contiguous
from vlm.weights.source import Source
from vlm.weights.table import Family, Row, linear

CONFIG = NetworkConfig(
    VitConfig((4, 4), 2, width=4, num_layers=2, num_heads=1, mlp_dim=4),
    TextConfig(8, 4, 1, num_heads=1, head_dim=4, mlp_dim=4),
)
SHAPES = {
    'vision/norm/scale': (4,),
    'vision/layers/mlp/wi/kernel': (2, 4, 6),
    'token_embedder/embedding': (8, 4),
    'decoder/norm/scale': (4,),
}
TENSORS = {
    'norm': np.arange(4.0),
    'block.0.up': np.arange(24.0).reshape(6, 4),
    'block.1.up': -np.arange(24.0).reshape(6, 4),
    'words': np.arange(32.0).reshape(8, 4),
    'head': np.zeros(3),
}
FAMILY = Family(
    'a family',
    rows=[
        Row('vision/norm/scale', 'norm'),
        Row('vision/layers_{i}/mlp/wi/kernel', 'block.{i}.up', linear),
        Row('token_embedder/embedding', 'words'),
    ],
    vision={'num_layers': 2},
    unused=['head'],
)


def source(tensors=TENSORS) -> Source:
    arrays = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    return Source('folder', {k: v.shape for k, v in arrays.items()}, arrays.__getitem__)


def plan(part='vision', *, tensors=TENSORS, family=FAMILY, config=CONFIG, **options):
    return make_plan(source(tensors), family, part, SHAPES, config, **options)


def test_a_large_linear_layer_is_copied_in_tiles():
    weight = np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)
    copy = _contiguous(weight.T, np.dtype(np.float32))
    assert copy.flags.c_contiguous and copy.base is None
    np.testing.assert_array_equal(copy, weight.T)


def test_a_scanned_stack_is_filled_layer_by_layer_and_other_parts_stay():
    params = jax.tree.map(jnp.zeros, {'vision': {'norm': {'scale': (4,)}}}, is_leaf=is_shape)
    params['vision']['layers'] = {'mlp': {'wi': {'kernel': jnp.zeros((2, 4, 6))}}}
    params['decoder'] = {'norm': {'scale': jnp.full(4, 7.0)}}
    made = plan()
    loaded = load(params, made, CONFIG)
    kernel = loaded['vision']['layers']['mlp']['wi']['kernel']
    np.testing.assert_array_equal(kernel[0], np.arange(24.0).reshape(6, 4).T)
    np.testing.assert_array_equal(kernel[1], -np.asarray(kernel[0]))
    np.testing.assert_array_equal(loaded['vision']['norm']['scale'], np.arange(4))
    np.testing.assert_array_equal(loaded['decoder']['norm']['scale'], np.full(4, 7.0))
    assert params['vision']['norm']['scale'].is_deleted()
    assert summary(made) == {
        'path': 'folder',
        'format': 'a family',
        'restored': {
            'vision/norm/scale': ['norm'],
            'vision/layers/mlp/wi/kernel': ['block.0.up', 'block.1.up'],
        },
        'resized': {},
        'new': [],
        'unused': ['words', 'head'],
    }


def is_shape(node) -> bool:
    return isinstance(node, tuple)


def without(*names):
    return {name: value for name, value in TENSORS.items() if name not in names}


def test_a_parameter_without_a_tensor_is_an_error_unless_bound_otherwise():
    with pytest.raises(UserError, match=r'has nothing for vision/norm/scale .*allow_new'):
        plan(tensors=without('norm'))
    # One layer of a scanned stack is enough to lack it.
    with pytest.raises(UserError, match='vision/layers/mlp/wi/kernel'):
        plan(tensors=without('block.1.up'))
    made = plan(tensors=without('norm'), allow_new=['vision/norm/.*'])
    assert made.new == ['vision/norm/scale']
    with pytest.raises(UserError, match='decoder/norm/scale'):
        plan('text')


def test_a_tensor_without_a_parameter_is_an_error_unless_bound_otherwise():
    more = {**TENSORS, 'block.2.up': np.zeros((6, 4)), 'block.2.gate': np.zeros((6, 4))}
    with pytest.raises(UserError, match=r'block\.2\.up, block\.2\.gate \(2 in all\).*allow_unused'):
        plan(tensors=more)
    made = plan(tensors=more, allow_unused=[r'block\.2\..*'])
    assert set(made.unused) == {'block.2.up', 'block.2.gate', 'words', 'head'}


def test_sizes_and_options_that_differ_are_told_as_bindings():
    vision = dataclasses.replace(CONFIG.vision, num_layers=1)
    with pytest.raises(UserError, match=r'Bind: vit\.VitConfig\.num_layers = 2 \(now 1\)'):
        plan(config=dataclasses.replace(CONFIG, vision=vision))
    # Of the text nothing is asked where the vision encoder alone is loaded.
    plan(family=dataclasses.replace(FAMILY, text={'num_heads': 99}))
    with pytest.raises(UserError, match=r't5\.TextConfig\.num_heads = 99'):
        plan('model', family=dataclasses.replace(FAMILY, text={'num_heads': 99}))


def test_shapes_that_do_not_fit_are_told():
    wrong = {**TENSORS, 'norm': np.zeros(5)}
    with pytest.raises(UserError, match=r'norm has the shape \(5,\).*which is \(4,\) here'):
        plan(tensors=wrong)
    words = {**TENSORS, 'words': np.zeros((500, 4))}
    with pytest.raises(UserError, match=r'embedding_rows\.at_least = 500'):
        plan('text', tensors=words, allow_new=['decoder/.*'])
    with pytest.raises(UserError, match='makes no vision/layers_0/mlp/wi/kernel'):
        rows = [Row('vision/layers_{i}/mlp/wi/kernel', 'block.{i}.up', lambda x: x.reshape(5, 5))]
        plan(family=dataclasses.replace(FAMILY, rows=rows))


# ---- fitting -------------------------------------------------------------------------------------


def test_a_vocabulary_grows_by_rows_of_one_seed_and_loses_padding_only():
    name, old = 'token_embedder/embedding', np.ones((5, 3), np.float32)
    grown = fit(name, old, (4005, 3), (1, 1))
    np.testing.assert_array_equal(grown[:5], old)
    assert abs(grown[5:].std() - 0.02) < 1e-3 and grown.dtype == np.float32
    np.testing.assert_array_equal(fit(name, old, (4005, 3), (1, 1)), grown)
    np.testing.assert_array_equal(
        fit(name, np.arange(6.0).reshape(3, 2), (2, 2), (1, 1)), [[0, 1], [2, 3]]
    )
    assert can_fit(name, (5, 3), (9, 3)) and can_fit(name, (133, 3), (5, 3))
    assert not can_fit(name, (134, 3), (5, 3)) and not can_fit(name, (5, 4), (9, 3))


def test_positions_are_resampled_to_the_grid():
    """A table that is linear in row and column stays so between the old centres."""
    row, column = np.mgrid[:4, :4].astype(np.float32)
    table = np.stack([row, column], axis=-1).reshape(16, 2)
    got = fit('vision/position_embedding', table, (8 * 8, 2), (8, 8)).reshape(8, 8, 2)
    at = np.clip((np.arange(8) + 0.5) / 2 - 0.5, 0, 3)
    np.testing.assert_allclose(got[..., 0], np.repeat(at[:, None], 8, 1), atol=1e-6)
    np.testing.assert_allclose(got[..., 1], np.repeat(at[None], 8, 0), atol=1e-6)
    assert not can_fit('vision/position_embedding', (15, 2), (64, 2))


def test_nothing_else_is_bent_to_fit():
    assert not can_fit('decoder/norm/scale', (4,), (5,))
    assert can_fit('decoder/norm/scale', (4,), (4,))
