"""TFRecord files of tf.train.Example."""

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import tensorflow as tf
from google.protobuf.message import DecodeError

from vlm.data.bad_data import bad_data
from vlm.data.examples import Record
from vlm.data.sources.files import FileRefused, read_span, shown
from vlm.data.sources.mapping import IMAGE_FIELDS, readable
from vlm.data.sources.row_source import RowSource
from vlm.data.sources.sharded import BadRow, Row

# tensorflow.org/tutorials/load_data/tfrecord: length, its checksum, the data, theirs.
_HEADER = struct.Struct('<QI')
_FOOTER_SIZE = 4
_ENCODED = 'image/encoded'  # what TensorFlow's own data sets call the picture


class TFRecord(RowSource):
    """A tf.train.Example a record, uncompressed; features are fields under their own names.

    A feature with one value is that value, with several a list (a field named as `['captions']` in
    `fields` is a list either way); bytes are UTF-8 text, but for the picture's (`images`, `image`
    or `image/encoded`). The id is a feature `id`, or the file and the number of the record, from 1.

    TensorFlow's own reader gives a file up at the first damaged record; here the frames are walked,
    so only what is damaged is lost. The checksum of a record's data is not looked at: damage shows
    in what it holds. Arguments are those of `RowSource`.
    """

    def rows(self, file: str) -> Iterator[Row]:
        with open(file, 'rb') as data:
            for number, (offset, size) in enumerate(_frames(data, shown(file)), start=1):
                yield f'{shown(file)}:{number}', (offset, size)

    def record(self, file: str, row: Row) -> Record:
        where, (offset, size) = row
        try:
            example = tf.train.Example.FromString(read_span(file, offset, size))
        except DecodeError:
            raise BadRow('not a tf.train.Example') from None
        features = {name: _values(feature) for name, feature in example.features.feature.items()}
        if _ENCODED in features:
            features.setdefault(IMAGE_FIELDS[0], features[_ENCODED])
        return self._mapper.record(readable(features), where, encoded_image)


def _values(feature: tf.train.Feature) -> Any:
    kind = feature.WhichOneof('kind')
    values = list(getattr(feature, kind).value) if kind else []
    return values[0] if len(values) == 1 else values


def encoded_image(entry: Any) -> tuple[bytes, None]:
    """A picture that is bytes in its row."""
    if isinstance(entry, str):  # `readable` took them for a text, and nothing is lost by that
        entry = entry.encode()
    if not isinstance(entry, bytes):
        raise FileRefused(f'the image is {type(entry).__name__}, not the bytes of a file')
    return entry, None


def _frames(file: BinaryIO, name: str) -> Iterator[tuple[int, int]]:
    """Offset and size of the data of each record, read from the headers alone."""
    end = os.fstat(file.fileno()).st_size
    offset = 0
    while offset < end:
        file.seek(offset)
        header = file.read(_HEADER.size)
        if len(header) < _HEADER.size:
            bad_data.add('unreadable_rows', name, f'ends within the header at byte {offset:,}')
            return
        size, checksum = _HEADER.unpack(header)
        if masked_crc32c(header[:8]) != checksum:
            # Where the next record begins is lost with the length.
            reason = f'no record at byte {offset:,}; {end - offset:,} bytes are not read'
            bad_data.add('unreadable_rows', name, reason)
            return
        yield offset + _HEADER.size, size
        offset += _HEADER.size + size + _FOOTER_SIZE


def masked_crc32c(data: bytes) -> int:
    """TFRecord's checksum: CRC-32C (RFC 3720), turned right by 15 bits, plus a constant."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF
