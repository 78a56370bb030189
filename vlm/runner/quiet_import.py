"""Importing TensorFlow without its banner, nor what its imports import for others."""

import contextlib
import gc
import os
import sys
import tempfile
from collections.abc import Iterator


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow while file descriptor 2 points elsewhere; an error shows what was said.

    Its C++ parts log to that descriptor, not to `sys.stderr`, before any setting of theirs counts.

    Keras, which it imports, would import scikit-learn where there is one, for wrappers that nothing
    here uses: more than a second. It does without one that cannot be imported. Most of what an
    import makes stays for good, so looking for garbage meanwhile is another half a second.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said, _hidden('sklearn'), _uncollected():
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            said.seek(0)
            os.write(kept, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Importing `package` raises ImportError meanwhile, unless it is imported already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # what Python's import system has for that
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Python looks for no garbage meanwhile."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
