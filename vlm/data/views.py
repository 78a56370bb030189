"""A crop and a flip that travel in front of an encoded image until it is decoded."""

import struct
from dataclasses import dataclass

import numpy as np

from vlm.data.image_files import ImageError

REACH = 3.0  # a View may lie this many image sides outside: room to shrink an image to a quarter

Number = int | float


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
