"""A disk that cannot be written or a run directory that is gone, told as what they are."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from vlm.errors import UserError
from vlm.runner.run_dir import RunDir

# No space, quota used up, file too large, read-only, input/output error.
_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# tensorstore and TensorFlow keep no errno.
_TEXTS = tuple(map(os.strerror, _ERRORS[:2]))


@contextlib.contextmanager
def storage_errors_told(run: RunDir, writing: Path | None = None) -> Iterator[None]:
    """Turns what comes of a bad or full disk, or a vanished run directory, into a `UserError`.

    While `writing` a file or folder, every error counts as one of the disk: Orbax and tensorstore
    raise theirs in many types. Checkpoints are written beside their place and renamed, so what was
    complete stays complete.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not run.path.is_dir():
            told = f'{run.path}: the run directory is gone'
        elif why := _disk_error(error, run):
            told = f'cannot write {why}'
        elif writing is not None:
            told = f'cannot write {writing}: {" ".join(str(error).split())[:200]}'
        else:
            raise
        raise UserError(f'{told}. {_remedy(run)}') from error


def _disk_error(error: BaseException | None, run: RunDir) -> str:
    """'FILE: REASON' if that is what is at the bottom of it, otherwise ''."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _ERRORS:
            return f'{error.filename or run.path}: {os.strerror(error.errno)}'
        for text in _TEXTS:
            if text in str(error):
                return f'{run.path}: {text}'
        error = error.__cause__ or error.__context__
    return ''


def _remedy(run: RunDir) -> str:
    steps = [int(path.name) for path in run.checkpoints.glob('*') if path.name.isdigit()]
    if not steps:
        return 'There is no complete checkpoint.'
    return (
        f'The checkpoint of step {max(steps)} is complete: make room and give the same command '
        'again.'
    )
