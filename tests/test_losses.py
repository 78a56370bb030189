"""Losses by hand: logits are logarithms of small whole numbers, so probabilities are fractions."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm import losses
from vlm.errors import UserError

# Compiled as a whole, which is quicker than one small operation after the other.
token_losses = jax.jit(losses.token_losses, static_argnames=('label_smoothing', 'z_loss'))
normalized_weights = jax.jit(losses.normalized_weights, static_argnums=1)
segment_counts = jax.jit(losses.segment_counts)

# Probabilities .1, .2, .3, .4 with Z = 10.
LOGITS = jnp.log(jnp.array([[[1.0, 2.0, 3.0, 4.0]] * 2]))
TARGETS = jnp.array([[3, 0]])


def test_cross_entropy_by_hand():
    found, z_losses = token_losses(LOGITS, TARGETS)
    # -log 0.4 and -log 0.1
    np.testing.assert_allclose(found, [[0.9162907, 2.3025851]], rtol=1e-6)
    np.testing.assert_array_equal(z_losses, 0.0)


def test_z_loss_by_hand():
    found, z_losses = token_losses(LOGITS, TARGETS, z_loss=0.5)
    # log(10)**2 / 2; the cross-entropy stays what it was.
    np.testing.assert_allclose(z_losses, [[2.6509490, 2.6509490]], rtol=1e-6)
    np.testing.assert_allclose(found, token_losses(LOGITS, TARGETS)[0], rtol=1e-6)


def test_label_smoothing_by_hand():
    found, _ = token_losses(LOGITS, TARGETS, label_smoothing=0.3)
    # 0.7 on the target and 0.1 on each other, whose entropy is 0.9404480:
    # Target 3: -(0.7 log 0.4 + 0.1 (log 0.1 + log 0.2 + log 0.3)) = 1.1530031
    # Target 0: -(0.7 log 0.1 + 0.1 (log 0.2 + log 0.3 + log 0.4)) = 1.9847797
    np.testing.assert_allclose(found, [[0.2125551, 1.0443317]], rtol=1e-5)


def test_the_smoothed_target_itself_loses_nothing():
    logits = 5.0 + jnp.log(jnp.array([[[0.1, 0.7, 0.1, 0.1]]]))
    found, _ = token_losses(logits, jnp.array([[1]]), label_smoothing=0.3)
    np.testing.assert_allclose(found, 0.0, atol=1e-6)


def test_cross_entropy_does_not_overflow():
    found, _ = token_losses(jnp.array([[[1e4, 0.0]]]), jnp.array([[1]]), label_smoothing=0.1)
    # 0.9 * 1e4 less the entropy of (0.9, 0.1).
    np.testing.assert_allclose(found, 0.9 * 1e4 - 0.3250830, rtol=1e-6)


WEIGHTS = jnp.array([[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]], jnp.float32)


@pytest.mark.parametrize(
    'normalizer, wanted',
    [
        ('sum', [[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]]),
        ('tokens', [[0, 1 / 6, 1 / 6, 0], [1 / 6] * 4, [0] * 4]),
        # Two answers; the row without one counts for nothing.
        ('sequence', [[0, 1 / 4, 1 / 4, 0], [1 / 8] * 4, [0] * 4]),
    ],
)
def test_normalizers_by_hand(normalizer, wanted):
    np.testing.assert_allclose(normalized_weights(WEIGHTS, normalizer), wanted, rtol=1e-6)


SEGMENTS = jnp.array([[1, 1, 1, 2, 2, 0], [1, 1, 2, 2, 2, 2]])
PACKED = jnp.array([[0, 1, 1, 0, 1, 0], [0, 1, 0, 1, 1, 1]], jnp.float32)


def test_segment_counts_by_hand():
    found = segment_counts(PACKED, SEGMENTS)
    np.testing.assert_array_equal(found, [[2, 2, 2, 1, 1, 0], [1, 1, 3, 3, 3, 3]])


def test_packed_answers_are_sequences_of_their_own():
    found = normalized_weights(PACKED, 'sequence', SEGMENTS)
    # Four answers of 2, 1, 1 and 3 tokens, a quarter each.
    eighth, quarter, twelfth = 1 / 8, 1 / 4, 1 / 12
    wanted = [
        [0, eighth, eighth, 0, quarter, 0],
        [0, quarter, 0, twelfth, twelfth, twelfth],
    ]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_first_tokens_count_more():
    np.testing.assert_array_equal(
        losses.emphasised(WEIGHTS, 4.0), [[0, 4, 1, 0], [4, 1, 1, 1], [0, 0, 0, 0]]
    )
    packed = losses.emphasised(PACKED, 4.0, SEGMENTS)
    np.testing.assert_array_equal(packed, [[0, 4, 1, 0, 4, 0], [0, 4, 0, 4, 1, 1]])
    # Four answers; of the last, of three tokens, the first has 4 / 6 of the weight.
    found = normalized_weights(packed, 'sequence', SEGMENTS)
    np.testing.assert_allclose(found[1], [0, 1 / 4, 0, 1 / 6, 1 / 24, 1 / 24], rtol=1e-6)


@pytest.mark.parametrize('normalizer', ['tokens', 'sequence', 'sum'])
def test_a_batch_without_answers_weighs_nothing(normalizer):
    found = normalized_weights(jnp.zeros((2, 3)), normalizer)
    np.testing.assert_array_equal(found, 0.0)


@pytest.mark.parametrize('normalizer', ['tokens', 'sequence'])
def test_means_are_free_of_size(normalizer):
    total = float(normalized_weights(PACKED, normalizer, SEGMENTS).sum())
    assert math.isclose(total, 1.0, rel_tol=1e-6)


def test_unknown_normalizer_names_the_nearest():
    with pytest.raises(UserError, match=r"'token' \(VisionTextModel\.loss_normalizer\).*tokens"):
        normalized_weights(WEIGHTS, 'token')
