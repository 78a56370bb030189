"""Finding files, and reading only those that lie where they should."""

import glob
import os
import stat
from collections.abc import Sequence
from pathlib import Path

import gin

from vlm.errors import UserError, nearest

# A row, an image file or a member of an archive that is larger is bad data: a buffer holds a
# thousand of them. 64 million pixels without compression are less.
MAX_BYTES = 256 * 2**20


class FileRefused(ValueError):
    """A file that a data set names and that is not read; the message says why."""


@gin.configurable(module='vlm.data.sources')
def data_dir(path: str | None = None) -> Path:
    """The folder that relative paths of sources start from: gin's, VLM_DATA_DIR or the current one.

    Asked when data are read, never at import.
    """
    return Path(path or os.environ.get('VLM_DATA_DIR') or '.').expanduser()


def find_files(patterns: str | Sequence[str]) -> list[str]:
    """Files (or folders) that the patterns name below `data_dir()`, each pattern's in name order.

    Raises:
      UserError: a pattern that names nothing, with the nearest names.
    """
    patterns = [patterns] if isinstance(patterns, str) else patterns
    return [path for pattern in patterns for path in _matching(pattern)]


def _matching(pattern: str) -> list[str]:
    path = data_dir() / pattern
    found = [str(path)] if path.exists() else sorted(glob.glob(str(path), recursive=True))
    if found:
        return found
    close = nearest(path.name, [p.name for p in path.parent.glob('*')])
    hint = f'Nearest there: {", ".join(close)}.' if close else ''
    raise UserError(
        f'there is no file {pattern!r} in {data_dir().absolute()} '
        f'(VLM_DATA_DIR, or the current folder). {hint}'.rstrip()
    )


def shown(path: str) -> str:
    """A path as it is named to people and in ids: relative to `data_dir()` where it is below it."""
    return os.path.relpath(path, data_dir()) if Path(path).is_relative_to(data_dir()) else path


def path_inside(folder: str, name: str) -> str:
    """The real path of the file `name` of a folder.

    A data set from elsewhere must not make us read what its owner could not: a path that leaves the
    folder is refused, be it absolute, by '..' or over a symbolic link.

    Raises:
      FileRefused: such a path, or one that cannot be a file's name.
    """
    try:
        root = os.path.realpath(folder)
        path = os.path.realpath(os.path.join(root, name))
    except (OSError, ValueError) as error:  # a NUL byte, a lone surrogate
        raise FileRefused(f'{name[:200]!r} is no file name: {error}') from None
    if os.path.isabs(name) or os.path.commonpath([root, path]) != root:
        raise FileRefused(f'{name[:200]!r} leaves the folder of the data and is not read')
    return path


def read_inside(folder: str, name: str) -> bytes:
    """The bytes of the file `name` of a folder; FileRefused where it is not there or not read."""
    path = path_inside(folder, name)
    try:
        found = os.stat(path)
        # Opening a pipe would wait for ever.
        if not stat.S_ISREG(found.st_mode):
            raise FileRefused(f'{name!r} is not a regular file')
        if found.st_size > MAX_BYTES:
            raise FileRefused(f'{name!r} has {found.st_size:,} bytes; at most {MAX_BYTES:,}')
        return Path(path).read_bytes()
    except OSError as error:
        raise FileRefused(f'{name[:200]!r} cannot be read: {error.strerror}') from None


def read_span(path: str, offset: int, size: int) -> bytes:
    """`size` bytes of a file from `offset`; FileRefused for too many and for too few."""
    if size > MAX_BYTES:
        raise FileRefused(f'{size:,} bytes; at most {MAX_BYTES:,} are read')
    with open(path, 'rb') as file:
        file.seek(offset)
        data = file.read(size)
    if len(data) < size:
        raise FileRefused(f'{shown(path)} ends {size - len(data):,} bytes early')
    return data
