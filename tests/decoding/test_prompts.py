"""The alignment of prompts, and the rows that no answer can be predicted for."""

import jax.numpy as jnp
import numpy as np
import pytest

from vlm.decoding import align_right, check_prompts
from vlm.decoding.steps import visible_slots
from vlm.errors import UserError

import miniature


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


def test_visible_slots_by_hand():
    # The drawing of vlm/decoding/steps.py: two steps of three rivals, a third to come.
    lineage = jnp.array([[[0, 0, 0], [0, 1, 0], [2, 2, 0]]])
    np.testing.assert_array_equal(
        visible_slots(lineage, 1).astype(int),
        [[[1, 0, 0, 1, 0, 0, 0, 0, 0], [1, 0, 0, 0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 1, 0, 0, 0]]],
    )


# ---------------------------------------------------------------- what is refused

PAIRS = [([5, 6, 7, 1], [7, 1]), ([4, 1], [6, 1])]


def numpy_batch(wiring: str, rows) -> dict[str, np.ndarray]:
    batch = miniature.make_batch(wiring, rows, prompt=7, answer=5)
    return {name: np.asarray(value) for name, value in batch.items()}


@pytest.mark.parametrize('wiring', ['decoder_prefix', 'fusion_encoder'])
def test_prompts_that_fit_pass(wiring):
    batch = numpy_batch(wiring, [[PAIRS[0]], [PAIRS[1]], [([], [])]])
    check_prompts(batch)
    # Rows of 12: eight are left for the longest prompt, which has four tokens.
    check_prompts(batch, 5 if wiring == 'fusion_encoder' else 8)


def test_a_prompt_longer_than_its_slots_is_refused():
    batch = numpy_batch('decoder_prefix', [[PAIRS[1]], [PAIRS[0]]])
    with pytest.raises(UserError, match=r'prompt of row 1 .* has 4 tokens; .* leave room for 3'):
        check_prompts(batch, 9)


def test_no_room_for_any_prompt_is_refused():
    batch = numpy_batch('decoder_prefix', [[PAIRS[1]]])
    with pytest.raises(UserError, match=r'max_decode_length = 13 leaves no room .* 12 tokens'):
        check_prompts(batch, 13)


def test_rows_of_several_prompts_are_refused():
    batch = numpy_batch('decoder_prefix', [[PAIRS[1]], PAIRS])
    with pytest.raises(UserError, match=r'row 1 of the batch holds 2 prompts'):
        check_prompts(batch)
