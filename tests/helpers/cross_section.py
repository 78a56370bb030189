"""Tables of which the suite has a part, and `pytest -m slow` the rest."""

from collections.abc import Iterable

import pytest


def all_but(quick: tuple[str, ...], names: Iterable[str]) -> list:
    """Parameters for every name, so that a new one is never left out; all but `quick` are slow."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]
