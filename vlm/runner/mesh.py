"""Where arrays live: a mesh of three axes, and rules from logical axis names to them.

`data` splits batches and repeats parameters; `fsdp` splits batches and parameters; `tensor` splits
parameters and what is computed with them (heads, MLP, vocabulary). Parameters say the names of
their axes themselves (`vlm.nn.layers`), so one table of rules serves every model.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import seqio
from flax.linen import partitioning
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from vlm.errors import UserError, unknown_name
from vlm.runner.compilation import step_options

AXES = ('data', 'fsdp', 'tensor')
# Logical axis, and what of the mesh it is split over. The first that match win, and no array is
# split twice over one axis: of an activation [batch, length, embed], batch takes `fsdp`.
Rules = Sequence[tuple[str, str | tuple[str, ...] | None]]
RULES: Rules = (
    ('batch', ('data', 'fsdp')),
    ('vocab', 'tensor'),
    ('expert', 'tensor'),
    ('mlp', 'tensor'),
    ('heads', 'tensor'),
    ('joined_kv', 'tensor'),
    ('embed', 'fsdp'),
    ('length', None),
    ('kv', None),
    ('relpos_buckets', None),
    ('layers', None),
)


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Sizes of the axes, and the rules.

    Attributes:
      axes: e.g. `{'fsdp': 8, 'tensor': -1}`. -1 fills up with the devices that are left; an axis
        that is not named has size 1, but `data` fills up if none else does.
      rules: `(logical axis, mesh axis or axes or None)`; the first that match win. A logical axis
        without a rule is never split.
    """

    axes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    rules: Rules = RULES

    def __post_init__(self):
        for name, size in self.axes.items():
            if name not in AXES:
                raise unknown_name('mesh axis', name, AXES, 'MESH')
            if size != -1 and (not isinstance(size, int) or size < 1):
                raise UserError(f'MESH: {name} = {size!r} is neither a number of devices nor -1.')
        known = dict(RULES)
        for name, axes in self.rules:
            if name not in known:
                raise unknown_name('logical axis', name, known, 'MeshConfig.rules')
            for axis in _as_tuple(axes):
                if axis not in AXES:
                    raise unknown_name('mesh axis', axis, AXES, f'MeshConfig.rules, of {name}')

    def sizes(self, devices: int) -> dict[str, int]:
        """The size of every axis; `UserError` if they do not multiply to `devices`."""
        asked = dict(self.axes)
        if -1 not in asked.values():
            asked.setdefault('data', -1)
        filled = [name for name, size in asked.items() if size == -1]
        fixed = math.prod(size for size in asked.values() if size != -1)
        if len(filled) > 1:
            raise UserError(f'MESH = {dict(self.axes)}: only one axis can be -1.')
        if devices % fixed or (not filled and fixed != devices):
            raise UserError(
                f'MESH = {dict(self.axes)}: sizes must multiply to the number of devices, '
                f'{devices}; -1 fills one axis up.'
            )
        left = devices // fixed
        return {name: left if name in filled else asked.get(name, 1) for name in AXES}

    def build(self, devices: Sequence[jax.Device] | None = None) -> 'DataMesh':
        """The mesh over `devices`; None for all of all processes."""
        sizes = self.sizes(jax.device_count() if devices is None else len(devices))
        kinds = (AxisType.Auto,) * len(AXES)
        mesh = jax.make_mesh(tuple(sizes.values()), AXES, kinds, devices=devices)
        return DataMesh(mesh, self.rules)


class DataMesh:
    """A mesh with its rules: where parameters, batches and activations go."""

    def __init__(self, mesh: Mesh | AbstractMesh, rules: Rules = RULES):
        self.mesh, self.rules = mesh, tuple(rules)
        self.replicated = NamedSharding(mesh, PartitionSpec())
        self.batch = NamedSharding(mesh, self._spec(('batch',)))

    @property
    def batch_shards(self) -> int:
        """Into how many parts a batch is split."""
        return self._size(self.batch.spec[0])

    def sharding(self, names: Sequence[str | None], shape: Sequence[int]) -> NamedSharding:
        """Where an array with these logical axes goes; axes that do not divide are left whole."""
        spec = self._spec(tuple(names))
        fitting = [
            axes if size % self._size(axes) == 0 else None
            for axes, size in zip(spec, shape, strict=True)
        ]
        return NamedSharding(self.mesh, PartitionSpec(*fitting))

    def undivided(self, names: Sequence[str | None], shape: Sequence[int]) -> list[str]:
        """What `sharding` leaves whole although a rule would split it: 'heads 6 over tensor 4'."""
        return [
            f'{name} {size} over {"*".join(_as_tuple(axes))} {self._size(axes)}'
            for name, axes, size in zip(names, self._spec(tuple(names)), shape, strict=True)
            if size % self._size(axes)
        ]

    def jit(self, function: Callable, **options: Any) -> Callable:
        """`jax.jit` with our options, and the activations that modules name placed by the rules."""

        @functools.wraps(function)
        def traced(*args: Any) -> Any:
            with (
                jax.sharding.use_abstract_mesh(self.mesh.abstract_mesh),
                partitioning.axis_rules(self.rules),
            ):
                return function(*args)

        return jax.jit(traced, **{'compiler_options': step_options(), **options})

    def check_batch_size(self, batch_size: int, name: str, parts: int = 1) -> None:
        """Raises `UserError` for a batch that the devices cannot share evenly, in `parts` each."""
        shards = self.batch_shards * parts
        if batch_size % shards:
            of = f' in {parts} microbatches' if parts > 1 else ''
            raise UserError(
                f'{name} = {batch_size} cannot be split evenly over {self.batch_shards} devices'
                f'{of}: it must be a multiple of {shards}.'
            )

    @property
    def reader(self) -> seqio.ShardInfo:
        """Which part of the data this process reads: its devices' part of every batch.

        Processes whose devices hold the same rows, since another axis lies between them, read the
        same part.
        """
        shards = self.batch_shards
        slices = self.batch.addressable_devices_indices_map((shards,)).values()
        rows = {row for (where,) in slices for row in range(*where.indices(shards))}
        first, width = min(rows), len(rows)
        if first % width or max(rows) != first + width - 1:
            raise UserError(
                f'MESH = {dict(self.mesh.shape)} gives process {jax.process_index()} rows of a '
                'batch that are no block: let data * fsdp be a multiple of the processes.'
            )
        return seqio.ShardInfo(index=first // width, num_shards=shards // width)

    def put(self, batch: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Sends this process's rows of a batch to its devices; returns the batch of all."""
        if jax.process_count() == 1:  # one call for all features is the fastest
            return jax.device_put(dict(batch), self.batch)
        make = functools.partial(jax.make_array_from_process_local_data, self.batch)
        return {name: make(value) for name, value in batch.items()}

    def _spec(self, names: tuple[str | None, ...]) -> PartitionSpec:
        return partitioning.logical_to_mesh_axes(names, self.rules)

    def _size(self, axes: str | tuple[str, ...] | None) -> int:
        return math.prod(self.mesh.shape[axis] for axis in _as_tuple(axes))


def _as_tuple(axes: str | tuple[str, ...] | list[str] | None) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
