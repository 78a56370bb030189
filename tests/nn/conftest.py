"""All networks of these tests are tiny."""

import pytest


@pytest.fixture(autouse=True, scope='module')
def all_quick(quick_compilation):
    """Compiles without optimisations."""
