"""From a row of somebody's data set to a record, by names alone."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vlm.data.examples import template_fields
from vlm.data.image_files import ImageError, absent_image
from vlm.data.images import Number, viewed_size
from vlm.data.sources.box_formats import RELATIVE, check_format, to_relative
from vlm.data.sources.files import FileRefused
from vlm.data.sources.records import PATHS

RawRow = Mapping[str, Any]
# What a row has in the place of an image -> its bytes, and the path of its file if it has one.
ReadImage = Callable[[Any], tuple[bytes, str | None]]
FieldOf = str | Sequence[str]

IMAGE_FIELDS = ('images', 'image')


@dataclasses.dataclass(frozen=True)
class Mapper:
    """What the rows of a data set call things.

    Attributes:
      fields: record field -> where a row has it: 'name'; 'outer.inner' for a field of a field; a
        text with braces, 'img/{split}/{name}.png', filled with fields; or a list of these, which
        makes a list (values that are lists themselves are joined to it). Fields of a row that are
        not named here keep their own names.
      object_fields: the same inside each of `objects`, which want `label` and `box`.
      box_format: see `box_formats.check_format`.
    """

    fields: Mapping[str, FieldOf] = dataclasses.field(default_factory=dict)
    object_fields: Mapping[str, FieldOf] = dataclasses.field(default_factory=dict)
    box_format: str = RELATIVE

    def __post_init__(self) -> None:
        check_format(self.box_format)
        for source in (*self.fields.values(), *self.object_fields.values()):
            for text in [source] if isinstance(source, str) else source:
                template_fields(text)

    def record(self, row: RawRow, where: str, read_image: ReadImage) -> dict[str, Any]:
        """The record of a row named `where`.

        An image that is missing or refused becomes `absent_image`: the example then still counts,
        as wrong, in an evaluation. A box that cannot be converted stays as it is: tasks that need
        boxes refuse the record and name it, others can use it.
        """
        fields = _renamed(row, self.fields)
        images, paths = _images(fields, read_image)
        record = {
            **{k: v for k, v in fields.items() if k not in IMAGE_FIELDS and not _binary(v)},
            'id': _id(fields.get('id'), where),
            'images': images,
            PATHS: paths,
        }
        if 'objects' in fields:
            size = _size(fields, images)
            record['objects'] = [self._object(entry, size) for entry in _entries(fields['objects'])]
        return record

    def _object(self, entry: Any, size: tuple[Number, Number] | None) -> Any:
        if not isinstance(entry, Mapping):
            return entry
        renamed = _renamed(entry, self.object_fields)
        if 'box' in renamed and self.box_format != RELATIVE:
            try:
                renamed['box'] = to_relative(renamed['box'], self.box_format, size)
            except ValueError as error:
                renamed['box'] = str(error)
        return renamed


def _renamed(row: RawRow, fields: Mapping[str, FieldOf]) -> dict[str, Any]:
    renamed = dict(row)
    for name, source in fields.items():
        try:
            renamed[name] = _value(row, source)
        except LookupError:
            renamed.pop(name, None)  # so that a reader that needs it says so
    return renamed


def _value(row: RawRow, source: FieldOf) -> Any:
    """What `Mapper.fields` says about one field; LookupError where the row lacks it."""
    if not isinstance(source, str):
        values = [_value(row, part) for part in source]
        return [x for value in values for x in (value if isinstance(value, list) else [value])]
    if template_fields(source):
        return source.format_map(row)
    if source in row:
        return row[source]
    for name in source.split('.'):
        row = row[name] if isinstance(row, Mapping) else {}[name]
    return row


def _binary(value: Any) -> bool:
    return any(isinstance(x, bytes) for x in (value if isinstance(value, list) else [value]))


def _images(
    fields: Mapping[str, Any], read_image: ReadImage
) -> tuple[list[bytes], list[str | None]]:
    found = next((fields[name] for name in IMAGE_FIELDS if name in fields), None)
    if found is None or found == []:
        return [absent_image(f'the row has no {" or ".join(IMAGE_FIELDS)}')], [None]
    read = [_image(entry, read_image) for entry in (found if isinstance(found, list) else [found])]
    return [data for data, _ in read], [path for _, path in read]


def _image(entry: Any, read_image: ReadImage) -> tuple[bytes, str | None]:
    try:
        return read_image(entry)
    except FileRefused as error:
        return absent_image(str(error)), None


def _id(value: Any, where: str) -> str:
    # A boolean or a list says nothing about which row it was.
    if isinstance(value, str) and value:
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else where


def _entries(objects: Any) -> list[Any]:
    """Objects as a list; columns, {'label': [...], 'box': [...]}, are turned into rows."""
    if isinstance(objects, Mapping):
        columns = list(objects.values())
        return [dict(zip(objects, values, strict=True)) for values in zip(*columns, strict=True)]
    return objects


def _size(fields: Mapping[str, Any], images: list[bytes]) -> tuple[Number, Number] | None:
    """(height, width) that boxes in pixels refer to: the row's own, else the first image's."""
    size = fields.get('height'), fields.get('width')
    if all(isinstance(side, int | float) and side > 0 for side in size):
        return size
    try:
        return viewed_size(images[0])
    except ImageError:
        return None


def readable(value: Any) -> Any:
    """Bytes as UTF-8 text and numpy's values as Python's, at any depth.

    Bytes that are no text stay bytes: a picture, or a field that `Mapper.record` leaves out.
    """
    if isinstance(value, Mapping):
        return {name: readable(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [readable(entry) for entry in value]
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return value
    return value
