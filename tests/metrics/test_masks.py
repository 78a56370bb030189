"""Masks as tokens: reading, drawing and scoring, by hand, with a decoder of halves."""

import numpy as np
import pytest

from vlm.errors import UNANSWERED
from vlm.metrics.masks import (
    MaskBoxCodec,
    encode_codes,
    mask_readout,
    parse_masks,
    paste_mask,
)

WHOLE = '<loc0000><loc0000><loc1023><loc1023>'
FULL, LEFT = encode_codes([0] * 16), encode_codes([1] * 16)


def decoder(codes):
    """Code 0 fills the box, 1 its left half."""
    masks = np.ones((len(codes), 64, 64), np.float32)
    masks[codes[:, 0] == 1, :, 32:] = 0
    return masks


def image_with(rows, columns):
    truth = np.zeros((8, 8), bool)
    truth[rows, columns] = True
    return truth


ALL, LEFT_HALF = image_with(slice(8), slice(8)), image_with(slice(8), slice(4))


def test_reading():
    text = f'{WHOLE}{LEFT} cat ; {WHOLE} dog ; {WHOLE}<seg001> cow ; <loc0001>'
    [mask] = parse_masks(text)
    assert (mask.label, mask.codes, mask.box) == ('cat', (1,) * 16, (0, 0, 1, 1))
    assert parse_masks(f'{WHOLE}{"<seg128>" * 16} cat') == parse_masks('none') == []
    labels = [entry.label for entry in MaskBoxCodec().parse(text).objects]
    assert labels == ['cat', 'dog', '<seg001> cow']


def test_a_mask_is_drawn_into_its_box():
    [half] = decoder(np.array([[1] * 16]))
    drawn = paste_mask(half, (0.5, 0, 1, 1), 8, 8)
    assert (drawn == image_with(slice(4, 8), slice(4))).all()
    assert not paste_mask(half, (0.5, 0.5, 0.51, 0.51), 8, 8).any()  # less than a pixel


@pytest.mark.parametrize(
    ('truth', 'said', 'iou'),
    [
        (ALL, f'{WHOLE}{FULL} cat', 1),
        (ALL, f'{WHOLE}{LEFT}', 0.5),
        (LEFT_HALF, f'{WHOLE}{FULL}', 0.5),
        (LEFT_HALF, f'{WHOLE}{LEFT} ; {WHOLE}{FULL}', 1),  # the first counts
        (image_with(slice(8), slice(4, 8)), f'{WHOLE}{LEFT}', 0),
        (ALL, f'{WHOLE} cat', 0),
        (ALL, UNANSWERED, 0),
        (image_with(slice(0), slice(0)), 'none', 1),
        (image_with(slice(0), slice(0)), UNANSWERED, 0),
    ],
)
def test_overlap_of_the_first_mask(truth, said, iou):
    assert mask_readout([truth], [said], decoder) == {'mean_mask_iou': iou}


def test_the_figure_is_the_mean_of_examples():
    said = [f'{WHOLE}{FULL}', 'none']
    assert mask_readout([ALL, LEFT_HALF], said, decoder) == {'mean_mask_iou': 0.5}
