"""T5X's older checkpoints: a msgpack index named `checkpoint`, and zarr arrays beside it.

The index holds small arrays themselves and, for others, the tensorstore spec they were written by.
Local folders and Google Cloud Storage (gs://) are read alike, through tensorstore.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from flax.serialization import msgpack_restore
from flax.traverse_util import unflatten_dict

from vlm.errors import UserError
from vlm.weights.source import Source

INDEX = 'checkpoint'
CLOUD = 'gs://'


def t5x_folder(path: str) -> str | None:
    """The checkpoint that a path means: itself, or the latest `checkpoint_N` in it, or None."""
    if path.startswith(CLOUD):
        return path.rstrip('/')
    folder = Path(path).expanduser()
    if (folder / INDEX).is_file():
        return str(folder)
    steps = [each for each in folder.glob('checkpoint_*') if (each / INDEX).is_file()]
    numbered = [each for each in steps if re.fullmatch(r'checkpoint_\d+', each.name)]
    latest = max(numbered, key=lambda each: int(each.name.split('_')[1]), default=None)
    return None if latest is None else str(latest)


def open_t5x(folder: str) -> Source:
    """The parameters of a checkpoint, without the optimizer's state; only the index is read.

    Raises:
      UserError: an index that is damaged, or names arrays outside the folder.
    """
    leaves = dict(_leaves(_tree(folder)['target']))
    shapes = {name: _shape(folder, name, leaf) for name, leaf in leaves.items()}
    return Source(folder, shapes, lambda name: _read(folder, leaves[name], shapes[name]))


def read_older_t5x(folder: str) -> dict[str, Any]:
    """`{'target': parameters, 'state': {'step': ..., 'param_states': ...}}` as numpy arrays.

    Raises:
      UserError: as `open_t5x`, and for an array that is damaged or absent.
    """
    leaves = _leaves(_tree(folder))
    read = {name: _read(folder, leaf, _shape(folder, name, leaf)) for name, leaf in leaves}
    if 'state/step' not in read:
        raise UserError(f'{folder}/{INDEX} has no state/step: it is no checkpoint of a T5X run.')
    return unflatten_dict(read, sep='/')


def _tree(folder: str) -> Mapping[str, Any]:
    """What the index has of parameters and, if it has, of the optimizer's state."""
    index = _index(folder)
    tree = index.get('optimizer', index)
    if not isinstance(tree, dict) or not isinstance(tree.get('target'), dict):
        raise UserError(f'{folder}/{INDEX} has no optimizer/target: it is no checkpoint of T5X.')
    return tree


def _index(folder: str) -> Mapping[str, Any]:
    try:
        content = ts.KvStore.open(_store(folder)).result().read(INDEX).result()
        if content.state != 'value':
            raise UserError(f'there is no {folder}/{INDEX}: it is no checkpoint of T5X.')
        tree = msgpack_restore(content.value)
    except UserError:
        raise
    # msgpack and flax raise what they come across; nothing in either runs code from the file.
    except Exception as error:
        reason = (str(error).splitlines() or [repr(error)])[0][:150]
        raise UserError(f'{folder}/{INDEX} is damaged or cannot be read: {reason}.') from error
    if not isinstance(tree, dict):
        raise UserError(f'{folder}/{INDEX} is damaged: it holds no tree of parameters.')
    return tree


def _store(folder: str) -> dict[str, str]:
    if folder.startswith(CLOUD):
        bucket, _, path = folder.removeprefix(CLOUD).partition('/')
        return {'driver': 'gcs', 'bucket': bucket, 'path': f'{path}/'}
    return {'driver': 'file', 'path': f'{Path(folder).expanduser().resolve()}/'}


def _leaves(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Small arrays, and the specs of others, by name; an empty part leaves none."""
    for name, value in tree.items():
        if isinstance(value, dict) and 'driver' not in value:
            yield from _leaves(value, f'{prefix}{name}/')
        else:
            yield f'{prefix}{name}', value


def _shape(folder: str, name: str, leaf: Any) -> tuple[int, ...]:
    if not isinstance(leaf, dict):
        return tuple(np.shape(leaf))
    path = _get(leaf, 'kvstore', 'path')
    # An index is somebody else's file: it must not make us read what lies elsewhere.
    beside = isinstance(path, str) and re.fullmatch(r'\w[\w.-]*/?', path)
    if leaf.get('driver') != 'zarr' or not beside:
        raise UserError(f'{folder}/{INDEX}: {name} names {path!r}, which is no array beside it.')
    shape = _get(leaf, 'metadata', 'shape')
    if not isinstance(shape, list) or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise UserError(f'{folder}/{INDEX} says nothing of the shape of {name}.')
    return tuple(shape)


def _get(leaf: Mapping[str, Any], part: str, name: str) -> Any:
    found = leaf.get(part)
    return found.get(name) if isinstance(found, dict) else None


def _read(folder: str, leaf: Any, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(leaf, dict):
        return np.asarray(leaf)
    store = _store(folder)
    store['path'] += leaf['kvstore']['path'].rstrip('/') + '/'
    try:
        opened = ts.open({'driver': 'zarr', 'kvstore': store}, open=True, read=True).result()
        if tuple(opened.shape) == shape:
            return opened.read().result()
    except ValueError as error:
        reason = str(error).splitlines()[0][:150]
        raise UserError(f'{store["path"]} is damaged or absent: {reason}.') from error
    raise UserError(f'{store["path"]} has the shape {opened.shape}, the index says {shape}.')
