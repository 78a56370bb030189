"""Pictures and files for the tests of image decoding."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

RED, GREEN, BLUE, YELLOW, WHITE = (
    [255, 0, 0],
    [0, 255, 0],
    [0, 0, 255],
    [255, 255, 0],
    [255, 255, 255],
)
JPEG_TOLERANCE = 2  # flat colours through the 8-bit YCbCr of JPEG and lossy WebP


def encoded(image: Image.Image, name: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, name, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))


def png(width: int, depth: int, colour: int, row: bytes, extra: bytes = b'') -> bytes:
    """A PNG of one row written by hand: what Pillow cannot write (16-bit colour, 2-bit gray)."""
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', width, 1, depth, colour, 0, 0, 0))
    pixels = chunk(b'IDAT', zlib.compress(b'\0' + row))
    return b'\x89PNG\r\n\x1a\n' + header + extra + pixels + chunk(b'IEND', b'')


def four_colours(height: int = 32, width: int = 48) -> np.ndarray:
    image = np.zeros((height, width, 3), np.uint8)
    y, x = height // 2, width // 2
    image[:y, :x], image[:y, x:], image[y:, :x], image[y:, x:] = RED, GREEN, BLUE, YELLOW
    return image


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def assert_close(got: np.ndarray, want: np.ndarray, tolerance: int) -> None:
    assert got.shape == want.shape
    assert np.abs(got.astype(int) - want.astype(int)).max() <= tolerance
