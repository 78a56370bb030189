"""Encoded image bytes to uint8[H, W, 3] of one size, alike for training, evaluation and serving.

Decoding is `image_files`'s; here pictures are cut by the view in front of them and resized, and
boxes move with them.
"""

import math

import numpy as np
from jaxtyping import Float64, UInt8

from vlm.boxes import BoxLike
from vlm.data.image_files import MAX_PIXELS, decode_rgb, exif_orientation, stored_size
from vlm.data.resizing import FILTERS, resize_region
from vlm.data.views import Number, View, split_view
from vlm.errors import unknown_name

PAD_VALUE = 127  # mid-grey: close to 0 once pixels are scaled to [-1, 1]

RESIZE_MODES = ('square', 'pad')

Size = tuple[int, int]  # (height, width) in pixels


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
    return _render(image, View(), size, mode, filter, image.shape[:2])


def load_image(
    data: bytes,
    size: Size,
    *,
    resize_mode: str = 'square',
    filter: str = 'bilinear',
    apply_exif: bool = False,
    reduced_jpeg: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> UInt8[np.ndarray, 'h w 3']:
    """Decodes `data`, applies the view in front of it if there is one, and resizes.

    In this order: EXIF orientation if asked for, cut the view's region, flip, resize to `size`
    (see `resize_image`). A box goes the same way: `vlm.boxes.to_region`, flip, then `placed_box`
    with `View.cut_size` of the image. With `reduced_jpeg`, JPEGs of which less than half of each
    side is needed are decoded at the half, quarter or eighth of their size that suffices: faster,
    and not quite the same picture. Raises ImageError as `decode_image` and `split_view` do.
    """
    _check_resize(size, resize_mode, filter)
    encoded, view = split_view(data)
    view = view or View()
    needed = _needed(view, size) if reduced_jpeg else None
    if needed and apply_exif:  # which side is which shows when it is turned
        needed = (max(needed), max(needed))
    pixels, whole = decode_rgb(encoded, max_pixels, apply_exif, needed)
    # Where the picture lies in its frame follows from its own size, as it does for boxes.
    return _render(pixels, view, size, resize_mode, filter, view.cut_size(whole))


def viewed_size(
    data: bytes, *, max_pixels: int = MAX_PIXELS, apply_exif: bool = False
) -> tuple[float, float]:
    """Returns (height, width) in pixels of what `load_image` would show, from the header alone.

    That is the stored image, turned if asked for, or the region of the view in front of it. Raises
    ImageError as `decode_image` does for what the header can tell.
    """
    encoded, view = split_view(data)
    size = stored_size(encoded, max_pixels=max_pixels)
    if apply_exif and exif_orientation(encoded, max_pixels=max_pixels) > 4:
        size = size[::-1]
    return (view or View()).cut_size(size)


def _check_resize(size: Size, mode: str, filter: str) -> None:
    if mode not in RESIZE_MODES:
        raise unknown_name('resize mode', mode, RESIZE_MODES)
    if filter not in FILTERS:
        raise unknown_name('resize filter', filter, FILTERS)
    if min(size) < 1:
        raise ValueError(f'cannot resize to {tuple(size)}: want at least 1 x 1')


def _needed(view: View, size: Size) -> Size:
    """Returns the least (height, width) of an image that need not be enlarged for the frame."""
    y0, x0, y1, x1 = view.region
    return math.ceil(size[0] / (y1 - y0)), math.ceil(size[1] / (x1 - x0))


def _render(
    image: UInt8[np.ndarray, 'H W 3'],
    view: View,
    size: Size,
    mode: str,
    filter: str,
    seen: tuple[Number, Number],
) -> UInt8[np.ndarray, 'h w 3']:
    """Cuts, resizes and turns; `seen` is what `viewed_size` says, however reduced the image is."""
    inner = fitted_size(seen, size) if mode == 'pad' else size
    pixels = _cut(image, view.region, inner, filter)
    if view.flip:
        pixels = pixels[:, ::-1]
    if inner == tuple(size):
        return pixels
    canvas = np.full((*size, 3), PAD_VALUE, np.uint8)
    canvas[: inner[0], : inner[1]] = pixels
    return canvas


def _cut(
    image: UInt8[np.ndarray, 'H W 3'],
    region: tuple[Number, Number, Number, Number],
    size: Size,
    filter: str,
) -> UInt8[np.ndarray, 'h w 3']:
    """Returns `region` of the image at `size`, edges repeated where it reaches outside.

    Resizing is separable, so an outside region is extended and resized in x, then in y: at no
    time does a picture exist that is extended both ways at full size.
    """
    height, width = image.shape[:2]
    y0, y1 = region[0] * height, region[2] * height
    x0, x1 = region[1] * width, region[3] * width
    if x0 < 0 or y0 < 0 or x1 > width or y1 > height:
        left, right = math.ceil(max(0, -x0)), math.ceil(max(0, x1 - width))
        image = _extend(image, (0, 0), (left, right))
        image = resize_region(image, (height, size[1]), filter, (0, x0 + left, height, x1 + left))
        x0, x1 = 0, size[1]
        top, bottom = math.ceil(max(0, -y0)), math.ceil(max(0, y1 - height))
        image = _extend(image, (top, bottom), (0, 0))
        y0, y1 = y0 + top, y1 + top
    return resize_region(image, size, filter, (y0, x0, y1, x1))


def _extend(
    image: UInt8[np.ndarray, 'H W 3'], rows: Size, columns: Size
) -> UInt8[np.ndarray, 'H2 W2 3']:
    """Repeats the edge pixels: `rows` above and below, `columns` left and right."""
    if not any(rows + columns):
        return image
    return np.pad(image, (rows, columns, (0, 0)), mode='edge')


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
