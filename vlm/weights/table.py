"""Mapping tables: which tensor of a checkpoint becomes which parameter, and how."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

# Works on the arrays of a checkpoint and, to know its result's shape, on tracers: methods and
# operators only. Takes one array for each name of the row.
Conversion = Callable[..., Any]


def as_is(x: Any) -> Any:
    """The tensor itself."""
    return x


def linear(weight: Any) -> Any:
    """PyTorch's `[out, in]` to a kernel `[in, out]`."""
    return weight.T


def convolution(weight: Any) -> Any:
    """PyTorch's `[out, in, height, width]` to HWIO."""
    return weight.transpose(2, 3, 1, 0)


def times(scale: float) -> Conversion:
    """A linear layer multiplied by a constant."""
    return linear if scale == 1.0 else lambda weight: weight.T * np.float32(scale)


def kernel_of_convolution(kernel: Any) -> Any:
    """HWIO to PyTorch's `[out, in, height, width]`."""
    return kernel.transpose(3, 2, 0, 1)


# Back from a parameter to a checkpoint's tensor, for conversions that lose nothing.
INVERSES: dict[Conversion, Conversion] = {
    as_is: as_is,
    linear: linear,
    convolution: kernel_of_convolution,
}


class Row(NamedTuple):
    """One line of a table; `{i}` in names stands for the number of a layer.

    Attributes:
      ours: a parameter, with stacks unrolled: 'vision/layers_{i}/attention/query/kernel'.
      theirs: the tensor it is made of, or several.
      how: makes it.
    """

    ours: str
    theirs: str | tuple[str, ...]
    how: Conversion = as_is

    def sources(self, layer: str | None) -> tuple[str, ...]:
        names = (self.theirs,) if isinstance(self.theirs, str) else self.theirs
        return tuple(name.replace('{i}', layer or '') for name in names)

    def match(self, parameter: str) -> re.Match[str] | None:
        pattern = re.escape(self.ours).replace(re.escape('{i}'), r'(\d+)')
        return re.fullmatch(pattern, parameter)


def under(ours: str, theirs: str, rows: Sequence[Row]) -> list[Row]:
    """The rows with a prefix before the names on either side."""
    moved = []
    for row in rows:
        names = (row.theirs,) if isinstance(row.theirs, str) else row.theirs
        moved.append(Row(ours + row.ours, tuple(theirs + name for name in names), row.how))
    return moved


@dataclasses.dataclass(frozen=True)
class Family:
    """A checkpoint as its family's module reads it.

    Attributes:
      title: for messages.
      rows: the mapping table.
      vision, text: fields of `VitConfig` and `TextConfig` without which the same parameters would
        compute something else.
      renames: (pattern, replacement) that make names canonical before the table is used.
      unused: patterns of tensors that this package's network has no use for, such as heads.
    """

    title: str
    rows: Sequence[Row]
    vision: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    text: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    renames: Sequence[tuple[str, str]] = ()
    unused: Sequence[str] = ()
