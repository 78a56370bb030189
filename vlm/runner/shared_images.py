"""Rows that ask about the same image, brought together so that it is encoded once."""

from collections.abc import Mapping

import numpy as np

Rows = Mapping[str, np.ndarray]
IMAGES = ('images', 'image_mask')


def each_image_once(batch: Rows, most: int) -> Rows | None:
    """The batch without the repetitions of rows beside each other that show the same images.

    Args:
      batch: `images` uint8[B, N, H, W, 3], `image_mask` bool[B, N] and features of the text.
      most: how many rows of images may be left.

    Returns:
      The batch with `images` and `image_mask` of U <= `most` rows, and `image_rows` int32[B], which
      of them each row of text is about. None where more than `most` differ.
    """
    firsts = [0]
    for row in range(1, len(batch['images'])):
        if not all(np.array_equal(batch[name][row], batch[name][row - 1]) for name in IMAGES):
            firsts.append(row)
        if len(firsts) > most:
            return None
    rows = np.searchsorted(firsts, np.arange(len(batch['images'])), side='right') - 1
    kept = {name: batch[name][firsts] for name in IMAGES}
    return {**batch, **kept, 'image_rows': rows.astype(np.int32)}
