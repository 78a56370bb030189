"""Encoded image files to pixels and back: JPEG, PNG, GIF (first frame), BMP and WebP.

Files are told apart by their first bytes. Pixels are those stored: EXIF orientation is applied only
when asked for, because boxes are of the stored image, and colour profiles never. A damaged file
raises ImageError, also where Pillow would let it pass (a wrong CRC in a PNG). One damage goes
unseen: libjpeg paints over wrong bits in the middle of a JPEG and Pillow has no way to say so.

Every function may run in many threads at once; Pillow's global switches are left alone. JPEGs are
decoded at full size unless asked otherwise: libjpeg's scaled decoding is faster for photographs,
but changes the result by an amount that depends on the ratio of the sizes.
"""

import io
import struct
import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageChops, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vlm.data.jpeg_files import decode_sound_jpeg, sound_jpeg_size

MAX_PIXELS = 64_000_000  # about 600 MB while they are decoded and resized
BACKGROUND = (255, 255, 255)  # what shows through transparent pixels


class ImageError(ValueError):
    """The bytes are no image we read, or a damaged one; the message says what is wrong."""


# Stands for an image that is not there; no image format begins like this.
_ABSENT_MAGIC = b'\x93VLMABSENT'


def absent_image(reason: str) -> bytes:
    """Returns bytes that stand for an image nobody could read; decoding them says why.

    So an example without its image reaches the converter, which counts it, and an evaluation,
    where it is a wrong answer.
    """
    return _ABSENT_MAGIC + reason.encode('utf-8', 'replace')


def is_absent(data: bytes) -> bool:
    """Whether these bytes are those of `absent_image`."""
    return data.startswith(_ABSENT_MAGIC)


def decode_image(
    data: bytes, *, max_pixels: int = MAX_PIXELS, apply_exif: bool = False
) -> UInt8[np.ndarray, 'H W 3']:
    """Decodes one encoded image to uint8[H, W, 3], red first, as stored. The array is read-only.

    Transparent pixels are blended over white. 16-bit gray is divided by 257 and rounded; 16-bit
    colour keeps its high byte, as Pillow does (at most 1 off). Of CMYK, what JPEG files with
    Adobe's marker hold inverted is turned; an animation gives its first frame.

    Args:
      data: the bytes of a JPEG, PNG, GIF, BMP or WebP file.
      max_pixels: a larger width * height is refused from the header, before pixels are allocated.
        Above Pillow's 178,956,970 a GIF or WebP is refused all the same.
      apply_exif: turns the picture as its EXIF orientation says; unreadable EXIF counts as none.

    Raises:
      ImageError: empty, not one of the five formats, too large, truncated or damaged.
    """
    pixels = decode_rgb(data, max_pixels, apply_exif).pixels
    pixels.flags.writeable = False
    return pixels


class Decoded(NamedTuple):
    """Pixels, and the (height, width) that the picture has where it is not reduced."""

    pixels: UInt8[np.ndarray, 'H W 3']
    size: tuple[int, int]


def decode_rgb(
    data: bytes, max_pixels: int, apply_exif: bool, at_least: tuple[int, int] | None = None
) -> Decoded:
    """`decode_image`; with `at_least`, a (height, width) as stored, a sound JPEG may be reduced.

    It is then decoded at the half, quarter or eighth of its size that is no smaller.
    """
    name, plugin = _identify(data)
    decoded = _decode_jpeg(data, max_pixels, at_least) if name == 'JPEG' else None
    if decoded is None:
        pixels = _decode_by_pillow(name, plugin, data, max_pixels)
        decoded = Decoded(pixels, pixels.shape[:2])
    turn = _UPRIGHT.get(exif_orientation(data, max_pixels=max_pixels)) if apply_exif else None
    if turn is None:
        return decoded
    size = decoded.size[::-1] if turn in _SIDEWAYS else decoded.size
    return Decoded(np.asarray(Image.fromarray(decoded.pixels).transpose(turn)), size)


def _decode_jpeg(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded | None:
    size = sound_jpeg_size(data)
    if size is None:
        return None
    _check_size(size[::-1], max_pixels)
    pixels = decode_sound_jpeg(data, size, at_least)
    return None if pixels is None else Decoded(pixels, size)


def _decode_by_pillow(
    name: str,
    plugin: Callable[[io.BytesIO], ImageFile.ImageFile],
    data: bytes,
    max_pixels: int,
) -> UInt8[np.ndarray, 'H W 3']:
    try:
        _check_header(name, data, max_pixels)
        # The plugin's own class, not Image.open: that warns (process-wide) and raises at Pillow's
        # limits, tries other readers and names a file object in its messages.
        image = plugin(io.BytesIO(data))
        _check_size(image.size, max_pixels)
        image.load()
        _mend_colour_key(image, data)
        return np.asarray(_to_rgb(image))
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise a dozen kinds on damaged files
        reason = str(error) or type(error).__name__
    # Raised out here, so that no half-read image stays alive in the error's context.
    raise ImageError(f'this {name} image cannot be decoded: {reason}')


def stored_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Returns (height, width) in pixels from the header alone.

    Raises ImageError as `decode_image` does for what the header can tell.
    """
    name, plugin = _identify(data)
    _check_header(name, data, max_pixels)
    try:
        image = plugin(io.BytesIO(data))
    except Exception as error:  # as in `decode_rgb`
        raise ImageError(f'this {name} image has no readable header: {error}') from None
    _check_size(image.size, max_pixels)
    return image.height, image.width


def _identify(data: bytes) -> tuple[str, Callable[[io.BytesIO], ImageFile.ImageFile]]:
    """Returns the format's name and Pillow's reader of it."""
    if not data:
        raise ImageError('the image is empty (0 bytes)')
    if is_absent(data):
        raise ImageError(data.removeprefix(_ABSENT_MAGIC).decode('utf-8', 'replace'))
    if data.startswith(b'\xff\xd8\xff'):
        return 'JPEG', JpegImageFile
    if data.startswith(b'\x89PNG\r\n\x1a\n'):
        return 'PNG', PngImageFile
    if data.startswith((b'GIF87a', b'GIF89a')):
        return 'GIF', GifImageFile
    if data.startswith(b'BM'):
        return 'BMP', BmpImageFile
    if data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        return 'WebP', WebPImageFile
    start = data[:8]
    raise ImageError(f'not a JPEG, PNG, GIF, BMP or WebP image: its first bytes are {start!r}')


def _check_header(name: str, data: bytes, max_pixels: int) -> None:
    """Refuses what must be refused before Pillow sees it.

    Pillow's GIF and WebP readers allocate pixels when they are made, so their size is read here.
    """
    sizes = {'PNG': _png_size, 'GIF': _gif_size, 'WebP': _webp_size}
    if name in sizes:
        try:
            size = sizes[name](data)
        except (IndexError, struct.error):
            size = None
        if size is None:
            raise ImageError(f'this {name} image is damaged or truncated: no size in its header')
        _check_size(size, max_pixels)
    if name == 'PNG':
        _check_png_chunks(data)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raises if (width, height) holds more than `max_pixels`."""
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f'the header says {width} x {height} pixels, {width * height:,} in all; '
            f'at most {max_pixels:,} are decoded'
        )


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from('>II', data, 16)
    return width, height


def _gif_size(data: bytes) -> tuple[int, int] | None:
    """Returns (width, height) of the screen, grown to hold the first frame; None without one."""
    width, height, flags = struct.unpack_from('<HHB', data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)  # behind the global palette
    while data[at] != 0x3B:  # the trailer
        if data[at] == 0x2C:
            left, top, frame_width, frame_height = struct.unpack_from('<HHHH', data, at + 1)
            return max(width, left + frame_width), max(height, top + frame_height)
        if data[at] == 0x21:  # an extension: its label, then blocks up to an empty one
            at += 2
            while data[at]:
                at += 1 + data[at]
        at += 1
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """Returns (width, height) of the canvas; None where the first chunk is of no known kind."""
    kind = data[12:16]
    if kind == b'VP8X':  # both less one, in 3 bytes each
        low_width, high_width, low_height, high_height = struct.unpack_from('<HBHB', data, 24)
        return (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1
    if kind == b'VP8L':  # both less one, in 14 bits each
        (bits,) = struct.unpack_from('<I', data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b'VP8 ':
        width, height = struct.unpack_from('<HH', data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _check_png_chunks(data: bytes) -> None:
    """Raises unless every chunk up to IEND is whole; Pillow skips the CRC of pixel data."""
    whole = memoryview(data)
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from('>I', data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            break
        (crc,) = struct.unpack_from('>I', data, end)
        kind = data[at + 4 : at + 8]
        if crc != zlib.crc32(whole[at + 4 : end]):
            raise ImageError(f'this PNG image is damaged: wrong CRC in chunk {kind!r} at byte {at}')
        if kind == b'IEND':
            return
        at = end + 4
    raise ImageError(f'this PNG image is truncated: {len(data)} bytes and no end chunk')


def _mend_colour_key(image: Image.Image, data: bytes) -> None:
    """Puts a PNG's transparent colour into the units of the decoded samples.

    Pillow scales 2- and 4-bit gray to 8 bits and cuts 16-bit colour to 8, but leaves the tRNS
    value in the file's units, where it matches nothing.
    """
    key = image.info.get('transparency')
    if image.format != 'PNG' or key is None:
        return
    depth = data[24]
    if image.mode == 'L':
        image.info['transparency'] = (key % 2**depth) * 255 // (2**depth - 1)
    elif image.mode == 'RGB':
        image.info['transparency'] = tuple(sample >> (depth - 8) & 255 for sample in key)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Returns a loaded image of any mode as RGB, transparency laid over white."""
    if image.mode == 'I' or image.mode.startswith('I;16'):
        return _from_16_bit(image)
    if image.mode == 'CMYK' and 'adobe' not in image.info:
        # Pillow takes every CMYK JPEG for Adobe's, which are stored inverted.
        return ImageChops.invert(image).convert('RGB')
    if image.has_transparency_data:
        rgba = image.convert('RGBA')
        canvas = Image.new('RGB', image.size, BACKGROUND)
        canvas.paste(rgba, mask=rgba)
        return canvas
    return image if image.mode == 'RGB' else image.convert('RGB')


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Returns 16-bit gray as RGB: 65535 is 255 * 257, so v / 257 rounded keeps white white."""
    samples = np.asarray(image)
    gray = ((np.clip(samples, 0, 65535).astype(np.uint32) + 128) // 257).astype(np.uint8)
    key = image.info.get('transparency')
    if key is not None:
        gray[samples == key] = 255
    return Image.fromarray(gray).convert('RGB')


_EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,  # Pillow counts degrees counter-clockwise
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}


def _orientation(image: Image.Image) -> int:
    try:
        found = image.getexif().get(_EXIF_ORIENTATION)
    except Exception:  # the pixels are whole; broken side notes are no reason to lose them
        return 1
    return found if found in _UPRIGHT else 1


def exif_orientation(data: bytes, *, max_pixels: int = MAX_PIXELS) -> int:
    """Returns the EXIF orientation, 1 (as stored) to 8; 1 where there is none to be read.

    Raises ImageError as `stored_size` does.
    """
    name, plugin = _identify(data)
    _check_header(name, data, max_pixels)
    try:
        return _orientation(plugin(io.BytesIO(data)))
    except Exception as error:  # as in `decode_rgb`
        raise ImageError(f'this {name} image has no readable header: {error}') from None


def encode_png(image: UInt8[np.ndarray, 'H W 3'], *, compress_level: int = 6) -> bytes:
    """Encodes uint8[H, W, 3] as PNG; `compress_level` 0 (fast) to 9 (small)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'PNG', compress_level=compress_level)
    return buffer.getvalue()
