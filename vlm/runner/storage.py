"""A full disk or a run directory that is gone, told as what they are."""

import contextlib
import errno
from collections.abc import Iterator

from vlm.errors import UserError
from vlm.runner.run_dir import RunDir

# tensorstore and TensorFlow keep no errno.
_FULL = ('No space left on device', 'Disk quota exceeded')


@contextlib.contextmanager
def storage_errors_told(run: RunDir) -> Iterator[None]:
    """Turns what comes of a full disk or a vanished run directory into a `UserError`.

    Checkpoints are written beside their place and renamed, so what was complete stays complete.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not run.path.is_dir():
            what = 'the run directory is gone'
        elif _says_full(error):
            what = 'no space is left on its device'
        else:
            raise
        raise UserError(f'{run.path}: {what}. {_remedy(run)}') from error


def _says_full(error: BaseException | None) -> bool:
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT) or any(text in str(error) for text in _FULL):
            return True
        error = error.__cause__ or error.__context__
    return False


def _remedy(run: RunDir) -> str:
    steps = [int(path.name) for path in run.checkpoints.glob('*') if path.name.isdigit()]
    if not steps:
        return 'There is no complete checkpoint.'
    return (
        f'The checkpoint of step {max(steps)} is complete: make room and give the same command '
        'again.'
    )
