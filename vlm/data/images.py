"""Encoded image bytes to uint8[H, W, 3], the same way for training, evaluation and serving.

Reads JPEG, PNG, GIF (first frame), BMP and WebP, told apart by their first bytes. Pixels are those
stored: EXIF orientation is applied only when asked for, because boxes are of the stored image, and
colour profiles never. A damaged file raises ImageError, also where Pillow would let it pass (a
wrong CRC in a PNG). One damage goes unseen: libjpeg paints over wrong bits in the middle of a JPEG
and Pillow has no way to say so.

Every function may run in many threads at once; Pillow's global switches are left alone. JPEGs are
decoded at full size: libjpeg's scaled decoding (Pillow's `draft`) is faster for large photographs,
but changes the result by an amount that depends on the ratio of the sizes.
"""

import io
import math
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image, ImageChops, ImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from vlm.boxes import BoxLike
from vlm.errors import unknown_name

MAX_PIXELS = 64_000_000  # about 450 MB while decoding
BACKGROUND = (255, 255, 255)  # what shows through transparent pixels
PAD_VALUE = 127  # mid-grey: close to 0 once pixels are scaled to [-1, 1]
REACH = 3.0  # a View may lie this many image sides outside: room to shrink an image to a quarter

RESIZE_MODES = ('square', 'pad')
FILTERS = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
}

Number = int | float
Size = tuple[int, int]  # (height, width) in pixels


class ImageError(ValueError):
    """The bytes are no image we read, or a damaged one; the message says what is wrong."""


@dataclass(frozen=True)
class View:
    """A crop and flip that travels in front of the encoded bytes until they are decoded.

    region: (y_min, x_min, y_max, x_max) as shares of the stored image, each within [-3, 4]; what
        lies outside the image is filled with its nearest edge pixels. Kept as float32 values, so
        that a view read back from bytes equals the one attached.
    flip: whether the cut region is then mirrored left to right.
    """

    region: tuple[Number, Number, Number, Number] = (0.0, 0.0, 1.0, 1.0)
    flip: bool = False

    def __post_init__(self) -> None:
        region = tuple(float(np.float32(side)) for side in self.region)
        object.__setattr__(self, 'region', region)
        object.__setattr__(self, 'flip', bool(self.flip))
        y0, x0, y1, x1 = region
        if not all(-REACH <= side <= 1 + REACH for side in region):  # false for NaN, too
            raise ValueError(f'view region {region} reaches outside [{-REACH}, {1 + REACH}]')
        if y0 >= y1 or x0 >= x1:
            raise ValueError(f'view region {region} is empty: want y_min < y_max, x_min < x_max')
        if y0 >= 1 or x0 >= 1 or y1 <= 0 or x1 <= 0:
            raise ValueError(f'view region {region} misses the image')

    def cut_size(self, image_size: tuple[Number, Number]) -> tuple[float, float]:
        """Returns (height, width) of the region in pixels of the image, fractions included."""
        y0, x0, y1, x1 = self.region
        return (y1 - y0) * image_size[0], (x1 - x0) * image_size[1]


# ---- a view in front of the encoded bytes ----

_VIEW_MAGIC = b'\x93VLMVIEW'  # no image format begins like this
_VIEW_VERSION = 1
_VIEW_HEADER = struct.Struct('<8sB4f?')


def attach_view(data: bytes, view: View) -> bytes:
    """Returns `data` (an encoded image) with `view` in front; `load_image` applies it."""
    if data.startswith(_VIEW_MAGIC):
        raise ValueError('these bytes already carry a view; a second one would replace it')
    return _VIEW_HEADER.pack(_VIEW_MAGIC, _VIEW_VERSION, *view.region, view.flip) + data


def split_view(data: bytes) -> tuple[bytes, View | None]:
    """Returns the encoded image and the view in front of it; None where there is none.

    Raises ImageError for a view that is cut short, of another version or makes no sense.
    """
    if not data.startswith(_VIEW_MAGIC):
        return data, None
    if len(data) < _VIEW_HEADER.size:
        raise ImageError(f'the view header ends after {len(data)} bytes')
    _, version, *region, flip = _VIEW_HEADER.unpack_from(data)
    if version != _VIEW_VERSION:
        raise ImageError(f'view header of version {version}; this program reads {_VIEW_VERSION}')
    try:
        view = View((region[0], region[1], region[2], region[3]), flip)
    except ValueError as error:
        raise ImageError(str(error)) from None
    return data[_VIEW_HEADER.size :], view


# ---- decoding ----


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
    return np.asarray(_decode(data, max_pixels, apply_exif))


def _decode(data: bytes, max_pixels: int, apply_exif: bool) -> Image.Image:
    """Returns the decoded image in Pillow's RGB mode."""
    name, plugin = _identify(data)
    try:
        _check_header(name, data, max_pixels)
        # The plugin's own class, not Image.open: that warns (process-wide) and raises at Pillow's
        # limits, tries other readers and names a file object in its messages.
        image = plugin(io.BytesIO(data))
        _check_size(image.size, max_pixels)
        image.load()
        _mend_colour_key(image, data)
        rgb = _to_rgb(image)
        return _upright(image, rgb) if apply_exif else rgb
    except (ImageError, MemoryError):
        raise
    except Exception as error:  # Pillow's readers raise a dozen kinds on damaged files
        reason = str(error) or type(error).__name__
    # Raised out here, so that no half-read image stays alive in the error's context.
    raise ImageError(f'this {name} image cannot be decoded: {reason}')


def _identify(data: bytes) -> tuple[str, Callable[[io.BytesIO], ImageFile.ImageFile]]:
    """Returns the format's name and Pillow's reader of it."""
    if not data:
        raise ImageError('the image is empty (0 bytes)')
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


def _upright(image: Image.Image, rgb: Image.Image) -> Image.Image:
    """Turns `rgb` as the EXIF orientation of `image` says."""
    try:
        turn = _UPRIGHT.get(image.getexif().get(_EXIF_ORIENTATION))
    except Exception:  # the pixels are whole; broken side notes are no reason to lose them
        turn = None
    return rgb if turn is None else rgb.transpose(turn)


# ---- resizing ----


def fitted_size(image_size: tuple[Number, Number], size: Size) -> Size:
    """Returns the largest (height, width) of the image's aspect inside `size`; no side is 0."""
    scale = min(size[0] / image_size[0], size[1] / image_size[1])
    height, width = (
        min(room, max(1, round(side * scale))) for side, room in zip(image_size, size, strict=True)
    )
    return height, width


def resize_image(
    image: UInt8[np.ndarray, 'H W 3'], size: Size, *, mode: str = 'square', filter: str = 'bilinear'
) -> UInt8[np.ndarray, 'h w 3']:
    """Resizes to `size` (height, width); returns `image` itself where it has that size already.

    Args:
      image: uint8[H, W, 3].
      size: (h, w) of the result.
      mode: 'square' stretches both sides independently; relative boxes stay as they are. 'pad'
        keeps the aspect: the image goes to the top left, enlarged or reduced to touch two
        borders, and the rest is 127; boxes move with `placed_box`.
      filter: 'bilinear', 'bicubic' or 'lanczos', all widened when reducing (antialiasing), or
        'nearest'.
    """
    _check_resize(size, mode, filter)
    if image.shape[:2] == tuple(size):
        return image
    return _render(Image.fromarray(image), None, size, mode, filter)


def load_image(
    data: bytes,
    size: Size,
    *,
    resize_mode: str = 'square',
    filter: str = 'bilinear',
    apply_exif: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> UInt8[np.ndarray, 'h w 3']:
    """Decodes `data`, applies the view in front of it if there is one, and resizes.

    In this order: EXIF orientation if asked for, cut the view's region, flip, resize to `size`
    (see `resize_image`). A box goes the same way: `vlm.boxes.to_region`, flip, then `placed_box`
    with `View.cut_size` of the image. Raises ImageError as `decode_image` and `split_view` do.
    """
    _check_resize(size, resize_mode, filter)
    encoded, view = split_view(data)
    image = _decode(encoded, max_pixels, apply_exif)
    return _render(image, view, size, resize_mode, filter)


def viewed_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[float, float]:
    """Returns (height, width) in pixels of what `load_image` would show, from the header alone.

    That is the stored image, or the region of the view in front of it. Raises ImageError as
    `decode_image` does for what the header can tell.
    """
    encoded, view = split_view(data)
    name, plugin = _identify(encoded)
    _check_header(name, encoded, max_pixels)
    try:
        image = plugin(io.BytesIO(encoded))
    except Exception as error:  # as in `_decode`
        raise ImageError(f'this {name} image has no readable header: {error}') from None
    _check_size(image.size, max_pixels)
    return (view or View()).cut_size((image.height, image.width))


def _check_resize(size: Size, mode: str, filter: str) -> None:
    if mode not in RESIZE_MODES:
        raise unknown_name('resize mode', mode, RESIZE_MODES)
    if filter not in FILTERS:
        raise unknown_name('resize filter', filter, FILTERS)
    if min(size) < 1:
        raise ValueError(f'cannot resize to {tuple(size)}: want at least 1 x 1')


def _render(
    image: Image.Image, view: View | None, size: Size, mode: str, filter: str
) -> UInt8[np.ndarray, 'h w 3']:
    view = view or View()
    image_size = (image.height, image.width)
    inner = fitted_size(view.cut_size(image_size), size) if mode == 'pad' else size
    image = _cut(image, view.region, inner, FILTERS[filter])
    if view.flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(image)
    if inner == tuple(size):
        return pixels
    canvas = np.full((*size, 3), PAD_VALUE, np.uint8)
    canvas[: inner[0], : inner[1]] = pixels
    return canvas


def _cut(
    image: Image.Image,
    region: tuple[Number, Number, Number, Number],
    size: Size,
    resample: Image.Resampling,
) -> Image.Image:
    """Returns `region` of the image at `size`, edges repeated where it reaches outside.

    Resizing is separable, so an outside region is extended and resized in x, then in y: at no
    time does a picture exist that is extended both ways at full size.
    """
    y0, y1 = region[0] * image.height, region[2] * image.height
    x0, x1 = region[1] * image.width, region[3] * image.width
    height, width = size
    if x0 < 0 or y0 < 0 or x1 > image.width or y1 > image.height:
        left, right = math.ceil(max(0, -x0)), math.ceil(max(0, x1 - image.width))
        image = _extend(image, (0, 0), (left, right))
        box = (x0 + left, 0, x1 + left, image.height)
        image = image.resize((width, image.height), resample, box)
        x0, x1 = 0, width
        top, bottom = math.ceil(max(0, -y0)), math.ceil(max(0, y1 - image.height))
        image = _extend(image, (top, bottom), (0, 0))
        y0, y1 = y0 + top, y1 + top
    return image.resize((width, height), resample, (x0, y0, x1, y1))


def _extend(image: Image.Image, rows: Size, columns: Size) -> Image.Image:
    """Repeats the edge pixels: `rows` above and below, `columns` left and right."""
    if not any(rows + columns):
        return image
    return Image.fromarray(np.pad(np.asarray(image), (rows, columns, (0, 0)), mode='edge'))


# ---- boxes under a resize ----


def placed_box(
    box: BoxLike, image_size: tuple[Number, Number], size: Size, mode: str
) -> Float64[np.ndarray, '*B 4']:
    """Returns where relative boxes of the image lie, relative to the resized picture.

    Args:
      box: [..., 4] as y_min, x_min, y_max, x_max in [0, 1] of the image.
      image_size: (height, width) of the image, or `View.cut_size` where a view was applied.
      size: (height, width) of the resized picture.
      mode: as given to `resize_image`; under 'square' boxes do not move.
    """
    return np.asarray(box, np.float64) * _placed_share(image_size, size, mode)


def stored_box(
    box: BoxLike, image_size: tuple[Number, Number], size: Size, mode: str
) -> Float64[np.ndarray, '*B 4']:
    """The inverse of `placed_box`; a box that reaches into the padding ends beyond 1."""
    return np.asarray(box, np.float64) / _placed_share(image_size, size, mode)


def _placed_share(
    image_size: tuple[Number, Number], size: Size, mode: str
) -> Float64[np.ndarray, '4']:
    """Returns the share of the picture the image takes up, for the four sides of a box."""
    if mode not in RESIZE_MODES:
        raise unknown_name('resize mode', mode, RESIZE_MODES)
    height, width = fitted_size(image_size, size) if mode == 'pad' else size
    return np.array([height / size[0], width / size[1]] * 2)


# ---- encoding ----


def encode_png(image: UInt8[np.ndarray, 'H W 3'], *, compress_level: int = 6) -> bytes:
    """Encodes uint8[H, W, 3] as PNG; `compress_level` 0 (fast) to 9 (small)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, 'PNG', compress_level=compress_level)
    return buffer.getvalue()
