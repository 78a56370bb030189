"""big_vision's `.npz` files: the names in them say which family they are of."""

from pathlib import Path

from vlm.errors import UserError
from vlm.weights.families import bv_cappa, bv_paligemma, bv_vit
from vlm.weights.npz_file import open_npz
from vlm.weights.source import Source
from vlm.weights.table import Family


def open_big_vision(path: Path) -> tuple[Source, Family]:
    """The tensors under canonical names, and how their family reads them.

    Raises:
      UserError: a damaged file, or names that no family has.
    """
    source = open_npz(path)
    try:
        return _family(bv_vit.canonical(source))
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f'{path} is no whole checkpoint of big_vision: {error}.') from error


def _family(source: Source) -> tuple[Source, Family]:
    if any(name.startswith('llm/') for name in source.shapes):
        source = source.unstacked(bv_paligemma.STACK)
        return source, bv_paligemma.family(source)
    if any(name.startswith('decoder/') for name in source.shapes):
        source = source.renamed(bv_cappa.RENAMES).unstacked(bv_cappa.STACK, axis=1)
        return source, bv_cappa.family(source)
    prefix = 'img/' if any(name.startswith('img/') for name in source.shapes) else ''
    return source, bv_vit.family(source, prefix)
