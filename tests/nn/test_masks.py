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
