"""Greedy decoding and sampling of a Markov chain that is written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.decoding import DecodingConfig, decode
from vlm.errors import UserError

from chain import CHAIN, chain_step, logits_of

FIRST = logits_of(CHAIN[2:])  # as if the prompts ended in 2, 3 and 4


def greedy(first, max_length: int, step=None, caches=(), **options):
    config, step = DecodingConfig(**options), step or chain_step(CHAIN)
    decoded = decode(first, caches, step, config, max_length=max_length, eos_id=1)
    assert decoded.tokens.dtype == jnp.int32
    return decoded.tokens[:, 0], decoded.scores[:, 0]


def test_greedy_by_hand():
    tokens, scores = greedy(FIRST, 5)
    np.testing.assert_array_equal(tokens, [[3, 4, 1, 0, 0], [4, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    wanted = np.log([0.6 * 0.5 * 0.7, 0.5 * 0.7, 0.7])
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)


def test_caches_are_handed_on():
    # The sum of the tokens so far chooses the row: 3, then (3 + 4) mod 5 = 2 chooses 3 again.
    def step(tokens, total, position, lineage):
        total = total + tokens
        return logits_of(CHAIN)[total % 5], total

    tokens, _ = greedy(FIRST, 3, step, jnp.zeros((3, 1), jnp.int32))
    np.testing.assert_array_equal(tokens, [[3, 4, 3], [4, 1, 0], [1, 0, 0]])


def test_greedy_stops_at_the_longest_answer_allowed():
    tokens, scores = greedy(FIRST, 2)
    np.testing.assert_array_equal(tokens, [[3, 4], [4, 1], [1, 0]])
    np.testing.assert_allclose(scores, np.log([0.6 * 0.5, 0.5 * 0.7, 0.7]), rtol=1e-5)


def test_a_row_is_decoded_as_it_would_be_alone():
    tokens, scores = greedy(FIRST, 5)
    for row in range(3):
        alone, score = greedy(FIRST[row : row + 1], 5)
        np.testing.assert_array_equal(alone[0], tokens[row])
        np.testing.assert_allclose(score[0], scores[row], rtol=1e-6)


def test_padding_is_never_chosen():
    # 0 is by far the likeliest at every position; its probability counts all the same.
    first = logits_of([[0.9, 0.02, 0.05, 0.02, 0.01]])
    chain = np.tile([0.6, 0.2, 0.1, 0.06, 0.04], (5, 1))
    tokens, scores = greedy(first, 3, chain_step(chain))
    np.testing.assert_array_equal(tokens, [[2, 1, 0]])
    np.testing.assert_allclose(scores, np.log([0.05 * 0.2]), rtol=1e-5)


def test_allowed_tokens_alone_are_chosen_and_the_scores_stay_the_models():
    # From 2: 2 or 4 instead of 3; 2 -> 2 at 0.2; the answer may always end.
    tokens, scores = greedy(FIRST, 3, allowed_ids=(2, 4))
    np.testing.assert_array_equal(tokens, [[2, 2, 2], [4, 1, 0], [1, 0, 0]])
    np.testing.assert_allclose(scores, np.log([0.2**3, 0.5 * 0.7, 0.7]), rtol=1e-5)


@pytest.mark.parametrize('max_length, wanted', [(50, [0, 1]), (2, [0]), (1, [])])
def test_no_step_is_taken_that_no_row_needs(max_length, wanted):
    calls = []
    plain = chain_step(CHAIN)

    def step(tokens, caches, position, lineage):
        jax.debug.callback(lambda at: calls.append(int(at)), position)
        return plain(tokens, caches, position, lineage)

    # The longest answer is 3, 4, EOS: two steps, for nothing follows EOS.
    greedy(FIRST, max_length, step)
    jax.effects_barrier()
    assert calls == wanted


# ---------------------------------------------------------------- sampling


def draw(first, seed: int, num_decodes: int = 1, max_length: int = 6, chain=CHAIN, **options):
    config = DecodingConfig('sample', num_decodes, **options)
    run = jax.jit(
        lambda first, key: decode(
            first, (), chain_step(chain), config, max_length=max_length, eos_id=1, rng=key
        )
    )
    return run(first, jax.random.key(seed))


def test_samples_depend_on_the_key_alone():
    first, again, other = (draw(FIRST, seed, 8).tokens for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (np.asarray(first) != np.asarray(other)).any()
    assert len({tuple(row) for row in np.asarray(first[0])}) > 1


def test_sampled_answers_are_well_formed_scored_by_the_model_and_best_first():
    tokens, scores = (np.asarray(part) for part in draw(FIRST, 3, 16, temperature=2.0))
    assert (np.diff(scores, axis=1) <= 0).all()
    for row, last_of_prompt in enumerate([2, 3, 4]):
        for answer, score in zip(tokens[row], scores[row], strict=True):
            length = np.argmax(answer == 1) + 1 if 1 in answer else 6
            assert (answer[:length] > 0).all() and (answer[length:] == 0).all()
            path = [last_of_prompt, *answer[:length]]
            wanted = sum(np.log(CHAIN[a, b]) for a, b in zip(path[:-1], path[1:], strict=True))
            assert score == pytest.approx(wanted, rel=1e-5)


# Of three tokens that may be drawn; 0.2 is padding's, which never is.
PROBABILITIES = np.array([0.2, 0.1, 0.4, 0.25, 0.05])


@pytest.mark.parametrize(
    'options, wanted',
    [
        ({}, [0, 0.1, 0.4, 0.25, 0.05]),
        ({'temperature': 0.5}, [0, 0.01, 0.16, 0.0625, 0.0025]),
        ({'top_k': 2}, [0, 0, 0.4, 0.25, 0]),
        # Of 0.8 in all: 0.5, 0.3125, 0.125, 0.0625. The first two hold 0.81.
        ({'top_p': 0.8}, [0, 0, 0.4, 0.25, 0]),
        ({'top_p': 0.82}, [0, 0.1, 0.4, 0.25, 0]),
        # 0.4 of the 0.65 that top_k leaves is 0.615.
        ({'top_k': 2, 'top_p': 0.6}, [0, 0, 0.4, 0, 0]),
        ({'allowed_ids': (3,)}, [0, 0.1, 0, 0.25, 0]),
    ],
)
def test_tokens_are_drawn_as_often_as_they_are_likely(options, wanted):
    count = 20_000
    decoded = draw(logits_of([PROBABILITIES]), 5, count, 1, **options)
    found = np.bincount(np.asarray(decoded.tokens).ravel(), minlength=5) / count
    wanted = np.array(wanted) / np.sum(wanted)
    # Five standard deviations of a count.
    np.testing.assert_array_less(np.abs(found - wanted), 5 * np.sqrt(0.25 / count))
    assert (found[wanted == 0] == 0).all()


def test_rivals_and_positions_are_drawn_independently():
    even = np.tile([0, 0, 0.5, 0.5, 0], (5, 1))
    tokens = np.asarray(draw(logits_of(even[:2]), 0, 2000, 3, even).tokens)
    bits = (tokens == 3).reshape(2, 2000, 3)
    # Eight patterns of three positions at one in eight each; five standard deviations.
    patterns = np.bincount((bits * [4, 2, 1]).sum(-1).ravel(), minlength=8) / 4000
    np.testing.assert_allclose(patterns, 0.125, atol=5 * np.sqrt(0.125 * 0.875 / 4000))
    assert (bits[0] != bits[1]).any()


def test_sampling_without_a_key_is_refused():
    with pytest.raises(UserError, match='needs a random key'):
        decode(FIRST, (), chain_step(CHAIN), DecodingConfig('sample'), max_length=2, eos_id=1)
