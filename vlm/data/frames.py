"""The frame the model sees: its size, and how stored images are fitted into it."""

import dataclasses
from typing import Any

import gin
import numpy as np

from vlm.boxes import BoxLike, turn_back, turn_upright
from vlm.data.image_files import ImageError, exif_orientation
from vlm.data.images import FILTERS, RESIZE_MODES, Number, placed_box, stored_box, viewed_size
from vlm.data.views import split_view
from vlm.errors import unknown_name


@dataclasses.dataclass(frozen=True)
class Frame:
    """`size` is (height, width) in pixels; `resize` is 'square' or 'pad', `filter` the resampling.

    `square` stretches the image to the frame. `pad` keeps its aspect ratio, and boxes written as
    targets are then relative to the padded frame; `vlm ask` and reports map them back.

    `apply_exif` turns images upright as their EXIF orientation says and, with them, the boxes of
    records, which are of the stored image.

    `reduced_jpeg` lets the decoder reduce JPEGs that are more than twice as large as the frame to a
    half, a quarter or an eighth, before they are resized: in less time, to nearly the same picture.
    """

    size: tuple[int, int] = (224, 224)
    resize: str = 'square'
    filter: str = 'bilinear'
    apply_exif: bool = False
    reduced_jpeg: bool = False

    def __post_init__(self):
        if self.resize not in RESIZE_MODES:
            raise unknown_name('resize mode', self.resize, RESIZE_MODES, 'image_frame.resize')
        if self.filter not in FILTERS:
            raise unknown_name('resize filter', self.filter, FILTERS, 'image_frame.filter')


@gin.configurable(module='vlm.data.frames')
def image_frame(
    size: tuple[int, int] = (224, 224),
    resize: str = 'square',
    filter: str = 'bilinear',
    apply_exif: bool = False,
    reduced_jpeg: bool = False,
) -> Frame:
    """The frame of this run; gin binds it, tasks and converters ask for it when they are used."""
    return Frame(tuple(size), resize, filter, apply_exif, reduced_jpeg)


def turn_objects(record: dict[str, Any], frame: Frame) -> dict[str, Any]:
    """Returns the record with the boxes of its `objects` turned as the frame turns its image.

    An augmentation comes after it, and sees boxes of the image that it will be shown.
    """
    if not frame.apply_exif or not record.get('objects'):
        return record
    orientation = _orientation(next(iter(record['images']), b''))
    if orientation == 1:
        return record
    objects = [
        {**entry, 'box': turn_upright(entry['box'], orientation).tolist()}
        for entry in record['objects']
    ]
    return {**record, 'objects': objects}


def place_objects(record: dict[str, Any], frame: Frame) -> dict[str, Any]:
    """Returns the record with the boxes of its `objects` relative to the frame."""
    if frame.resize == 'square' or not record.get('objects'):
        return record
    size = _size(next(iter(record['images']), b''), frame)

    def placed(box: BoxLike) -> list[float]:
        return placed_box(box, size, frame.size, frame.resize).tolist()

    objects = [{**entry, 'box': placed(entry['box'])} for entry in record['objects']]
    return {**record, 'objects': objects}


def stored_box_of(box: BoxLike, image: bytes, frame: Frame) -> np.ndarray:
    """A box relative to the frame, relative to the stored image again."""
    if frame.resize != 'square':
        box = stored_box(box, _size(image, frame), frame.size, frame.resize)
    if frame.apply_exif:
        box = turn_back(box, _orientation(image))
    return np.asarray(box, np.float64)


def _size(image: bytes, frame: Frame) -> tuple[Number, Number]:
    """(height, width) of what is seen of the image.

    Where it cannot be read, that of the frame, so that boxes stay where they are: the example must
    reach the converter, which counts it, and an evaluation, where it is a wrong answer.
    """
    try:
        return viewed_size(image, apply_exif=frame.apply_exif)
    except ImageError:
        return frame.size


def _orientation(image: bytes) -> int:
    """EXIF orientation of an image, with or without a view; 1 where it cannot be read."""
    try:
        return exif_orientation(split_view(image)[0])
    except ImageError:
        return 1
