"""Where the files that ship with the package lie, and those that it keeps for its user."""

import os
from pathlib import Path

from vlm.errors import UserError


def gin_dir() -> Path:
    """Returns the folder of the gin files: `gin/` of a checkout, `vlm/gin_files` once installed.

    Raises UserError where neither exists, as in an incomplete install.
    """
    package = Path(__file__).resolve().parent
    installed, checkout = package / 'gin_files', package.parent / 'gin'
    if installed.is_dir():
        return installed
    # Beside an installed vlm/ lies gin-config's own package `gin`, which is not our folder.
    if checkout.is_dir() and not (checkout / '__init__.py').exists():
        return checkout
    raise UserError(
        f'no gin files: neither {installed} nor {checkout} holds them. Install vlm again.'
    )


def user_cache_dir() -> Path:
    """Returns the folder for what can be made again: $XDG_CACHE_HOME/vlm, or ~/.cache/vlm."""
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'vlm'
