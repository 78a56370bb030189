"""big_vision's checkpoints: one `.npz` file, a zip of arrays named by their path in the tree.

The format is numpy's: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import io
import math
import zipfile
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np

from vlm.errors import UserError
from vlm.weights.source import Source

# big_vision writes bfloat16 as raw pairs of bytes.
RAW_PAIRS = np.dtype('V2')
# The last two: a password, and a compression that is not built in.
UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError)
HEADER_BYTES = 4096  # longer than any header of ours; the array's bytes follow it


def open_npz(path: Path) -> Source:
    """The arrays of a file; only their headers are read, pickled objects never.

    A member is unpacked when its header agrees with the size that the zip gives, so that what is
    read is never larger than the shape that was asked for: there is no zip bomb to set off.

    Raises:
      UserError: no zip, a pickled object, or a header that lies about its size.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            arrays = {
                name.removesuffix('.npy'): _header(path, archive, info)
                for name, info in members.items()
            }
    except UNREADABLE as error:
        raise UserError(f'{path} is damaged or no npz file: {error}.') from error

    def read(name: str) -> np.ndarray:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(f'{name}.npy') as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
        except (*UNREADABLE, ValueError) as error:
            raise UserError(f'{path}: {name} is damaged: {error}.') from error
        return array.view(ml_dtypes.bfloat16) if array.dtype == RAW_PAIRS else array

    return Source(str(path), arrays, read)


def _header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> tuple[int, ...]:
    with archive.open(info) as member:
        start = io.BytesIO(member.read(HEADER_BYTES))
    try:
        version = np.lib.format.read_magic(start)
        reader = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = reader(start)
    except (ValueError, KeyError, EOFError) as error:
        raise UserError(f'{path}: {info.filename} is no array: {error}.') from error
    if dtype.hasobject:
        raise UserError(f'{path}: {info.filename} holds pickled objects, which are never loaded.')
    size = start.tell() + dtype.itemsize * math.prod(shape)
    if size != info.file_size:
        raise UserError(
            f'{path}: {info.filename} says it has the shape {shape}, which takes {size:,} bytes, '
            f'and holds {info.file_size:,}.'
        )
    return shape
