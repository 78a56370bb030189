"""Rows that ask about the same image, brought together so that it is encoded once."""

from collections.abc import Mapping

import numpy as np

Rows = Mapping[str, np.ndarray]
IMAGES = ('images', 'image_mask')


def each_image_once(batch: Rows, room: int) -> Rows | None:
    """The batch without the repetitions of rows beside each other that show the same images.

    Args:
      batch: `images` uint8[B, N, H, W, 3], `image_mask` bool[B, N] and features of the text.
      room: for how many rows of images.

    Returns:
      The batch with `images` and `image_mask` of `room` rows, filled up with zeros, and
      `image_rows` int32[B], which of them each row of text is about. None where `room` does not
      suffice.
    """
    firsts = [0]
    for row in range(1, len(batch['images'])):
        if not all(np.array_equal(batch[name][row], batch[name][row - 1]) for name in IMAGES):
            firsts.append(row)
        if len(firsts) > room:
            return None
    kept = {name: np.zeros((room, *batch[name].shape[1:]), batch[name].dtype) for name in IMAGES}
    for name, rows in kept.items():
        rows[: len(firsts)] = batch[name][firsts]
    rows = np.searchsorted(firsts, np.arange(len(batch['images'])), side='right') - 1
    return {**batch, **kept, 'image_rows': rows.astype(np.int32)}
