"""Sound JPEG files straight to an array: libjpeg-turbo without an image object around it.

Most files of a large training set are JPEGs, and most of those are plain ones. What is anything
else, or draws as much as a warning from the library, is left to Pillow, whose verdict then stands:
the pixels are the same and no file is refused here that it would read.
"""

import math

import numpy as np
import simplejpeg
from jaxtyping import UInt8

Size = tuple[int, int]  # (height, width) in pixels

# CMYK and its kin are stored inverted or not, as a marker of Adobe's says.
_PLAIN = ('YCbCr', 'Gray')


def sound_jpeg_size(data: bytes) -> Size | None:
    """Returns (height, width) from the header; None where the file is for Pillow to judge."""
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except ValueError:
        return None
    return (height, width) if colours in _PLAIN else None


def decode_sound_jpeg(
    data: bytes, size: Size, at_least: Size | None = None
) -> UInt8[np.ndarray, 'h w 3'] | None:
    """Decodes a file of which `sound_jpeg_size` is `size`; None where it is for Pillow to judge.

    With `at_least`, a (height, width), at the half, quarter or eighth of its size that is no
    smaller: libjpeg's scaled decoding.
    """
    height, width = reduced_size(size, at_least) if at_least is not None else (0, 0)
    try:
        return simplejpeg.decode_jpeg(data, min_height=height, min_width=width)
    except ValueError:
        return None


def reduced_size(size: Size, at_least: Size) -> Size:
    """The size, or the least of its half, quarter and eighth that is not below `at_least`."""
    for part in (8, 4, 2):
        height, width = (math.ceil(side / part) for side in size)
        if height >= at_least[0] and width >= at_least[1]:
            return height, width
    return size
