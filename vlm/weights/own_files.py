"""This package's own format: a folder of `model.safetensors`, `model.json` and the vocabulary.

Names are those of the parameters; `vlm export` writes it, and any wiring that has the same parts
reads it, scanned or unrolled, at another resolution or with a larger vocabulary.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from vlm.errors import UserError
from vlm.weights.safetensors_files import SINGLE, open_safetensors, read_json
from vlm.weights.source import Source
from vlm.weights.table import Family, Row

MODEL = 'model.json'
VOCABULARY = 'vocab.model'
# Options under which the same parameters compute the same, or which are fitted.
FREE = {
    'vision': {
        'image_size',
        'patch_size',
        'base_patch_size',
        'position_grid',
        'train_patch_sizes',
        'drop_path',
    },
    'text': {'vocab_size', 'max_positions', 'mask_token', 'num_encoder_layers'},
}
FREE_EVERYWHERE = {'dropout', 'scan_layers', 'remat', 'dtype'}


def export(params: Mapping[str, Any], model: Path, vocabulary: Path, folder: Path) -> Path:
    """Writes parameters (name -> array), model file and vocabulary; returns the weights' path."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f'{folder} cannot be made: {error.strerror}.') from error
    weights = folder / SINGLE
    arrays = {name: np.ascontiguousarray(value) for name, value in params.items()}
    save_file(arrays, weights, metadata={'format': 'vlm'})
    shutil.copyfile(model, folder / MODEL)
    shutil.copyfile(vocabulary, folder / VOCABULARY)
    return weights


def is_own(folder: Path) -> bool:
    """Whether the folder is one that `export` wrote."""
    return (folder / MODEL).exists() and (folder / SINGLE).exists()


def open_own(folder: Path) -> tuple[Source, Family]:
    """The tensors, stacks layer by layer, and the network they are of."""
    network = read_json(folder / MODEL).get('network')
    if not isinstance(network, dict) or not {'vision', 'text'} <= set(network):
        raise UserError(f'{folder / MODEL} describes no network.')
    source = open_safetensors(folder).unstacked('layers')
    family = Family(
        title='vlm',
        rows=[Row(name, name) for name in _with_layers(source)],
        vision=_settings(network, 'vision'),
        text=_settings(network, 'text'),
    )
    return source, family


def _with_layers(source: Source) -> list[str]:
    return sorted({re.sub(r'/layers_\d+/', '/layers_{i}/', name) for name in source.shapes})


def _settings(network: Mapping[str, Any], part: str) -> dict[str, Any]:
    free = FREE[part] | FREE_EVERYWHERE
    fields = {name: value for name, value in network[part].items() if name not in free}
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
