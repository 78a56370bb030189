"""Tables of which the suite has a part, and `pytest -m slow` the rest."""

from collections.abc import Collection

import pytest


def all_but(quick: tuple[str, ...], names: Collection[str]) -> list:
    """Parameters for every name, so that a new one is never left out; all but `quick` are slow."""
    assert set(quick) <= set(names), quick
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]
