"""Where named tensors come from: shapes at once, numbers one tensor at a time."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Shape = tuple[int, ...]
MAX_LAYERS = 1024


@dataclasses.dataclass(frozen=True)
class Source:
    """The tensors of a checkpoint.

    Attributes:
      path: what the user named.
      shapes: shape by name, as stored.
      read: the tensor of a name, in its own dtype (float32, float16, bfloat16); nothing is kept.
    """

    path: str
    shapes: Mapping[str, Shape]
    read: Callable[[str], np.ndarray]

    def renamed(self, replacements: Sequence[tuple[str, str]]) -> 'Source':
        """The same tensors under other names: each (pattern, replacement) of `re.sub` in turn."""
        theirs = {}
        for name in self.shapes:
            ours = name
            for pattern, replacement in replacements:
                ours = re.sub(pattern, replacement, ours)
            theirs[ours] = name
        shapes = {ours: self.shapes[name] for ours, name in theirs.items()}
        return Source(self.path, shapes, lambda ours: self.read(theirs[ours]))

    def unstacked(self, part: str, axis: int = 0) -> 'Source':
        """The tensors of a scanned stack as those of its layers.

        Where `part` is a whole part of a name, layer i of the tensor is called `part_i`; `axis` is
        that of the layers. The tensor last read is kept, for its other layers.
        """
        shapes: dict[str, Shape] = {}
        stacks: dict[str, tuple[str, int]] = {}
        for name, shape in self.shapes.items():
            # More layers than any network has: a file that is not what it says.
            if f'/{part}/' not in f'/{name}' or not 0 < sum(shape[axis : axis + 1]) <= MAX_LAYERS:
                shapes[name] = shape
                continue
            for i in range(shape[axis]):
                layer = f'/{name}'.replace(f'/{part}/', f'/{part}_{i}/')[1:]
                shapes[layer] = (*shape[:axis], *shape[axis + 1 :])
                stacks[layer] = name, i
        last: dict[str, np.ndarray] = {}

        def read(name: str) -> np.ndarray:
            if name not in stacks:
                return self.read(name)
            stack, layer = stacks[name]
            if stack not in last:
                last.clear()
                last[stack] = self.read(stack)
            return last[stack].take(layer, axis)

        return Source(self.path, shapes, read)
