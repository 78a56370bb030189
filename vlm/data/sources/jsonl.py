"""JSON lines: one row a line, images by path or inside the row."""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vlm.data.examples import Record
from vlm.data.sources.box_formats import RELATIVE
from vlm.data.sources.files import (
    MAX_BYTES,
    FileRefused,
    data_dir,
    path_inside,
    read_inside,
    shown,
)
from vlm.data.sources.mapping import FieldOf
from vlm.data.sources.row_source import Files, RowSource
from vlm.data.sources.sharded import BadRow, Row, Transform

DATA_URI = 'data:'
BOM = b'\xef\xbb\xbf'


class Jsonl(RowSource):
    """A JSON object a line (UTF-8); blank lines are passed over.

    `image` (or `images`, a list) is a path, relative to `image_dir` or to the file it stands in; a
    data URI (RFC 2397, 'data:image/jpeg;base64,...'); or, with `inline`, the base64 text alone.
    The id is the field `id`, or file and line.

    Args:
      files, fields, object_fields, box_format, weight, transform: see `RowSource`.
      image_dir: the folder that image paths start from and must not leave, below `data_dir`.
      inline: whether images are base64 texts.
    """

    def __init__(
        self,
        files: Files,
        fields: Mapping[str, FieldOf] | None = None,
        object_fields: Mapping[str, FieldOf] | None = None,
        box_format: str = RELATIVE,
        weight: str | None = None,
        transform: Transform | None = None,
        image_dir: str | None = None,
        inline: bool = False,
    ):
        super().__init__(files, fields, object_fields, box_format, weight, transform)
        self._image_dir = image_dir
        self._inline = inline

    def rows(self, file: str) -> Iterator[Row]:
        with open(file, 'rb') as lines:
            for number, line in enumerate(_bounded_lines(lines), start=1):
                if line is None or line.strip():
                    yield f'{shown(file)}:{number}', line

    def record(self, file: str, row: Row) -> Record:
        where, line = row
        folder = str(Path(file).parent if self._image_dir is None else data_dir() / self._image_dir)

        def read_image(entry: Any) -> tuple[bytes, str | None]:
            if not isinstance(entry, str):
                raise FileRefused(f'an image is {str(entry)[:100]!r}, neither path nor base64')
            if self._inline or entry.startswith(DATA_URI):
                return decode_inline(entry), None
            return read_inside(folder, entry), path_inside(folder, entry)

        return self._mapper.record(parse_object(line), where, read_image)


def parse_object(line: bytes | None) -> dict[str, Any]:
    """The object of a line; BadRow where it is too long, no UTF-8, no JSON or no object."""
    if line is None:
        raise BadRow(f'a line of more than {MAX_BYTES:,} bytes')
    try:
        row = json.loads(line.decode('utf-8'))
    except UnicodeDecodeError as error:
        raise BadRow(f'not UTF-8: {error.reason} at byte {error.start} of the line') from None
    except (ValueError, RecursionError) as error:
        raise BadRow(f'not JSON: {error}') from None
    if not isinstance(row, dict):
        raise BadRow(f'not a JSON object but {type(row).__name__}')
    return row


def decode_inline(text: str) -> bytes:
    """The bytes of a data URI or a base64 text; FileRefused where it is not base64."""
    if text.startswith(DATA_URI):
        head, comma, text = text.partition(',')
        if not comma or not head.endswith(';base64'):
            raise FileRefused('a data URI without ";base64,"')
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise FileRefused(f'not base64: {error}') from None


def encode_inline(data: bytes) -> str:
    """An image as a data URI, whatever its format: readers go by content."""
    return f'{DATA_URI}image/*;base64,{base64.b64encode(data).decode()}'


def _bounded_lines(file: Any) -> Iterator[bytes | None]:
    """The lines of a binary file; None for one that is too long, which is passed over in parts."""
    first = True
    while line := file.readline(MAX_BYTES + 1):
        too_long = len(line) > MAX_BYTES
        while line and not line.endswith(b'\n') and len(line) > MAX_BYTES:
            line = file.readline(MAX_BYTES + 1)
        yield None if too_long else line.removeprefix(BOM) if first else line
        first = False
