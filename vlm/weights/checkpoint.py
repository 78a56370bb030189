"""A path or a hub name to tensors and their family, chosen by what the path holds."""

import re
from pathlib import Path

from vlm.errors import UserError, nearest
from vlm.weights.big_vision import open_big_vision
from vlm.weights.families import t5x_pix2struct, t5x_t5
from vlm.weights.hugging_face import is_hugging_face, open_hugging_face
from vlm.weights.own_files import is_own, open_own
from vlm.weights.source import Source
from vlm.weights.t5x_checkpoint import CLOUD, open_t5x, t5x_folder
from vlm.weights.table import Family

HUB_NAME = r'[\w.-]+/[\w.-]+'
HUB_FILES = ['*.safetensors', '*.json', '*.model']
HUB_PICKLES = ['pytorch_model*.bin']


def open_checkpoint(path: str, allow_pickle: bool = False) -> tuple[Source, Family]:
    """The tensors of a public checkpoint and how they are read.

    Args:
      path: a folder of Hugging Face, or its name on the hub ('google/siglip-base-patch16-224'); a
        folder of T5X, also on gs://; an .npz of big_vision; a folder that `vlm export` wrote.
      allow_pickle: reads pytorch_model.bin of a folder without safetensors, by PyTorch's reader of
        weights alone.

    Raises:
      UserError: nothing there, an unknown format or family, a damaged file.
    """
    place = Path(path).expanduser()
    if path.startswith(CLOUD) or (place.is_dir() and t5x_folder(path)):
        return _opened_t5x(t5x_folder(path))
    if not place.exists() and re.fullmatch(HUB_NAME, path):
        place = _from_hub(path, allow_pickle)
    if not place.exists():
        beside = [each.name for each in place.parent.glob('*')] if place.parent.exists() else []
        close = nearest(place.name, beside)
        hint = f' Nearest there: {", ".join(close)}.' if close else ''
        raise UserError(f'there is no checkpoint {path}.{hint}')
    if place.suffix == '.npz':
        return open_big_vision(place)
    if is_own(place):
        return open_own(place)
    if is_hugging_face(place):
        return open_hugging_face(place, allow_pickle)
    raise UserError(
        f'{path} is no checkpoint that can be read: neither a folder of Hugging Face (config.json) '
        'nor one of T5X (a file named checkpoint) or of `vlm export`, nor an .npz of big_vision.'
    )


def _opened_t5x(folder: str) -> tuple[Source, Family]:
    source = open_t5x(folder)
    try:
        if t5x_pix2struct.PATCHES in source.shapes:
            return source, t5x_pix2struct.family(source)
        source = t5x_t5.canonical(source)
        return source, t5x_t5.family(source)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise UserError(f'{folder} is no T5 or Pix2Struct of T5X: it has no {error}.') from error


def _from_hub(name: str, allow_pickle: bool) -> Path:
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise UserError(
            f'there is no folder {name}, and it can only be downloaded with huggingface_hub: pip '
            f"install 'vlm[hub]', or place the model's config.json and *.safetensors in {name}/."
        ) from None
    try:
        wanted = HUB_FILES + (HUB_PICKLES if allow_pickle else [])
        return Path(snapshot_download(name, allow_patterns=wanted))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0][:150]
        raise UserError(
            f'{name} cannot be downloaded ({reason}). Place its config.json and *.safetensors in '
            f'the folder {name}/, or name the folder that holds them.'
        ) from error
