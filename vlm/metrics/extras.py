"""Packages that only some metrics need: `pip install 'vlm[metrics]'`."""

import importlib
import shutil
from types import ModuleType

from vlm.errors import UserError


def import_extra(module: str, metric: str) -> ModuleType:
    """Imports a module of the extra `metrics`; raises UserError, with the remedy, if it is absent.

    Args:
      module: e.g. 'sacrebleu.metrics'.
      metric: who asks for it, for the message.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise UserError(
            f'{metric} needs the package {module.split(".")[0]!r} ({error}): '
            "pip install 'vlm[metrics]'"
        ) from error


def require_java(metric: str) -> None:
    """Raises UserError if there is no `java` on PATH."""
    if shutil.which('java') is None:
        raise UserError(
            f'{metric} runs the official Java program, and there is no `java` on PATH: install a '
            'Java runtime, or leave this metric out'
        )
