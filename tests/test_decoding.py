"""Greedy decoding of a Markov chain that is written out, and the alignment of prompts."""

import jax
import jax.numpy as jnp
import numpy as np

from vlm.decoding import align_right, greedy

# Probability of the next token (columns) after a token (rows): 0 padding, 1 EOS, then 2, 3, 4.
CHAIN = np.array(
    [
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.0, 0.1, 0.2, 0.6, 0.1],  # 2 -> 3
        [0.1, 0.1, 0.1, 0.2, 0.5],  # 3 -> 4
        [0.0, 0.7, 0.1, 0.1, 0.1],  # 4 -> EOS
    ]
)
LOGITS = jnp.asarray(np.log(CHAIN + 1e-9) + 3.0, jnp.float32)  # not normalised
FIRST = jnp.stack([LOGITS[2], LOGITS[3], LOGITS[4]])  # as if the prompts ended in 2, 3 and 4


def decode(first, max_length: int):
    def step(tokens, caches, position):
        return LOGITS[tokens[:, 0]], caches

    return greedy(first, (), step, max_length=max_length, eos_id=1)


def test_greedy_by_hand():
    decoded = decode(FIRST, 5)
    np.testing.assert_array_equal(
        decoded.tokens, [[3, 4, 1, 0, 0], [4, 1, 0, 0, 0], [1, 0, 0, 0, 0]]
    )
    wanted = np.log([0.6 * 0.5 * 0.7, 0.5 * 0.7, 0.7])
    np.testing.assert_allclose(decoded.scores, wanted, rtol=1e-5)
    assert decoded.tokens.dtype == jnp.int32


def test_caches_are_handed_on():
    # The sum of the tokens so far chooses the row: 3, then (3 + 4) mod 5 = 2 chooses 3 again.
    def step(tokens, total, position):
        total = total + tokens[:, 0]
        return LOGITS[total % 5], total

    decoded = greedy(FIRST, jnp.zeros(3, jnp.int32), step, max_length=3, eos_id=1)
    np.testing.assert_array_equal(decoded.tokens, [[3, 4, 3], [4, 1, 0], [1, 0, 0]])


def test_greedy_stops_at_the_longest_answer_allowed():
    decoded = decode(FIRST, 2)
    np.testing.assert_array_equal(decoded.tokens, [[3, 4], [4, 1], [1, 0]])
    np.testing.assert_allclose(decoded.scores, np.log([0.6 * 0.5, 0.5 * 0.7, 0.7]), rtol=1e-5)


def test_a_row_is_decoded_as_it_would_be_alone():
    together = decode(FIRST, 5)
    for row in range(3):
        alone = decode(FIRST[row : row + 1], 5)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], rtol=1e-6)


def test_padding_may_be_predicted_without_ending_the_answer():
    # Token 0 is likeliest: it is a token like any other, only EOS ends.
    first = jnp.log(jnp.array([[0.9, 0.025, 0.025, 0.025, 0.025]]))
    chain = jnp.log(jnp.array([[0.1, 0.6, 0.1, 0.1, 0.1]]))
    decoded = greedy(first, (), lambda t, c, p: (chain, c), max_length=3, eos_id=1)
    np.testing.assert_array_equal(decoded.tokens, [[0, 1, 0]])
    np.testing.assert_allclose(decoded.scores, np.log([0.9 * 0.6]), rtol=1e-5)


def test_greedy_stops_when_every_row_has_ended():
    calls = []

    def step(tokens, caches, position):
        jax.debug.callback(lambda at: calls.append(int(at)), position)
        return LOGITS[tokens[:, 0]], caches

    greedy(FIRST, (), step, max_length=50, eos_id=1)
    jax.effects_barrier()
    assert calls == [0, 1, 2]  # the longest answer is 3, 4, EOS


def test_align_right_by_hand():
    tokens = jnp.array([[0, 5, 6, 1, 9], [0, 7, 9, 9, 9], [9, 9, 9, 9, 9]])
    aligned, valid = align_right(tokens, jnp.array([4, 2, 0]), 6)
    np.testing.assert_array_equal(
        aligned, [[0, 0, 0, 5, 6, 1], [0, 0, 0, 0, 0, 7], [0, 0, 0, 0, 0, 0]]
    )
    np.testing.assert_array_equal(
        valid, [[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]
    )


def test_align_right_without_room_to_spare():
    tokens = jnp.array([[3, 4, 5], [6, 7, 0]])
    aligned, valid = align_right(tokens, jnp.array([3, 2]), 3)
    np.testing.assert_array_equal(aligned, [[3, 4, 5], [0, 6, 7]])
    np.testing.assert_array_equal(valid, [[1, 1, 1], [0, 1, 1]])
