"""Tar shards in WebDataset's form: neighbouring files with one stem are one row."""

import itertools
import os
import tarfile
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from vlm.data.bad_data import bad_data
from vlm.data.examples import Record
from vlm.data.sources.files import read_span, shown
from vlm.data.sources.folders import EXTENSIONS
from vlm.data.sources.jsonl import parse_object
from vlm.data.sources.row_source import RowSource
from vlm.data.sources.sharded import BadRow, Row

# Name in the archive, where its bytes begin in the file, how many they are.
Member = tuple[str, int, int]


class WebDataset(RowSource):
    """Uncompressed tar files; what is before the first dot of a member's name is the row's key.

    `a/001.jpg` and `a/001.json` make a row: fields of the .json, the pictures (several, such as
    `001.0.jpg` and `001.1.jpg`, in their order), and every other member as text under its ending:
    `001.txt` is a field `txt`. The id is the key, `a/001`, unless the .json has an `id`.

    Nothing is unpacked and links are never followed: members that are links or devices, or whose
    names are absolute or hold '..', are refused, counted and named. After damage, reading goes on
    with the next whole member. Arguments are those of `RowSource`.
    """

    def rows(self, file: str) -> Iterator[Row]:
        for key, members in itertools.groupby(_members(file), key=lambda m: _split(m[0])[0]):
            yield key, list(members)

    def record(self, file: str, row: Row) -> Record:
        key, members = row
        pictures, fields = [], {}
        for name, offset, size in members:
            ending = _split(name)[1]
            if f'.{ending}'.lower().endswith(EXTENSIONS):
                pictures.append((offset, size))
                continue
            try:
                data = read_span(file, offset, size)
                added = parse_object(data) if ending == 'json' else {ending: data.decode()}
            except ValueError as error:
                raise BadRow(f'{name}: {error}') from None
            fields |= added

        def read_image(span: Any) -> tuple[bytes, None]:
            return read_span(file, *span), None

        # The pictures are the members', whatever name of a file the .json may give.
        return self._mapper.record({'id': key, **fields, 'images': pictures}, key, read_image)


def _split(name: str) -> tuple[str, str]:
    """'a/001.seg.png' -> ('a/001', 'seg.png')."""
    path = PurePosixPath(name)
    stem, _, ending = path.name.partition('.')
    return str(path.with_name(stem)) if stem else name, ending


def _members(file: str) -> Iterator[Member]:
    """The regular files of an archive, in order; what is passed over is counted and named."""
    name = shown(file)
    try:
        # With ignore_zeros, tarfile searches on behind a damaged header instead of stopping there
        # without a word; the gap it leaves tells us.
        with tarfile.open(file, 'r:', ignore_zeros=True) as archive:
            end = 0
            for member in archive:
                archive.members.clear()  # it would keep every header of a shard
                if member.offset > end:
                    _tell_gap(file, end, member.offset)
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if flaw := _flaw(member):
                    bad_data.add('unreadable_rows', f'{name}: {member.name!r:.200}', flaw)
                elif member.isreg():
                    yield member.name, member.offset_data, member.size
        _tell_gap(file, end, os.path.getsize(file))
    except tarfile.TarError as error:
        bad_data.add('unreadable_rows', name, f'the archive is damaged or cut short: {error}')


def _flaw(member: tarfile.TarInfo) -> str:
    """Why a member is refused; '' for a file or folder."""
    if not (member.isreg() or member.isdir()):
        return 'neither a file nor a folder; links are not followed'
    path = PurePosixPath(member.name)
    if path.is_absolute() or '..' in path.parts:
        return 'the name leaves the archive'
    return ''


def _tell_gap(file: str, start: int, end: int) -> None:
    """Counts what lies between two members, unless it is the zeros that end an archive."""
    with open(file, 'rb') as archive:
        archive.seek(start)
        if any(archive.read(min(end - start, tarfile.BLOCKSIZE))):
            reason = f'{end - start:,} bytes from {start:,} on are no member'
            bad_data.add('unreadable_rows', shown(file), reason)
