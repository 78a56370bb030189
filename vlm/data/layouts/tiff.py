"""TIFF pictures, which RSVQA is published as, to PNG: the package's own decoder reads no TIFF."""

import io

import numpy as np
from PIL.TiffImagePlugin import TiffImageFile

from vlm.data.image_files import MAX_PIXELS, absent_image, encode_png


def is_tiff(data: bytes) -> bool:
    """Whether these bytes begin as a TIFF file, of either byte order."""
    return data.startswith((b'II*\0', b'MM\0*'))


def tiff_to_png(data: bytes) -> bytes:
    """The first page as PNG; `absent_image` for one that is damaged or too large."""
    try:
        image = TiffImageFile(io.BytesIO(data))
        if image.width * image.height > MAX_PIXELS:
            return absent_image(f'a TIFF of {image.width} x {image.height} pixels is too large')
        return encode_png(np.asarray(image.convert('RGB')))
    except Exception as error:  # Pillow's readers raise a dozen kinds on damaged files
        return absent_image(f'this TIFF image cannot be decoded: {error}')
