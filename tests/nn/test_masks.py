"""Masks written out: rows are queries, columns are keys."""

import jax.numpy as jnp
import numpy as np

from vlm.nn import masks


def rows(mask, example: int = 0) -> list[str]:
    return [''.join(str(int(seen)) for seen in row) for row in np.asarray(mask)[example]]


def test_causal():
    assert rows(masks.causal(4)) == ['1000', '1100', '1110', '1111']


def test_prefix_sees_itself_both_ways_and_the_answer_sees_all_before_it():
    # PaliGemma's oracle: mask_ar = [0, 0, 0, 1, 1, 1] is a prefix of three.
    prefix = jnp.array([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]], bool)
    mask = masks.prefix_causal(prefix)
    assert rows(mask) == ['111000', '111000', '111000', '111100', '111110', '111111']
    assert rows(mask, 1) == rows(masks.causal(6))


def test_segments_never_see_each_other_nor_padding():
    mask = masks.same_segment(jnp.array([[1, 1, 2, 0]]))
    assert rows(mask) == ['1100', '1100', '0010', '0000']


def test_decoder_mask_of_two_packed_pairs_and_padding():
    # BOS p a | BOS p p a | padding
    segments = jnp.array([[1, 1, 1, 2, 2, 2, 2, 0, 0]])
    prefix = jnp.array([[1, 1, 0, 1, 1, 1, 0, 0, 0]], bool)
    mask = masks.decoder_mask(9, prefix, segments)
    assert mask.shape == (1, 1, 9, 9)
    assert rows(mask[:, 0]) == [
        '110000000',
        '110000000',
        '111000000',
        '000111000',
        '000111000',
        '000111000',
        '000111100',
        '000000010',  # padding sees itself, so that its softmax is over something
        '000000001',
    ]


def test_decoder_mask_without_prefix_and_segments_is_causal():
    assert rows(masks.decoder_mask(3)[:, 0]) == ['100', '110', '111']


def test_the_drawing_of_the_prefix_lm():
    # v v BOS p1 p2 a1 a2: PaliGemma's mask_ar = [0, 0, 0, 0, 0, 1, 1].
    prefix = jnp.array([[1, 1, 1, 0, 0]], bool)
    visual = jnp.ones((1, 1, 1, 2), bool)
    mask = masks.with_visual(masks.decoder_mask(5, prefix), visual, prefix)
    assert mask.shape == (1, 1, 7, 7)
    assert rows(mask[:, 0]) == ['1111100'] * 5 + ['1111110', '1111111']


def test_prefix_lm_with_padding_of_both_sides():
    # v and a padding frame; BOS p a and padding.
    prefix, segments = jnp.array([[1, 1, 0, 0]], bool), jnp.array([[1, 1, 1, 0]])
    visual = jnp.array([[[[True, False]]]])
    mask = masks.with_visual(masks.decoder_mask(4, prefix, segments), visual, prefix)
    assert rows(mask[:, 0]) == ['101100', '111100', '101100', '101100', '101110', '100001']


def test_packed_pairs_of_the_prefix_lm_see_the_image_and_themselves():
    # v v | BOS p a | BOS a; the image sees no prompt.
    prefix = jnp.array([[1, 1, 0, 1, 0]], bool)
    segments = jnp.array([[1, 1, 1, 2, 2]])
    visual = jnp.ones((1, 1, 1, 2), bool)
    mask = masks.with_visual(masks.decoder_mask(5, prefix, segments), visual)
    assert rows(mask[:, 0]) == [
        '1100000',
        '1100000',
        '1111000',
        '1111000',
        '1111100',
        '1100010',
        '1100011',
    ]


def test_a_cached_step_sees_the_image_and_its_text():
    visual = jnp.array([[[[True, True, False]]], [[[False, True, True]]]])
    mask = masks.visual_before(jnp.array([[[[0, 1, 1, 0]]]], bool), visual)
    assert rows(mask[:, 0]) == ['1100110'] and rows(mask[:, 0], 1) == ['0110110']


def test_positions_count_what_stands_before_in_the_same_text():
    prefix, segments = jnp.array([[1, 1, 0, 1, 1, 1, 0]], bool), jnp.array([[1, 1, 1, 2, 2, 2, 0]])
    packed = masks.decoder_mask(7, prefix, segments)
    assert masks.positions_seen(packed).tolist() == [[0, 1, 2, 0, 1, 2, 0]]
    # Prompts of three and of one token, aligned right, seen from all of the prompt ...
    valid = jnp.array([[1, 1, 1], [0, 0, 1]], bool)
    prompts = (valid[:, None, :] | jnp.eye(3, dtype=bool))[:, None]
    assert masks.positions_seen(prompts).tolist() == [[0, 1, 2], [0, 0, 0]]
    # ... and the second answer token behind them, at slot 4 of 6.
    step = jnp.array([[1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 0]], bool)[:, None, None]
    assert masks.positions_seen(step, 4).tolist() == [[4], [2]]


def test_keys_of_rivals_stand_behind_their_prompt():
    # Slots: two of the prompt, then rivals 0 and 1 of the first and of the second token. Both go on
    # from rival 1; the second row's prompt is one token.
    rows = [['110110', '110101'], ['010110', '010101']]
    mask = jnp.array([[[[bit == '1' for bit in query] for query in row]] for row in rows])
    assert masks.positions_of_keys(mask).tolist() == [[0, 1, 0, 2, 3, 3], [0, 0, 0, 1, 2, 2]]
    assert masks.positions_seen(mask, 4).tolist() == [[3, 3], [2, 2]]
