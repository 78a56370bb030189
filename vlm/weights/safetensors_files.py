"""Folders of Hugging Face: `model.safetensors`, or shards that an index file lists."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vlm.errors import UserError
from vlm.weights.source import Source

INDEX = 'model.safetensors.index.json'
SINGLE = 'model.safetensors'


def open_safetensors(folder: Path) -> Source:
    """The tensors of a folder; only headers are read.

    Raises:
      UserError: a file that is missing, cut short or lies about its sizes, an index that names a
        file outside the folder or a tensor that its file does not have.
    """
    files = _files(folder)
    shapes: dict[str, tuple[int, ...]] = {}
    file_of: dict[str, Path] = {}
    for path in files:
        for name, shape in _header(path).items():
            if name in file_of:
                raise UserError(f'{path} and {file_of[name].name} both hold the tensor {name!r}.')
            shapes[name], file_of[name] = shape, path

    reader = _Reader()
    return Source(str(folder), shapes, lambda name: reader.read(file_of[name], name))


class _Reader:
    """Tensors of several files, of which one is open at a time.

    Files are mapped, and what was read of a map counts as memory of the process until it is closed;
    so it is opened anew now and then.
    """

    REOPENED_AFTER = 1 << 26  # bytes

    def __init__(self):
        self._path, self._file, self._count = None, None, 0

    def read(self, path: Path, name: str) -> np.ndarray:
        if path != self._path or self._count > self.REOPENED_AFTER:
            self._path, self._file, self._count = path, _opened(path), 0
        tensor = self._file.get_tensor(name)
        self._count += tensor.nbytes
        return tensor


def _files(folder: Path) -> list[Path]:
    index = folder / INDEX
    if not index.exists():
        return [folder / SINGLE]
    named = read_json(index).get('weight_map')
    if not isinstance(named, dict) or not named:
        raise UserError(f'{index} has no weight_map: it is no index of safetensors files.')
    for name in set(named.values()):
        # An index is somebody else's file: it must not make us read what lies elsewhere.
        if (
            not isinstance(name, str)
            or Path(name).name != name
            or not name.endswith('.safetensors')
        ):
            raise UserError(f'{index} names {name!r}, which is no safetensors file beside it.')
    return [folder / name for name in sorted(set(named.values()))]


def _header(path: Path) -> dict[str, tuple[int, ...]]:
    with _opened(path) as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _opened(path: Path) -> safe_open:
    try:
        return safe_open(path, 'numpy')
    except FileNotFoundError:
        raise UserError(f'there is no {path}, which the index beside it lists.') from None
    except (SafetensorError, OSError) as error:
        raise UserError(f'{path} is damaged or no safetensors file: {error}.') from error


def read_json(path: Path) -> Mapping[str, Any]:
    """An object in a JSON file; `UserError` for anything else."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f'{path} cannot be read as JSON: {str(error)[:200]}.') from error
    if not isinstance(content, dict):
        raise UserError(f'{path} holds no JSON object.')
    return content
