"""Resizing a region of an image, antialiased: Pillow's filters.

'bilinear', the default everywhere, goes by the SIMD code of cykooz-resizer where that is installed,
several times as fast as Pillow and nowhere more than one grey level from it. The other filters are
Pillow's own: with those, which overshoot, the two differ by dozens of levels in noise.
"""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vlm.data.views import Number

try:
    import cykooz_resizer as simd
except ImportError:  # no wheel for this machine, see setup.py
    simd = None

FILTERS = {
    'nearest': Image.Resampling.NEAREST,
    'bilinear': Image.Resampling.BILINEAR,
    'bicubic': Image.Resampling.BICUBIC,
    'lanczos': Image.Resampling.LANCZOS,
}

Box = tuple[Number, Number, Number, Number]


def resize_region(
    image: UInt8[np.ndarray, 'H W 3'], size: tuple[int, int], filter: str, region: Box | None = None
) -> UInt8[np.ndarray, 'h w 3']:
    """Resizes `region` of the image to `size`.

    Args:
      image: uint8[H, W, 3].
      size: (height, width) of the result.
      filter: a name of `FILTERS`; all but 'nearest' widen when reducing (antialiasing), and read
        no pixel outside the region.
      region: y_min, x_min, y_max, x_max in pixels, not outside the image; None for all of it.
    """
    y0, x0, y1, x1 = region or (0, 0, *image.shape[:2])
    if filter == 'bilinear' and simd is not None:
        return _bilinear(image, size, (y0, x0, y1, x1))
    resized = Image.fromarray(image).resize(size[::-1], FILTERS[filter], (x0, y0, x1, y1))
    return np.asarray(resized)


def _bilinear(
    image: UInt8[np.ndarray, 'H W 3'], size: tuple[int, int], region: Box
) -> UInt8[np.ndarray, 'h w 3']:
    """As Pillow does it: a triangle as wide as the reduction, in fixed point."""
    y0, x0, y1, x1 = region
    kind = simd.PixelType.U8x3
    source = simd.ImageData(image.shape[1], image.shape[0], kind, image.tobytes())
    target = simd.ImageData(size[1], size[0], kind)
    options = simd.ResizeOptions(
        simd.ResizeAlg.convolution(simd.FilterType.bilinear),
        crop_box=simd.CropBox(x0, y0, x1 - x0, y1 - y0),
    )
    simd.Resizer().resize(source, target, options)  # one of its own: it keeps a buffer, not locked
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(*size, 3)
