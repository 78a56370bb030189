"""`pytorch_model.bin`: a pickle, read by PyTorch's weights-only reader where the user allows it."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from vlm.errors import UserError
from vlm.weights.safetensors_files import read_json
from vlm.weights.source import Source

SINGLE = 'pytorch_model.bin'
INDEX = 'pytorch_model.bin.index.json'


def open_pickled(folder: Path) -> Source:
    """The tensors of a folder, mapped into memory; objects other than tensors are refused.

    Raises:
      UserError: no PyTorch here, a damaged file, one that holds anything but tensors, an index that
        names files outside the folder.
    """
    try:
        import torch
    except ImportError:
        raise UserError(f'reading {folder / SINGLE} needs PyTorch: pip install torch.') from None
    tensors: dict[str, Any] = {}
    for path in _files(folder):
        try:
            tensors |= torch.load(path, map_location='cpu', weights_only=True, mmap=True)
        except (OSError, RuntimeError, TypeError, ValueError, pickle.UnpicklingError) as error:
            reason = (str(error).splitlines() or [repr(error)])[0][:150]
            raise UserError(f'{path} is damaged or holds more than tensors: {reason}.') from error
    if not all(isinstance(tensor, torch.Tensor) for tensor in tensors.values()):
        raise UserError(f'{folder / SINGLE} holds more than tensors.')

    def read(name: str) -> np.ndarray:
        return tensors[name].float().numpy()

    return Source(str(folder), {name: tuple(t.shape) for name, t in tensors.items()}, read)


def _files(folder: Path) -> list[Path]:
    if not (folder / INDEX).exists():
        return [folder / SINGLE]
    named = read_json(folder / INDEX).get('weight_map')
    names = set(named.values()) if isinstance(named, dict) else {None}
    for name in names:
        if not isinstance(name, str) or Path(name).name != name or not name.endswith('.bin'):
            raise UserError(f'{folder / INDEX} names {name!r}, which is no .bin file beside it.')
    return [folder / name for name in sorted(names)]
