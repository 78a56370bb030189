"""Boxes as data sets write them, to [y_min, x_min, y_max, x_max] in [0, 1] of the stored image."""

import math
from typing import Any

from vlm.data.images import Number
from vlm.errors import UserError, unknown_name

ORDERS = ('yxyx', 'xyxy', 'xywh', 'cxcywh')
UNITS = ('relative', 'pixels')
RELATIVE = 'yxyx relative'
# Edges that annotators' rounding put outside the image by up to a pixel (or a step) are moved onto
# its border. Anything further stays outside and makes the box unusable.
SLACK = 1.0


def check_format(name: str) -> tuple[str, str]:
    """Splits 'ORDER UNIT' into its words; raises UserError for what is no format of boxes.

    ORDER is yxyx, xyxy, xywh (COCO's: left, top, width, height) or cxcywh (centre and size); UNIT
    is relative (0..1), pixels, or a number n for integers 0..n.
    """
    order, _, unit = name.partition(' ')
    if order not in ORDERS:
        raise unknown_name('order of box edges', order, ORDERS, f'box_format = {name!r}')
    if unit not in UNITS and not (unit.isdecimal() and int(unit) > 0):
        raise UserError(
            f'box_format = {name!r}: the second word is {" or ".join(UNITS)}, or the number that '
            "stands for the far edge, as in 'xyxy 1000'."
        )
    return order, unit


def to_relative(box: Any, format: str, size: tuple[Number, Number] | None) -> list[float]:
    """The box in the program's form; what lies outside the image, is inverted or NaN stays so.

    Args:
      box: four numbers.
      format: see `check_format`.
      size: (height, width) in pixels that a box in pixels is relative to; None if unknown.

    Raises:
      ValueError: not four numbers, or pixels of an image whose size is not known.
    """
    order, unit = check_format(format)
    try:
        a, b, c, d = (float(value) for value in box)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f'box {box!r} is not four numbers') from None
    if order == 'yxyx':
        a, b, c, d = b, a, d, c
    elif order == 'xywh':
        c, d = a + c, b + d
    elif order == 'cxcywh':
        a, b, c, d = a - c / 2, b - d / 2, a + c / 2, b + d / 2
    if unit == 'relative':
        return [b, a, d, c]
    if unit == 'pixels' and size is None:
        raise ValueError(f'box {box!r} is in pixels of an image whose size is not known')
    height, width = size if unit == 'pixels' else (float(unit), float(unit))
    return [_scaled(b, height), _scaled(a, width), _scaled(d, height), _scaled(c, width)]


def _scaled(edge: float, length: Number) -> float:
    if math.isfinite(edge) and -SLACK <= edge <= length + SLACK:
        edge = min(max(edge, 0.0), length)
    return edge / length
