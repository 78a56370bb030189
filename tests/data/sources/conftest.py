"""Pictures and folders that the tests of sources read."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vlm.data.image_files import encode_png


@pytest.fixture(scope='session')
def png() -> bytes:
    """4 high, 8 wide."""
    return encode_png(np.zeros((4, 8, 3), np.uint8))


@pytest.fixture
def folder(tmp_path, monkeypatch, png) -> Path:
    """The data folder of this test, with a picture `a.png`."""
    monkeypatch.setenv('VLM_DATA_DIR', str(tmp_path))
    (tmp_path / 'a.png').write_bytes(png)
    return tmp_path


@pytest.fixture
def write_lines(folder) -> Callable:
    """`write_lines(name, rows)`: a file of JSON lines; rows that are bytes go in as they are."""

    def write(name: str, rows: list) -> None:
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        (folder / name).write_bytes(b'\n'.join(lines) + b'\n')

    return write


@pytest.fixture
def read() -> Callable:
    """`read(source, **options)`: the elements of a data set as records."""

    def make(source, split: str = 'train', **options) -> list[dict]:
        options = {'shuffle': False, **options}
        return [
            {
                **json.loads(element['record']),
                'id': element['id'].decode(),
                'images': list(element['images']),
            }
            for element in source.get_dataset(split, **options).as_numpy_iterator()
        ]

    return make
