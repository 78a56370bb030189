"""What every task test does: a record in, texts out."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow_first  # noqa: F401

from vlm.data.image_files import encode_png


@pytest.fixture(scope='session')
def image() -> bytes:
    return encode_png(np.zeros((16, 16, 3), np.uint8))


@pytest.fixture
def asked(dataset, vocabulary) -> Callable:
    """`asked(name)`: (prompt, answer, meta) of each example, read back from its ids."""

    def make(name: str, **options) -> list[tuple[str, str, dict]]:
        return [
            (
                vocabulary.decode(example['inputs']),
                vocabulary.decode(example['targets']),
                json.loads(example['meta']),
            )
            for example in dataset(name, **options).as_numpy_iterator()
        ]

    return make
