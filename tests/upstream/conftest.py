"""Tests that run upstream T5X, where it can be imported. docs/t5x.md says how to put it there."""

import importlib.util

import pytest


def pytest_collection_modifyitems(items):
    if importlib.util.find_spec('t5x') is None:
        skip = pytest.mark.skip(reason='T5X is not on the Python path: see docs/t5x.md')
        for item in items:
            if item.get_closest_marker('t5x'):
                item.add_marker(skip)
