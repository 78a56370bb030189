"""Attention against an einsum reference, and the cache it is given."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.nn.attention import Attention, KeyValue, attend

from miniature import random_params

HEADS, SIZE, WIDTH = 2, 3, 5


def reference(params, x, memory, *, bias=0.0, mask=None, scale=1.0) -> np.ndarray:
    def project(name: str, of: np.ndarray) -> np.ndarray:
        p = params[name]
        y = np.einsum('BTD,DI->BTI', of, p['kernel']) + p.get('bias', 0.0)
        return y.reshape(*of.shape[:2], HEADS, SIZE)

    query, key, value = project('query', x), project('key', memory), project('value', memory)
    logits = np.einsum('BTAK,BSAK->BATS', query, key) * scale + bias
    if mask is not None:
        logits = np.where(mask, logits, -np.inf)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    joined = np.einsum('BATS,BSAK->BTAK', weights, value).reshape(*x.shape[:2], HEADS * SIZE)
    out = params['out']
    return np.einsum('BTI,ID->BTD', joined, out['kernel']) + out.get('bias', 0.0)


def project_and_attend(module, x, memory, *rest):
    return module(x, module.keys_values(memory), *rest)


@functools.partial(jax.jit, static_argnums=0)
def run(module, params, *args):
    return module.apply({'params': params}, *args, method=project_and_attend)


@pytest.fixture
def make():
    def build(**options):
        module = Attention(HEADS, SIZE, **options)
        rng = np.random.default_rng(1)
        x, memory = (rng.normal(size=(2, n, WIDTH)).astype(np.float32) for n in (3, 4))
        params = random_params(module, x, memory, method=project_and_attend)
        return module, params, x, memory

    return build


@pytest.mark.parametrize('use_bias', [False, True])
@pytest.mark.parametrize('scaled', [False, True])
def test_attention_equals_einsum(make, use_bias, scaled):
    module, params, x, memory = make(use_bias=use_bias, scaled=scaled)
    assert all(('bias' in params[n]) == use_bias for n in ('query', 'key', 'value', 'out'))
    bias = np.random.default_rng(2).normal(size=(1, HEADS, 3, 4)).astype(np.float32)
    mask = np.array([[1, 0, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]], bool)[None, None]
    found = run(module, params, x, memory, bias, mask)
    scale = SIZE**-0.5 if scaled else 1.0
    wanted = reference(params, x, memory, bias=bias, mask=mask, scale=scale)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_without_bias_and_mask(make):
    module, params, x, memory = make()
    found = run(module, params, x, memory)
    wanted = reference(params, x, memory, scale=SIZE**-0.5)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_unscaled_queries_start_smaller_instead():
    # T5: the query's variance is 1 / (D K), so that no 1 / sqrt(K) is needed.
    x = jnp.ones((1, 1, 256))
    scales = {}
    for scaled in (True, False):
        module = Attention(4, 64, scaled=scaled)
        params = module.init(jax.random.key(0), x, x, method=project_and_attend)['params']
        scales[scaled] = float(params['query']['kernel'].std())
        assert float(params['key']['kernel'].std()) == pytest.approx(256**-0.5, rel=0.02)
    assert scales[True] == pytest.approx(256**-0.5, rel=0.02)
    assert scales[False] == pytest.approx((256 * 64) ** -0.5, rel=0.02)


@pytest.mark.parametrize('groups', [1, 2])
def test_shared_keys_equal_repeated_ones(groups):
    heads = 4
    shared, plain = Attention(heads, SIZE, num_kv_heads=groups), Attention(heads, SIZE)
    rng = np.random.default_rng(1)
    x, memory = (rng.normal(size=(2, n, WIDTH)).astype(np.float32) for n in (3, 4))
    params = random_params(shared, x, memory, method=project_and_attend)
    assert (
        params['key']['kernel'].shape == params['value']['kernel'].shape == (WIDTH, groups * SIZE)
    )

    def repeated(kernel):
        # Heads 0, 1 share the first of two groups, heads 2, 3 the second.
        kernel = kernel.reshape(WIDTH, groups, SIZE)
        return jnp.repeat(kernel, heads // groups, axis=1).reshape(WIDTH, heads * SIZE)

    own = {**params, **{n: {'kernel': repeated(params[n]['kernel'])} for n in ('key', 'value')}}
    wanted = run(plain, own, x, memory)
    np.testing.assert_allclose(run(shared, params, x, memory), wanted, rtol=1e-5, atol=1e-5)


def test_heads_are_normed_then_rotated_then_shared():
    heads, groups, size = 4, 2, 6
    module = Attention(heads, size, True, qkv_bias=False, qk_norm='layer_norm', num_kv_heads=groups)
    rng = np.random.default_rng(1)
    x, memory = (rng.normal(size=(2, n, WIDTH)).astype(np.float32) for n in (3, 4))
    at, keys_at = jnp.array([[4, 5, 6], [0, 7, 2]]), jnp.array([[0, 1, 2, 3], [5, 5, 0, 9]])

    def attend(module, x, memory):
        return module(x, module.keys_values(memory, keys_at), None, None, at)

    p = random_params(module, x, memory, method=attend)
    assert {name: sorted(part) for name, part in p.items()} == {
        **dict.fromkeys(('query', 'key', 'value'), ['kernel']),
        **dict.fromkeys(('query_norm', 'key_norm'), ['bias', 'scale']),
        'out': ['bias', 'kernel'],
    }

    def projected(name, of):
        return (of @ p[name]['kernel']).reshape(*of.shape[:2], -1, size)

    def normed_and_turned(name, of, at):
        y = projected(name, of)
        y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6)
        y = y * p[f'{name}_norm']['scale'] + p[f'{name}_norm']['bias']
        # Features as complex numbers, turned by position * 10000 ** (-i / (K / 2)).
        angle = at[:, :, None, None] * 10_000.0 ** -(np.arange(size // 2) / (size // 2))
        return (y[..., : size // 2] + 1j * y[..., size // 2 :]) * np.exp(1j * angle)

    query, key = normed_and_turned('query', x, at), normed_and_turned('key', memory, keys_at)
    key, value = (np.repeat(y, heads // groups, axis=2) for y in (key, projected('value', memory)))
    logits = np.einsum('BTAK,BSAK->BATS', query, key.conj()).real / np.sqrt(size)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    joined = np.einsum('BATS,BSAK->BTAK', weights, value).reshape(2, 3, -1)
    wanted = joined @ p['out']['kernel'] + p['out']['bias']
    found = jax.jit(functools.partial(module.apply, method=attend))({'params': p}, x, memory)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_query_that_may_see_nothing_stays_finite(make):
    module, params, x, memory = make()
    mask = np.zeros((2, 1, 1, 4), bool)

    def total(params):
        return jnp.sum(jnp.square(run(module, params, x, memory, None, mask)))

    value, gradient = jax.jit(jax.value_and_grad(total))(params)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_keys_and_values_are_written_where_the_index_says():
    cache = KeyValue(jnp.zeros((1, 1, 1, 4)), jnp.zeros((1, 1, 1, 4)))
    new = KeyValue(jnp.full((1, 1, 1, 2), 7.0), jnp.full((1, 1, 1, 2), 8.0))
    written = cache.written_at(jnp.array(1), new)
    np.testing.assert_array_equal(written.key.ravel(), [0, 7, 7, 0])
    np.testing.assert_array_equal(written.value.ravel(), [0, 8, 8, 0])
    np.testing.assert_array_equal(cache.key, 0)


def test_extending_a_cache_adds_empty_slots_behind():
    cache = KeyValue(jnp.ones((1, 1, 1, 2)), jnp.full((1, 1, 1, 2), 2.0)).extended_by(3)
    np.testing.assert_array_equal(cache.key.ravel(), [1, 1, 0, 0, 0])
    np.testing.assert_array_equal(cache.value.ravel(), [2, 2, 0, 0, 0])


def test_writing_keeps_the_dtype_of_the_cache():
    cache = KeyValue(*[jnp.zeros((1, 1, 1, 2), jnp.bfloat16)] * 2)
    written = cache.written_at(0, KeyValue(*[jnp.ones((1, 1, 1, 1))] * 2))
    assert written.key.dtype == written.value.dtype == jnp.bfloat16


@pytest.fixture
def grouped():
    """Query, memory, bias and mask: two heads share a key, one row has four keys."""
    rng = np.random.default_rng(0)
    query = rng.normal(0, 3, (2, 3, 4, 5)).astype(np.float32)  # [B, T, A, K]
    memory = KeyValue(*rng.normal(0, 3, (2, 2, 2, 5, 6)).astype(np.float32))  # [B, G, K, S]
    bias = rng.normal(0, 1, (1, 4, 3, 6)).astype(np.float32)
    mask = np.arange(6)[None, None, None] < np.array([4, 6])[:, None, None, None]
    return query, memory, bias, mask


def test_capped_scores_against_numpy(grouped):
    """Scores pass through cap * tanh(score / cap) before bias and mask."""
    query, memory, bias, mask = grouped
    wanted = np.zeros_like(query)
    for b, t, a in np.ndindex(2, 3, 4):
        key, value = memory.key[b, a // 2], memory.value[b, a // 2]
        score = 2.0 * np.tanh(0.5 * query[b, t, a] @ key / 2.0) + bias[0, a, t]
        weight = np.exp(score) * mask[b, 0, 0]
        wanted[b, t, a] = value @ (weight / weight.sum())
    got = attend(*jax.tree.map(jnp.asarray, grouped), scale=0.5, cap=2.0)
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('dtype', [jnp.float32, jnp.bfloat16])
def test_attention_is_that_of_jax(grouped, dtype):
    query, memory, bias, mask = jax.tree.map(jnp.asarray, grouped)
    query, memory = jax.tree.map(lambda x: x.astype(dtype), (query, memory))
    got = attend(query, memory, bias, mask, scale=0.3)
    assert got.dtype == dtype
    key, value = (jnp.moveaxis(x, -1, 1) for x in memory)
    wanted = jax.nn.dot_product_attention(query, key, value, bias=bias, mask=mask, scale=0.3)
    tolerance = 1e-5 if dtype == jnp.float32 else 3e-2
    np.testing.assert_allclose(
        got.astype(jnp.float32), wanted.astype(jnp.float32), rtol=tolerance, atol=tolerance
    )


def test_a_cap_that_no_score_reaches_changes_nothing():
    x = jnp.asarray(np.random.default_rng(0).normal(0, 1, (2, 5, 8)), jnp.float32)
    plain, capped = Attention(2, 4), Attention(2, 4, softcap=1e4)

    def run(layer, x):
        return layer(x, layer.keys_values(x))

    params = random_params(plain, x, method=run)
    variables = {'params': params}
    expected = plain.apply(variables, x, method=run)
    np.testing.assert_allclose(capped.apply(variables, x, method=run), expected, atol=1e-5)
    tight = Attention(2, 4, softcap=0.1).apply(variables, x, method=run)
    assert np.abs(tight - expected).max() > 1e-2
