"""Beam search against an exhaustive search, and by hand, on Markov chains that are written out."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.decoding import DecodingConfig, decode
from vlm.decoding.steps import visible_slots

from chain import chain_step, logits_of

# 2 looks best and leads nowhere; 3 is followed by a sure end. Greedy: 2, 2, ... Best: 3, EOS.
TRAP = np.array(
    [
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.0, 0.2, 0.3, 0.25, 0.25],
        [0.0, 0.9, 0.05, 0.04, 0.01],
        [0.0, 0.5, 0.2, 0.2, 0.1],
    ]
)
START = np.array([0.0, 0.05, 0.5, 0.4, 0.05])


def search(first, chain, width: int, max_length: int, step=None, **options):
    config = DecodingConfig('beam', width, **options)
    step = step or chain_step(chain)
    decoded = decode(logits_of(first), (), step, config, max_length=max_length, eos_id=1)
    return np.asarray(decoded.tokens), np.asarray(decoded.scores)


def every_answer(first, chain, max_length: int, alpha: float):
    """Tokens and scores of all answers there are, best first, ended ones before those cut off.

    What follows is decided by the sum of all tokens so far, modulo 5.
    """
    answers = {}
    for tokens in itertools.product(range(1, 5), repeat=max_length):
        length = tokens.index(1) + 1 if 1 in tokens else max_length
        tokens = tokens[:length]
        chances = [first[tokens[0]]]
        chances += [chain[sum(tokens[:i]) % 5][tokens[i]] for i in range(1, length)]
        score = np.log(chances).sum() / ((5 + length) / 6) ** alpha
        answers[tokens + (0,) * (max_length - length)] = 1 in tokens, score
    ranked = sorted(answers.items(), key=lambda entry: entry[1], reverse=True)
    return [tokens for tokens, _ in ranked], [score for _, (_, score) in ranked]


def step_with_history(chain, caches, tokens, position, lineage):
    """The cache holds the tokens of all beams side by side, as a network's holds their keys."""
    rivals = tokens.shape[1]
    caches = jax.lax.dynamic_update_slice_in_dim(caches, tokens, position * rivals, axis=1)
    own = visible_slots(lineage, position)
    return logits_of(chain)[jnp.sum(caches[:, None] * own, axis=-1) % 5], caches


@pytest.mark.parametrize('alpha', [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_what_an_exhaustive_search_finds(alpha):
    rng = np.random.default_rng(0)
    chain, first = rng.dirichlet(np.ones(5), 5), rng.dirichlet(np.ones(5), 2)

    def step(tokens, caches, position, lineage):
        return step_with_history(chain, caches, tokens, position, lineage)

    # 1 + 3 + 9 answers that end and 27 that are cut off.
    config, caches = DecodingConfig('beam', 40, alpha=alpha), jnp.zeros((2, 120), jnp.int32)
    decoded = decode(logits_of(first), caches, step, config, max_length=3, eos_id=1)
    for row in range(2):
        wanted, wanted_scores = every_answer(first[row], chain, 3, alpha)
        assert len(wanted) == 40
        np.testing.assert_array_equal(decoded.tokens[row], wanted)
        np.testing.assert_allclose(decoded.scores[row], wanted_scores, rtol=1e-5)


def test_a_beam_of_two_escapes_the_trap_of_greedy_decoding():
    (greedy,), (greedy_score,) = search([START], TRAP, 1, 4, alpha=0.0)
    (tokens,), (scores,) = search([START], TRAP, 2, 4, alpha=0.0)
    assert greedy.tolist() == [[2, 2, 2, 2]]
    assert greedy_score == pytest.approx(np.log(0.5 * 0.3**3), rel=1e-5)
    # Kept: 2 and 3; then 3, EOS and 2, 2; then 2, 2, 2 and 2, 2, 3; then its end and 2, 2, 2, 2.
    assert tokens.tolist() == [[3, 1, 0, 0], [2, 2, 3, 1]]
    np.testing.assert_allclose(scores, np.log([0.4 * 0.9, 0.5 * 0.3 * 0.25 * 0.9]), rtol=1e-5)


def test_alpha_favours_longer_answers():
    # EOS at once has 0.2, 2 four times and EOS 0.058; with alpha = 3 they score -1.61 and -0.61.
    chain = np.zeros((5, 5))
    chain[2] = [0, 0.1, 0.9, 0, 0]
    chain[3] = chain[4] = chain[0] = chain[1] = 0.2
    first = [[0, 0.2, 0.8, 0, 0]]
    long = 0.8 * 0.9**3 * 0.1
    for alpha, best in ((0.0, [1, 0, 0, 0, 0]), (3.0, [2, 2, 2, 2, 1])):
        tokens, scores = search(first, chain, 8, 5, alpha=alpha)
        assert tokens[0, 0].tolist() == best
        length, chance = (1, 0.2) if alpha == 0 else (5, long)
        wanted = np.log(chance) / ((5 + length) / 6) ** alpha
        assert scores[0, 0] == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize('alpha', [0.0, 0.6, 2.0])
def test_a_beam_of_one_is_greedy_decoding(alpha):
    rng = np.random.default_rng(1)
    chain, first = rng.dirichlet(np.ones(5), 5), rng.dirichlet(np.ones(5), 20)
    tokens, scores = search(first, chain, 1, 6, alpha=alpha)
    wanted = decode(logits_of(first), (), chain_step(chain), max_length=6, eos_id=1)
    np.testing.assert_array_equal(tokens, wanted.tokens)
    ends = (tokens[:, 0] == 1).any(-1)
    assert ends.any() and not ends.all()
    length = np.where(ends, (tokens[:, 0] != 0).sum(-1), 6)
    np.testing.assert_allclose(
        scores[:, 0], wanted.scores[:, 0] / ((5 + length) / 6) ** alpha, rtol=1e-5
    )


def test_a_row_is_searched_as_it_would_be_alone():
    rng = np.random.default_rng(2)
    first = rng.dirichlet(np.ones(5), 6)
    tokens, scores = search(first, TRAP, 3, 8)
    for row in range(6):
        alone, alone_scores = search(first[row : row + 1], TRAP, 3, 8)
        np.testing.assert_array_equal(alone[0], tokens[row])
        np.testing.assert_allclose(alone_scores[0], scores[row], rtol=1e-6)


def steps_taken(first, chain, width: int, max_length: int, **options) -> int:
    calls = []
    plain = chain_step(chain)

    def step(tokens, caches, position, lineage):
        jax.debug.callback(lambda at: calls.append(int(at)), position)
        return plain(tokens, caches, position, lineage)

    search(first, chain, width, max_length, step, **options)
    jax.effects_barrier()
    assert calls == list(range(len(calls)))
    return len(calls)


def test_the_search_stops_when_no_beginning_can_beat_the_worst_answer():
    # EOS has 0.5 and 2, EOS 0.2; the one beginning left, 2, 2, has 0.12 and can only lose.
    chain = np.array([[0.2] * 5, [0.2] * 5, [0, 0.5, 0.3, 0.1, 0.1], [0, 0, 1, 0, 0], [0.2] * 5])
    quick, slow = [0, 0.5, 0.4, 0.05, 0.05], [0, 0, 0.02, 0.97, 0.01]
    assert steps_taken([quick], chain, 2, 50, alpha=0.0) == 1
    # With alpha it could win: log(0.12) / (55 / 6)**2 is above log(0.2) / (7 / 6)**2.
    assert steps_taken([quick], chain, 2, 50, alpha=2.0) > 1
    # Every row must be done.
    assert steps_taken([slow], chain, 2, 50, alpha=0.0) == 3
    assert steps_taken([quick, slow], chain, 2, 50, alpha=0.0) == 3


def test_answers_that_ended_come_before_those_cut_off():
    tokens, scores = search([START], TRAP, 4, 2, alpha=0.0)
    # 2, 2 and 2, 3 are cut off, though likelier than EOS at once.
    assert tokens[0].tolist() == [[3, 1], [1, 0], [2, 2], [2, 3]]
    np.testing.assert_allclose(scores[0], np.log([0.36, 0.05, 0.15, 0.125]), rtol=1e-5)


def test_answers_that_do_not_exist_are_empty_and_score_nothing():
    # Only 3 and EOS may be said, two at most: EOS; 3, EOS; 3, 3.
    tokens, scores = search([START], TRAP, 5, 2, alpha=0.0, allowed_ids=(3,))
    assert tokens[0].tolist() == [[3, 1], [1, 0], [3, 3], [0, 0], [0, 0]]
    wanted = np.log([0.4 * 0.9, 0.05, 0.4 * 0.04])
    np.testing.assert_allclose(scores[0, :3], wanted, rtol=1e-5)
    assert np.isneginf(scores[0, 3:]).all()


def test_padding_is_never_part_of_an_answer():
    chain = np.tile([0.7, 0.1, 0.1, 0.05, 0.05], (5, 1))
    tokens, _ = search(chain[:1], chain, 4, 4)
    for answer in tokens[0]:
        length = np.argmax(answer == 1) + 1 if 1 in answer else 4
        assert (answer[:length] > 0).all() and (answer[length:] == 0).all()
