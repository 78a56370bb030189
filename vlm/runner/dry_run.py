"""`vlm train --dry_run`: what a run would take, from shapes alone; no array is made."""

import dataclasses
import functools
import math
import re
from collections import Counter
from typing import Any

import jax
from rich.console import Console
from rich.table import Table

from vlm.nn.flops import program_flops
from vlm.runner.mesh import DataMesh
from vlm.runner.parts import frozen_parameters
from vlm.runner.placement import Axes, shardings_of, undivided
from vlm.runner.state import TrainState, flat_names
from vlm.runner.train import Trainer
from vlm.runner.train_step import make_train_step

PyTree = Any

# A narrower terminal breaks lines; a table fitted to it would cut the names.
WIDTH = 160


@dataclasses.dataclass(frozen=True)
class Plan:
    """A training step that was compiled and not run; bytes are those of one device.

    `temporary` is what a step holds beside its arguments: activations and gradients.
    """

    state: TrainState
    batch: dict[str, jax.ShapeDtypeStruct]
    flops: float
    arguments: int
    temporary: int
    outputs: int
    aliased: int

    @property
    def peak(self) -> int:
        """Arguments, temporaries, and outputs that do not take an argument's place."""
        return self.arguments + self.temporary + self.outputs - self.aliased


def plan(trainer: Trainer, mesh: DataMesh) -> Plan:
    """Compiles the step for shapes and shardings."""
    model, config = trainer.model, trainer.optimizer
    optimizer = config.transformation(frozen_parameters(model))
    batch = trainer.planned_batch(mesh)
    state = trainer.planned_state(mesh)
    jit = functools.partial(mesh.jit, out_shardings=(shardings_of(state), mesh.replicated))
    step = make_train_step(model, optimizer, config, trainer.num_microbatches, jit)
    rng = jax.eval_shape(jax.random.key, 0)
    traced = step.trace(state, batch, rng)
    memory = traced.lower().compile().memory_analysis()
    return Plan(
        state,
        batch,
        program_flops(traced.jaxpr),
        memory.argument_size_in_bytes,
        memory.temp_size_in_bytes,
        memory.output_size_in_bytes,
        memory.alias_size_in_bytes,
    )


def show_plan(trainer: Trainer) -> None:
    """Compiles the step of a trainer for its mesh and prints what it takes."""
    mesh, axes = trainer.build_mesh(), trainer.parameters[1]
    print_plan(plan(trainer, mesh), mesh, axes, Console(highlight=False, width=WIDTH))


def bytes_per_device(tree: PyTree) -> int:
    """Of arrays or shapes with shardings."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _bytes(leaf: Any) -> int:
    return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize


def print_plan(planned: Plan, mesh: DataMesh, axes: Axes, console: Console) -> None:
    """Mesh, parameters, batch, and what a step takes."""
    sizes = ', '.join(f'{name} {size}' for name, size in mesh.mesh.shape.items())
    console.print(f'mesh        {sizes} ({mesh.mesh.size} x {jax.devices()[0].device_kind})')
    console.print(_parameter_table(planned.state.params, axes))
    tell_undivided(planned.state.params, axes, mesh, console)
    batch = Table('batch', 'shape', 'a device', box=None, header_style='')
    for name, value in planned.batch.items():
        batch.add_row(name, _shape(value.shape), _shape(value.sharding.shard_shape(value.shape)))
    console.print(batch)
    table = Table.grid(padding=(0, 2))
    state = planned.state
    for name, tree in (
        ('parameters', state.params),
        ('optimizer', state.opt_state),
        ('averages', state.ema_params),
    ):
        if tree is not None:
            table.add_row(name, f'{_size(bytes_per_device(tree))} a device')
    table.add_row('operations', f'{planned.flops:.3g} a step in matrix products')
    table.add_row(
        'memory',
        f'{_size(planned.peak)} a device at most: {_size(planned.arguments)} of state and batch, '
        f'{_size(planned.temporary)} during the step (as compiled for this machine)',
    )
    console.print(table)


def tell_undivided(params: PyTree, axes: Axes, mesh: DataMesh, console: Console) -> None:
    """One line for each kind of parameter that the rules would split but whose size forbids it."""
    for name, why in _alike(undivided(params, axes, mesh)):
        console.print(f'not split   {name}: {why} does not divide, so it stays whole')


def _parameter_table(params: PyTree, axes: Axes) -> Table:
    columns = 'parameter', 'shape', 'axes', 'split over', 'a device'
    table = Table(*columns, box=None, header_style='')
    named = {
        name: (_shape(leaf.shape), _words(axes[name]), _words(leaf.sharding.spec), _bytes(leaf))
        for name, leaf in flat_names(params).items()
    }
    for name, (*words, size) in _alike(named):
        table.add_row(name, *words, _size(size))
    return table


def _alike(named: dict[str, Any]) -> list[tuple[str, Any]]:
    """Blocks of a stack are alike: 'vision/layers_*/mlp/wi/kernel (48)' once, in place of 48."""
    counts = Counter((re.sub(r'layers_\d+', 'layers_*', k), v) for k, v in named.items())
    return [(f'{k} ({n})' if n > 1 else k, v) for (k, v), n in counts.items()]


def _words(axes: Any) -> str:
    joined = ('*'.join(axis) if isinstance(axis, tuple) else axis for axis in axes)
    return ', '.join(axis or '-' for axis in joined)


def _shape(shape: tuple[int, ...]) -> str:
    return ' x '.join(f'{size:,}' for size in shape)


def _size(count: int) -> str:
    for unit, size in (('GiB', 2**30), ('MiB', 2**20), ('KiB', 2**10)):
        if count >= size:
            return f'{count / size:.1f} {unit}'
    return f'{count} B'
