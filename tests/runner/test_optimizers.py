"""Optimizers: which parameters Muon takes, and what an update of each kind is."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from optax import contrib

from vlm.runner.optimizers import matrix_axes, muon, warmup_cosine, warmup_stable_decay

SHAPES = {
    'vision': {
        'stem_0': {'kernel': (3, 3, 3, 8), 'bias': (8,)},
        'layers': {'mlp': {'kernel': (2, 4, 8), 'bias': (2, 8)}},
        'position_embedding': (6, 4),
    },
    'decoder': {
        'layers_0': {'mlp': {'kernel': (8, 4)}},
        'relpos_bias': {'rel_embedding': (2, 32)},
        'logits_dense': {'kernel': (4, 16)},
    },
    'token_embedder': {'embedding': (16, 4)},
}


def some_params():
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
        SHAPES,
        is_leaf=lambda leaf: isinstance(leaf, tuple),
    )


def test_matrices_are_kernels_and_tables():
    axes = matrix_axes(some_params())
    assert axes['vision']['stem_0'] == {'kernel': ((0, 1, 2), 3), 'bias': None}
    assert axes['vision']['layers']['mlp'] == {'kernel': (1, 2), 'bias': None}
    tables = (
        axes['vision']['position_embedding'],
        axes['decoder']['relpos_bias']['rel_embedding'],
        axes['decoder']['logits_dense']['kernel'],
        axes['token_embedder']['embedding'],
    )
    assert tables == ((0, 1),) * 4


def test_a_step_is_orthogonal_for_matrices_and_adam_s_for_the_rest():
    params = some_params()
    grads = jax.tree.map(lambda p: p + 0.1, params)
    optimizer = muon(lambda step: 0.5, adam_share=0.1)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    # Five Newton-Schulz steps bring every singular value near 1, within (0.68, 1.13).
    for layer in updates['vision']['layers']['mlp']['kernel']:
        values = np.linalg.svd(np.asarray(layer), compute_uv=False) / 0.5
        assert values.min() > 0.6 * values.max()
    stem = np.asarray(updates['vision']['stem_0']['kernel']).reshape(27, 8)
    values = np.linalg.svd(stem, compute_uv=False)
    assert values.min() > 0.6 * values.max()
    # Adam's first step is the sign of the gradient times the rate; with Nesterov's momentum (Dozat
    # 2016) times b1 (1 - b1) / (1 - b1**2) + 1, b1 = 0.9.
    bias = updates['vision']['layers']['mlp']['bias']
    wanted = -0.05 * (0.09 / 0.19 + 1) * np.sign(grads['vision']['layers']['mlp']['bias'])
    np.testing.assert_allclose(bias, wanted, rtol=1e-4)


def test_iterations_in_a_loop_are_those_of_optax_by_default():
    params = some_params()
    grads = jax.tree.map(lambda p: jnp.sin(7 * p) + 0.1, params)
    default = contrib.muon(
        lambda step: 0.5,
        adam_b2=0.99,
        adam_learning_rate=lambda step: 0.15,
        muon_weight_dimension_numbers=matrix_axes,
    )
    found, wanted = (
        optimizer.update(grads, optimizer.init(params), params)[0]
        for optimizer in (muon(lambda step: 0.5), default)
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), found, wanted)


@pytest.mark.parametrize('momentum, forgets', [(0.0, True), (0.5, False)])
def test_without_momentum_muon_forgets_earlier_gradients(momentum, forgets):
    optimizer = muon(lambda step: 0.5, momentum=momentum)
    earlier, last = ({'kernel': jax.random.normal(jax.random.key(i), (2, 3))} for i in range(2))
    params = {'kernel': jnp.zeros((2, 3))}
    state = optimizer.init(params)
    fresh, _ = optimizer.update(last, state, params)
    _, state = optimizer.update(earlier, state, params)
    found, _ = optimizer.update(last, state, params)
    assert np.allclose(found['kernel'], fresh['kernel'], atol=1e-6) == forgets


@pytest.mark.parametrize(('step', 'rate'), [(0, 0.0), (5, 1.0), (10, 2.0), (35, 1.1), (60, 0.2)])
def test_warmup_cosine(step, rate):
    schedule = warmup_cosine(peak=2.0, warmup_steps=10, total_steps=60, final=0.1)
    assert float(schedule(step)) == pytest.approx(rate)


@pytest.mark.parametrize(
    ('step', 'rate'), [(0, 0.0), (5, 1.0), (10, 2.0), (75, 2.0), (90, 1.1), (100, 0.2), (120, 0.2)]
)
def test_warmup_stable_decay(step, rate):
    schedule = warmup_stable_decay(2.0, 10, decay_share=0.2, total_steps=100, final=0.1)
    assert float(schedule(step)) == pytest.approx(rate)
