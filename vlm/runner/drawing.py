"""Boxes with labels drawn on a picture, for people to look at."""

import io
import math
from collections.abc import Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from vlm.data.image_files import ImageError, decode_image
from vlm.errors import UserError

Edges = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two exclusive
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Pixels: a small picture grows until its short side reaches LEGIBLE_SIDE, but a long thin one stops
# before its long side would pass WIDEST_SIDE.
LEGIBLE_SIDE = 384
WIDEST_SIDE = 1536
LABEL_LENGTH = 60
# Far apart in hue and in lightness, so that neighbours differ for colour-blind readers too.
COLOURS = ('#ff2d78', '#ffd400', '#00b7ff', '#7a3cff', '#00c46a', '#ff7a00')


def open_picture(image_bytes: bytes) -> Image.Image:
    """Decodes a picture file to RGB just as the model gets it, see `decode_image`.

    Raises:
      UserError: the bytes are no picture of a known format, or a damaged one.
    """
    try:
        return Image.fromarray(decode_image(image_bytes))
    except ImageError as error:
        raise UserError(f'cannot read the picture: {error}') from error


def draw_boxes(image_bytes: bytes, boxes: Sequence[tuple[Any, str]]) -> bytes:
    """Draws labelled boxes on a picture, enlarged by a whole factor where it is small.

    Args:
      image_bytes: a picture file, see `open_picture`.
      boxes: pairs of [y_min, x_min, y_max, x_max] in [0, 1] of the picture as stored and a label,
        which may be empty. Corners in the wrong order are swapped and what lies outside is
        clipped; a box that is not four finite numbers is left out.

    Returns:
      A PNG file.

    Raises:
      UserError: `image_bytes` cannot be decoded.
    """
    picture = _enlarged(open_picture(image_bytes))
    draw = ImageDraw.Draw(picture)
    drawable = [(clean_box(box), label) for box, label in boxes]
    drawn = [
        (_corners(box, picture.size), label, COLOURS[i % len(COLOURS)])
        for i, (box, label) in enumerate(drawable)
        if box is not None
    ]
    for corners, _, colour in drawn:
        _outline(draw, corners, colour, picture.size)
    # Labels come last: the line of one box must not run through the label of another.
    for corners, label, colour in drawn:
        _tag(draw, corners, label, colour, picture.size)
    out = io.BytesIO()
    picture.save(out, 'PNG', optimize=True)
    return out.getvalue()


def clean_box(box: Any) -> tuple[float, float, float, float] | None:
    """Returns (y_min, x_min, y_max, x_max), ordered and clipped to [0, 1]; None if unreadable."""
    try:
        sides = [] if isinstance(box, str) else [float(side) for side in box]
    except (TypeError, ValueError, OverflowError):
        return None
    if len(sides) != 4 or not all(map(math.isfinite, sides)):
        return None
    y0, x0, y1, x1 = (min(max(side, 0.0), 1.0) for side in sides)
    return min(y0, y1), min(x0, x1), max(y0, y1), max(x0, x1)


def _enlarged(picture: Image.Image) -> Image.Image:
    """Grows a small picture by a whole factor, so that its pixels stay square and crisp."""
    short, long = sorted(picture.size)
    factor = min(math.ceil(LEGIBLE_SIDE / short), max(1, WIDEST_SIDE // long))
    if factor == 1:
        return picture
    size = (picture.width * factor, picture.height * factor)
    return picture.resize(size, Image.Resampling.NEAREST)


def _corners(box: Sequence[float], size: tuple[int, int]) -> Edges:
    """Pixel edges (left, top, right, bottom) of a box in a picture of `size` (width, height)."""
    y0, x0, y1, x1 = box
    width, height = size
    return round(x0 * width), round(y0 * height), round(x1 * width), round(y1 * height)


def _line_width(size: tuple[int, int]) -> int:
    return max(2, round(min(size) / 130))


def _outline(draw: ImageDraw.ImageDraw, corners: Edges, colour: str, size: tuple[int, int]) -> None:
    """Draws around the box, not over it: a coloured line between two thin dark ones."""
    line = _line_width(size)
    for grow, stroke, fill in ((line + 1, line + 2, '#111111'), (line, line, colour)):
        left, top = (max(0, corners[i] - grow) for i in (0, 1))
        right, bottom = (min(size[i], corners[i + 2] + grow) - 1 for i in (0, 1))
        right, bottom = max(left, right), max(top, bottom)
        draw.rectangle((left, top, right, bottom), outline=fill, width=stroke)


def _tag(
    draw: ImageDraw.ImageDraw, corners: Edges, label: str, colour: str, size: tuple[int, int]
) -> None:
    """Writes the label on a plate above the box, or inside it where there is no room above."""
    text = ' '.join(label.split())
    if not text:
        return
    pad = 4
    font = _font(min(40, max(15, round(min(size) / 22))), text)
    text = _fitted(text, font, size[0] - 2 * pad)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = math.ceil(right - left) + 2 * pad, math.ceil(bottom - top) + 2 * pad
    line = _line_width(size)
    x = max(0, min(corners[0] - line, size[0] - width))
    above = corners[1] - line - height
    y = above if above >= 0 else min(corners[1], size[1] - height)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour, outline='#111111')
    draw.text((x + pad - left, y + pad - top), text, font=font, fill=_readable_on(colour))


def _fitted(text: str, font: Font, width: int) -> str:
    """Cuts a label to at most LABEL_LENGTH characters and, but for the last one, `width` pixels."""
    kept = text[:LABEL_LENGTH]
    shown = kept if kept == text else kept + '…'
    while font.getlength(shown) > width and len(kept) > 1:
        kept = kept[:-1]
        shown = kept + '…'
    return shown


def _readable_on(colour: str) -> str:
    """Black or white, whichever contrasts more with '#rrggbb' (ITU-R BT.601 luma)."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return '#111111' if 0.299 * red + 0.587 * green + 0.114 * blue > 110 else '#ffffff'


def _font(size: int, text: str) -> Font:
    """Pillow's own font knows Latin letters only; for others a wider one if the system has it."""
    if not text.isascii():
        for name in ('DejaVuSans.ttf', 'Arial Unicode.ttf', 'Arial.ttf'):
            try:
                return ImageFont.truetype(name, size)
            except OSError:
                continue
    return ImageFont.load_default(size)
