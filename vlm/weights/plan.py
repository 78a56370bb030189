"""What will be restored from a checkpoint into which parameter: decided from shapes alone."""

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from vlm.errors import UserError
from vlm.nn.network import NetworkConfig
from vlm.weights.fitting import can_fit
from vlm.weights.source import Shape, Source
from vlm.weights.table import Conversion, Family, Row

# The parameters that each part of a checkpoint may fill.
PARTS = {
    'vision': ('vision/',),
    'text': ('token_embedder/', 'position_embedder/', 'mask_embedder/', 'encoder/', 'decoder/'),
    'model': ('',),
}
SHOWN = 4  # names in a message


class Piece(NamedTuple):
    """A parameter of one layer, and what it is made of."""

    row: Row
    sources: tuple[str, ...]
    fitted_from: Shape | None


@dataclasses.dataclass(frozen=True)
class Plan:
    """The pieces of every parameter (a scanned stack has one for each layer), and what is left.

    Attributes:
      restored: pieces by parameter.
      new: parameters of the part that the checkpoint does not have.
      unused: tensors that no parameter is made of.
    """

    source: Source
    title: str
    restored: Mapping[str, Sequence[Piece]]
    new: Sequence[str]
    unused: Sequence[str]


def make_plan(
    source: Source,
    family: Family,
    part: str,
    shapes: Mapping[str, Shape],
    config: NetworkConfig,
    allow_new: Sequence[str] = (),
    allow_unused: Sequence[str] = (),
) -> Plan:
    """Decides what becomes of every tensor and every parameter of a part.

    Args:
      source: tensors under the family's canonical names.
      family: how they are read.
      part: a key of `PARTS`.
      shapes: of all parameters of the network, by name.
      config: of the network.
      allow_new: patterns of parameters that may stay as they were initialised.
      allow_unused: patterns of tensors that may be left.

    Raises:
      UserError: sizes or options that differ, a parameter without a tensor, a tensor without a
        parameter, a shape that cannot be fitted.
    """
    _check_settings(source, family, part, config)
    wanted = [name for name in shapes if name.startswith(PARTS[part])]
    rows = [row for row in family.rows if row.ours.startswith(PARTS[part])]
    restored, new = {}, []
    for name in wanted:
        pieces = _pieces(name, shapes[name], rows, source)
        if pieces is None:
            new.append(name)
        else:
            restored[name] = pieces
    _refuse(new, allow_new, f'{source.path} ({family.title}) has nothing for', 'allow_new')
    used = {name for pieces in restored.values() for piece in pieces for name in piece.sources}
    left = [name for name in source.shapes if name not in used]
    expected = [*family.unused, *_of_other_parts(family, rows, shapes)]
    _refuse(
        [name for name in left if not _matches(name, expected)],
        allow_unused,
        f'{source.path} ({family.title}) has tensors that no parameter is made of:',
        'allow_unused',
    )
    return Plan(source, family.title, restored, new, left)


def _check_settings(source: Source, family: Family, part: str, config: NetworkConfig) -> None:
    """The same parameters compute something else with other options, so these must agree."""
    sides = {'vision': ('vision',), 'text': ('text',), 'model': ('vision', 'text')}[part]
    bindings = []
    for side, scope in (('vision', 'vit.VitConfig'), ('text', 't5.TextConfig')):
        if side not in sides:
            continue
        ours = getattr(config, side)
        for name, value in getattr(family, side).items():
            if name == 'num_encoder_layers' and config.wiring != 'fusion_encoder':
                continue  # an encoder that the wiring has none of is left
            # An option that this version does not know was written by a later one.
            here = getattr(ours, name, 'unknown')
            if here != value:
                bindings.append(f'{scope}.{name} = {value!r} (now {here!r})')
    if bindings:
        raise UserError(
            f'{source.path} ({family.title}) is another network. Bind: {"; ".join(bindings)}.'
        )


def _pieces(name: str, shape: Shape, rows: Sequence[Row], source: Source) -> list[Piece] | None:
    """The pieces of a parameter, None if the checkpoint lacks one."""
    if '/layers/' not in name:
        piece = _piece(name, shape, rows, source)
        return None if piece is None else [piece]
    unrolled = [name.replace('/layers/', f'/layers_{i}/') for i in range(shape[0])]
    pieces = [_piece(each, shape[1:], rows, source) for each in unrolled]
    return None if None in pieces else pieces


def _piece(name: str, shape: Shape, rows: Sequence[Row], source: Source) -> Piece | None:
    for row in rows:
        if (found := row.match(name)) is None:
            continue
        sources = row.sources(found[1] if found.groups() else None)
        if not all(each in source.shapes for each in sources):
            continue
        have = _converted_shape(row, [source.shapes[each] for each in sources], source, name)
        if not can_fit(name, have, shape):
            raise UserError(
                f'{source.path}: {" + ".join(sources)} has the shape {have} for {name}, which is '
                f'{shape} here.{_remedy(name, have)}'
            )
        return Piece(row, sources, None if have == shape else have)
    return None


def _converted_shape(row: Row, shapes: Sequence[Shape], source: Source, name: str) -> Shape:
    try:
        return _shape_made(row.how, tuple(shapes))
    except (TypeError, ValueError) as error:
        raise UserError(
            f'{source.path}: {row.theirs} of the shapes {list(shapes)} makes no {name}.'
        ) from error


@functools.lru_cache(maxsize=1024)
def _shape_made(how: Conversion, shapes: tuple[Shape, ...]) -> Shape:
    # The layers of a stack ask the same; tracing costs as much as reading a small tensor.
    arguments = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    return tuple(jax.eval_shape(how, *arguments).shape)


def _remedy(name: str, have: Shape) -> str:
    if name == 'token_embedder/embedding':
        return f' Bind vocabularies.embedding_rows.at_least = {have[0]}.'
    return ''


def _of_other_parts(family: Family, rows: Sequence[Row], shapes: Collection[str]) -> list[str]:
    """Patterns of tensors for parameters outside the part, or of an encoder that there is not."""
    has_encoder = any(name.startswith('encoder/') for name in shapes)
    kept = [row for row in rows if has_encoder or not row.ours.startswith('encoder/')]
    used = {name for row in kept for name in row.sources('{i}')}
    other = {name for row in family.rows for name in row.sources('{i}')} - used
    return [re.escape(name).replace(re.escape('{i}'), r'\d+') for name in sorted(other)]


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _refuse(names: Sequence[str], allowed: Sequence[str], what: str, binding: str) -> None:
    refused = [name for name in names if not _matches(name, allowed)]
    if refused:
        shown = ', '.join(refused[:SHOWN]) + (', ...' if len(refused) > SHOWN else '')
        raise UserError(
            f'{what} {shown} ({len(refused)} in all). If that is meant, bind '
            f"pretrained.Pretrained.{binding} to patterns of them, such as ('{refused[0]}',)."
        )
