"""Layers against numbers worked out by hand."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

from vlm.nn.layers import ACTIVATIONS, Dense, Embed, LayerNorm, Mlp, RMSNorm, make_padding_mask

from miniature import random_params


def apply(module, params, *args, **options):
    params = jax.tree.map(jnp.array, params, is_leaf=lambda node: not isinstance(node, dict))
    return jax.jit(functools.partial(module.apply, **options))({'params': params}, *args)


def test_dense_is_a_matrix_product_with_bias():
    params = {'kernel': [[1.0, 2.0], [3.0, 4.0]], 'bias': [10.0, 20.0]}
    found = apply(Dense(2, ('embed', 'mlp'), use_bias=True), params, jnp.array([[1.0, -1.0]]))
    np.testing.assert_allclose(found, [[8.0, 18.0]])


def test_dense_has_no_bias_unless_asked():
    dense = Dense(3, ('embed', 'mlp'))
    variables = jax.eval_shape(dense.init, jax.random.key(0), jnp.ones((1, 2)))
    assert jax.tree.map(jnp.shape, variables['params']) == {'kernel': (2, 3)}
    assert variables['params_axes']['kernel_axes'].names == ('embed', 'mlp')


def test_a_parameter_of_another_shape_is_named():
    dense = Dense(3, ('embed', 'mlp'))
    with pytest.raises(ScopeParamShapeError, match=r'"kernel".*\(2, 3\).*\(2, 4\)'):
        dense.apply({'params': {'kernel': jnp.ones((2, 4))}}, jnp.ones((1, 2)))


def test_dense_initialises_with_variance_one_over_fan_in():
    variables = Dense(200, ('embed', 'mlp')).init(jax.random.key(0), jnp.ones((1, 400)))
    kernel = variables['params']['kernel']
    assert float(kernel.std()) == pytest.approx(1 / math.sqrt(400), rel=0.02)
    # Cut at two standard deviations of the normal it is drawn from, which is wider by 1 / .8796.
    assert float(jnp.abs(kernel).max()) <= 2 / math.sqrt(400) / 0.87962566 + 1e-6


def test_rms_norm_by_hand():
    # The mean square of (3, 4) is 12.5; no mean is taken off.
    found = apply(RMSNorm(epsilon=0.0), {'scale': [1.0, 2.0]}, jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(found, [3 / math.sqrt(12.5), 8 / math.sqrt(12.5)], rtol=1e-6)


def test_rms_norm_epsilon_stands_under_the_root():
    found = apply(RMSNorm(epsilon=3.5), {'scale': [1.0, 1.0]}, jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(found, [3 / 4, 4 / 4], rtol=1e-6)
    zeros = apply(RMSNorm(), {'scale': [1.0, 1.0]}, jnp.zeros(2))
    np.testing.assert_array_equal(zeros, 0.0)


def test_rms_norm_of_gemma_multiplies_by_one_and_the_scale():
    module = RMSNorm(epsilon=0.0, unit_offset=True)
    found = apply(module, {'scale': [0.0, 1.0]}, jnp.array([3.0, 4.0]))
    np.testing.assert_allclose(found, [3 / math.sqrt(12.5), 8 / math.sqrt(12.5)], rtol=1e-6)
    fresh = module.init(jax.random.key(0), jnp.ones(2))['params']
    np.testing.assert_array_equal(fresh['scale'], 0.0)


def test_layer_norm_by_hand():
    # Mean 5, deviations -3, -1, 1, 3, variance 5.
    params = {'scale': [1.0, 1.0, 1.0, 2.0], 'bias': [0.0, 0.0, 0.5, 0.0]}
    found = apply(LayerNorm(epsilon=0.0), params, jnp.array([2.0, 4.0, 6.0, 8.0]))
    root = math.sqrt(5)
    np.testing.assert_allclose(found, [-3 / root, -1 / root, 0.5 + 1 / root, 6 / root], rtol=1e-6)


@pytest.mark.parametrize('norm', [RMSNorm, LayerNorm])
def test_norms_take_statistics_in_float32_whatever_the_dtype(norm):
    # Around 300 bfloat16 has every second integer only: their mean is not among its numbers.
    x = jnp.array([300.0, 302.0, 304.0, 310.0], jnp.bfloat16)
    params = random_params(norm(), x)
    found = apply(norm(dtype=jnp.bfloat16), params, x)
    assert found.dtype == jnp.bfloat16
    exact = apply(norm(), params, x.astype(jnp.float32))
    np.testing.assert_array_equal(found, exact.astype(jnp.bfloat16))


def test_embedding_looks_up_and_attends_to_the_same_table():
    table = [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]
    embed = Embed(3, 2)
    found = apply(embed, {'embedding': table}, jnp.array([[2, 0]]))
    np.testing.assert_array_equal(found, [[[4.0, 5.0], [0.0, 1.0]]])
    scores = apply(embed, {'embedding': table}, jnp.array([[[1.0, -1.0]]]), method='attend')
    np.testing.assert_allclose(scores, [[[-1.0, -1.0, -1.0]]])


def gelu(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def test_activations_by_formula():
    x = [-2.0, -0.5, 0.0, 1.5]
    np.testing.assert_allclose(ACTIVATIONS['gelu'](jnp.array(x)), [gelu(v) for v in x], atol=1e-6)
    np.testing.assert_allclose(ACTIVATIONS['relu'](jnp.array(x)), [0, 0, 0, 1.5])
    silu = [v / (1 + math.exp(-v)) for v in x]
    np.testing.assert_allclose(ACTIVATIONS['silu'](jnp.array(x)), silu, atol=1e-6)


def test_plain_mlp_with_biases_by_hand():
    params = {
        'wi': {'kernel': [[1.0, -1.0]], 'bias': [0.5, 0.0]},
        'wo': {'kernel': [[2.0], [1.0]], 'bias': [0.25]},
    }
    found = apply(Mlp(2, use_bias=True), params, jnp.array([[1.0]]))
    np.testing.assert_allclose(found, [[2 * gelu(1.5) + gelu(-1.0) + 0.25]], rtol=1e-6)


def test_gated_mlp_activates_one_half_and_multiplies_with_the_other():
    params = {
        'wi': {'kernel': [[1.0, -1.0]]},
        'wi_gate': {'kernel': [[3.0, 5.0]]},
        'wo': {'kernel': [[2.0], [1.0]]},
    }
    found = apply(Mlp(2, gated=True), params, jnp.array([[1.0]]))
    np.testing.assert_allclose(found, [[2 * gelu(1.0) * 3 + gelu(-1.0) * 5]], rtol=1e-6)


def test_dropout_acts_only_when_not_deterministic():
    mlp, x = Mlp(64, dropout=0.5), jnp.ones((1, 4))
    params = random_params(mlp, x)
    still = apply(mlp, params, x)
    np.testing.assert_array_equal(still, apply(Mlp(64), params, x))
    dropped = apply(mlp, params, x, deterministic=False, rngs={'dropout': jax.random.key(1)})
    assert not np.allclose(still, dropped)


def test_padding_mask():
    mask = make_padding_mask(jnp.array([[True, False]]))
    assert mask.shape == (1, 1, 1, 2)
    np.testing.assert_array_equal(mask[0, 0, 0], [True, False])


@pytest.mark.parametrize(
    'module, x',
    [
        (Dense(3, ('embed', 'mlp'), use_bias=True, dtype=jnp.bfloat16), jnp.ones((1, 2))),
        (Mlp(4, gated=True, dtype=jnp.bfloat16), jnp.ones((1, 2))),
        (Embed(5, 2, dtype=jnp.bfloat16), jnp.ones((1, 2), jnp.int32)),
    ],
)
def test_bfloat16_is_for_activations_only(module, x):
    params = random_params(module, x)  # of the dtypes that the initialisers declare
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}
    assert apply(module, params, x).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ('name', 'formula'),
    [
        ('gelu_exact', lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
        ('quick_gelu', lambda x: x / (1 + math.exp(-1.702 * x))),
    ],
)
def test_activations_of_pretrained_encoders(name, formula):
    x = [-3.0, -0.7, 0.0, 0.4, 2.5]
    found = ACTIVATIONS[name](jnp.array(x))
    np.testing.assert_allclose(found, [formula(v) for v in x], rtol=1e-5, atol=1e-6)
