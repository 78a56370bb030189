"""Relative buckets against T5's published rule worked out by hand, sin-cos against its formula."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.nn.positions import RelativeBias, relative_bucket, rotary, sincos_2d

from miniature import random_params

# First distance of each logarithmic bucket with T5's 32 buckets and distance 128. Causal: 16 exact
# ones, then bucket 16 + floor(16 * log(d / 16) / log(8)). Bidirectional: 8 exact ones a side, then
# 8 + floor(8 * log(d / 8) / log(16)), whose edges are 8 * sqrt(2)**n.
CAUSAL_EDGES = [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
BIDIRECTIONAL_EDGES = [8, 12, 16, 23, 32, 46, 64, 91]


jitted_bucket = jax.jit(
    relative_bucket, static_argnames=('bidirectional', 'buckets', 'max_distance')
)


def buckets_of(distances, *, bidirectional: bool, buckets: int = 32, max_distance: int = 128):
    relative = -np.asarray(distances)[None]  # the key stands `distance` before the query
    found = jitted_bucket(
        relative, bidirectional=bidirectional, buckets=buckets, max_distance=max_distance
    )
    return np.asarray(found)[0]


def expected(edges: list[int], distance: int) -> int:
    if distance < edges[0]:
        return distance
    return edges[0] + sum(edge <= distance for edge in edges) - 1


def test_causal_buckets():
    distances = np.arange(0, 300)
    found = buckets_of(distances, bidirectional=False)
    np.testing.assert_array_equal(found, [expected(CAUSAL_EDGES, d) for d in distances])
    assert found[15] == 15 and found[16] == 16 and found[128] == found[299] == 31


def test_keys_ahead_of_a_causal_query_share_bucket_zero():
    np.testing.assert_array_equal(buckets_of([-1, -7, -200], bidirectional=False), 0)


def test_bidirectional_buckets_have_a_half_for_each_side():
    distances = np.arange(1, 300)
    behind = [expected(BIDIRECTIONAL_EDGES, d) for d in distances]
    np.testing.assert_array_equal(buckets_of(distances, bidirectional=True), behind)
    ahead = buckets_of(-distances, bidirectional=True)
    np.testing.assert_array_equal(ahead, 16 + np.array(behind))
    assert buckets_of([0], bidirectional=True)[0] == 0


def test_other_numbers_of_buckets():
    # 8 buckets, distance 16, causal: 4 exact, then 4 + floor(2 * log2(d / 4)).
    found = buckets_of(
        [0, 3, 4, 5, 6, 8, 11, 12, 16, 99], bidirectional=False, buckets=8, max_distance=16
    )
    np.testing.assert_array_equal(found, [0, 3, 4, 4, 5, 6, 6, 7, 7, 7])


@pytest.mark.parametrize('bidirectional', [False, True])
def test_relative_bias_reads_its_table(bidirectional):
    bias = RelativeBias(num_heads=2, bidirectional=bidirectional, buckets=8, max_distance=16)
    table = jnp.arange(16.0).reshape(2, 8)
    query, key = jnp.array([[2, 3]]), jnp.arange(4)[None]
    found = jax.jit(bias.apply)({'params': {'rel_embedding': table}}, query, key)
    # Distances of query 2 to keys 0..3 are 2, 1, 0 and one ahead; of query 3: 3, 2, 1, 0.
    if bidirectional:
        # Two exact buckets a side, then 2 + floor(2 * log(d / 2) / log(8)); ahead starts at 4.
        bucket = np.array([[2, 1, 0, 5], [2, 2, 1, 0]])
    else:
        bucket = np.array([[2, 1, 0, 0], [3, 2, 1, 0]])
    np.testing.assert_array_equal(found[0], np.stack([bucket, 8 + bucket]))


def test_relative_bias_depends_on_distance_only():
    bias = RelativeBias(num_heads=2, bidirectional=False)
    at = jnp.arange(6)[None]
    params = random_params(bias, at, at)
    assert params['rel_embedding'].shape == (2, 32)
    near = jax.jit(bias.apply)({'params': params}, at, at)
    far = jax.jit(bias.apply)({'params': params}, at + 50, at + 50)
    np.testing.assert_array_equal(near, far)


def test_rotation_by_hand():
    # K = 4: features 0 and 2 turn by the position, 1 and 3 by a hundredth of it.
    x = jnp.array([1.0, 1.0, 0.0, 2.0]).reshape(1, 1, 1, 4)
    found = rotary(x, jnp.array([[3]])).ravel()
    cos, sin = math.cos(0.03), math.sin(0.03)
    wanted = [math.cos(3), cos - 2 * sin, math.sin(3), sin + 2 * cos]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    np.testing.assert_array_equal(rotary(x, jnp.array([[0]])), x)


def test_rotated_vectors_know_their_distance_only():
    rng = np.random.default_rng(0)
    query, key = (jnp.asarray(rng.normal(size=(1, 1, 2, 6)), jnp.float32) for _ in range(2))

    def score(i: int, j: int):
        turned = rotary(query, jnp.array([[i]])), rotary(key, jnp.array([[j]]))
        return jnp.sum(turned[0] * turned[1], axis=-1)

    np.testing.assert_allclose(score(5, 2), score(105, 102), rtol=1e-4)
    assert not np.allclose(score(5, 2), score(2, 5), rtol=1e-2)


def test_sincos_by_formula():
    table = sincos_2d(2, 3, 8)
    assert table.shape == (6, 8) and table.dtype == np.float32
    # Two frequencies, 1 and 1 / 10,000; token 5 is row 1, column 2; x fills the first half.
    slow = 1e-4
    x = [math.sin(2), math.sin(2 * slow), math.cos(2), math.cos(2 * slow)]
    y = [math.sin(1), math.sin(slow), math.cos(1), math.cos(slow)]
    np.testing.assert_allclose(table[5], x + y, rtol=1e-6)
    np.testing.assert_array_equal(table[0], [0, 0, 1, 1, 0, 0, 1, 1])


def test_sincos_frequencies_are_geometric():
    table = sincos_2d(1, 2, 16)
    frequencies = [10_000 ** (-i / 3) for i in range(4)]
    np.testing.assert_allclose(table[1, :4], np.sin(frequencies), rtol=1e-6)
    np.testing.assert_allclose(table[1, 4:8], np.cos(frequencies), rtol=1e-6)


def test_sincos_tells_every_patch_apart():
    table = sincos_2d(4, 5, 16)
    assert len(np.unique(table.round(5), axis=0)) == 20
