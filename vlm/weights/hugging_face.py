"""Folders of Hugging Face: `config.json` says which family, safetensors hold the numbers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vlm.errors import UserError, unknown_name
from vlm.weights.families import (
    hf_clip,
    hf_gemma,
    hf_paligemma,
    hf_pix2struct,
    hf_siglip,
    hf_t5,
    hf_vit,
)
from vlm.weights.pickled import open_pickled
from vlm.weights.safetensors_files import INDEX, SINGLE, open_safetensors, read_json
from vlm.weights.source import Source
from vlm.weights.table import Family

# `model_type` of config.json -> reads a configuration and the names of the tensors.
FAMILIES: dict[str, Callable[[Mapping[str, Any], Source], Family]] = {
    'vit': hf_vit.family,
    'siglip': hf_siglip.family,
    'siglip_vision_model': hf_siglip.family,
    'siglip2': hf_siglip.family,
    'siglip2_vision_model': hf_siglip.family,
    'clip': hf_clip.family,
    'clip_vision_model': hf_clip.family,
    't5': hf_t5.family,
    'mt5': hf_t5.family,
    'gemma': hf_gemma.family,
    'gemma2': hf_gemma.family,
    'paligemma': hf_paligemma.family,
    'pix2struct': hf_pix2struct.family,
}


def is_hugging_face(path: Path) -> bool:
    """Whether the folder looks like one that `save_pretrained` wrote."""
    return (path / 'config.json').exists()


def open_hugging_face(folder: Path, allow_pickle: bool = False) -> tuple[Source, Family]:
    """The tensors under canonical names, and how their family reads them.

    With `allow_pickle` a folder that has no safetensors is read by PyTorch, weights only.

    Raises:
      UserError: a family that is not known, no safetensors, a damaged file.
    """
    config = dict(read_json(folder / 'config.json'))
    if (pixels := folder / 'preprocessor_config.json').exists():
        config['preprocessor'] = read_json(pixels)
    kind = config.get('model_type')
    if kind not in FAMILIES:
        raise unknown_name('model_type', str(kind), FAMILIES, f'{folder / "config.json"}')
    source = _tensors(folder, allow_pickle)
    try:
        family = FAMILIES[kind](config, source)
    except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise UserError(
            f'{folder / "config.json"} is no configuration of the family {kind!r}: {error!r}.'
        ) from error
    return source.renamed(family.renames), family


def _tensors(folder: Path, allow_pickle: bool) -> Source:
    if (folder / SINGLE).exists() or (folder / INDEX).exists():
        return open_safetensors(folder)
    if not any(folder.glob('pytorch_model*.bin')):
        raise UserError(f'{folder} holds neither {SINGLE} nor {INDEX}.')
    if allow_pickle:
        return open_pickled(folder)
    raise UserError(
        f'{folder} holds pytorch_model.bin, a pickle, which can run any program when it is read: '
        'convert it (save_pretrained does), or bind pretrained.Pretrained.allow_pickle to True.'
    )
