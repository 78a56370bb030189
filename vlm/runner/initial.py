"""Beginning a run with the parameters of another: which fit, which are resampled, which are new."""

import collections
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vlm.errors import UserError
from vlm.nn.flexivit import pi_resize, resample_positions
from vlm.nn.stacks import to_layout
from vlm.nn.vit_config import VitConfig
from vlm.runner.checkpoints import best_params_key, restore_params, saved_shapes
from vlm.runner.model_file import Serving
from vlm.runner.resume import shapes_in_layout
from vlm.runner.run_dir import RunDir, is_run
from vlm.runner.state import PyTree, TrainState, flat_names, nested

POSITIONS, PATCHES = 'vision/position_embedding', 'vision/patch_embed/kernel'
Grid = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a parameter's first value comes from.

    Attributes:
      name: of the parameter here, or there if it is `unused`.
      status: 'restored', 'resampled' (to another grid or patch size), 'new', 'skipped', 'shape
        differs', or 'unused': there, but not here.
      there: its shape there.
      here: its shape here.
    """

    name: str
    status: str
    there: tuple[int, ...] | None = None
    here: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class InitialCheckpoint:
    """The run whose latest parameters (averaged ones, where there are) a new run begins with.

    Attributes:
      path: its run directory; None begins with parameters drawn from the seed. What is no run
        directory is left to `vlm.runner.pretrained`.
      step: of the checkpoint; None for the latest.
      rename: (regular expression, replacement) pairs, applied in order to every name there, as
        `re.sub` does: [('^encoder/', 'vision/')].
      skip: regular expressions; parameters here whose name begins with one stay new.
    """

    path: str | None = None
    step: int | None = None
    rename: Sequence[tuple[str, str]] = ()
    skip: Sequence[str] = ()

    @property
    def is_given(self) -> bool:
        """Whether there is a run to begin with."""
        return self.path is not None and is_run(self.path)

    def plan(self, params: PyTree, vision: VitConfig) -> list[Origin]:
        """What becomes of each parameter, by the headers of the files alone.

        Stacks may be scanned there and unrolled here, or the other way. `params`: shapes here.

        Raises `UserError` if nothing fits, or if a shape differs and `skip` does not name it.
        """
        if not self.is_given:
            return []
        saved = saved_shapes(RunDir.existing(self.path), self.step)[1]
        there = self._renamed(saved[best_params_key(saved)])
        there = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), there)
        there = {k: v.shape for k, v in flat_names(shapes_in_layout(there, params)).items()}
        here = {name: leaf.shape for name, leaf in flat_names(params).items()}
        rows = [self._origin(name, there.get(name), shape) for name, shape in here.items()]
        rows += [Origin(name, 'unused', shape) for name, shape in there.items() if name not in here]
        self._check(rows)
        return rows

    def _renamed(self, params: PyTree) -> PyTree:
        flat = flat_names(params)
        for pattern, replacement in self.rename:
            try:
                renamed = {re.sub(pattern, replacement, name): leaf for name, leaf in flat.items()}
            except re.error as error:
                raise UserError(f'InitialCheckpoint.rename: {pattern!r}: {error}.') from error
            if len(renamed) < len(flat):
                raise UserError(f'InitialCheckpoint.rename: {pattern!r} gives two the same name.')
            flat = renamed
        return nested(flat)

    def _origin(self, name: str, there: tuple[int, ...] | None, here: tuple[int, ...]) -> Origin:
        if any(re.match(pattern, name) for pattern in self.skip):
            status = 'skipped'
        elif there is None:
            status = 'new'
        elif there == here:
            status = 'restored'
        elif _can_resample(name, there, here):
            status = 'resampled'
        else:
            status = 'shape differs'
        return Origin(name, status, there, here)

    def _check(self, rows: Sequence[Origin]) -> None:
        differing = [row for row in rows if row.status == 'shape differs']
        if differing:
            named = ', '.join(f'{r.name} ({r.there} there, {r.here} here)' for r in differing[:3])
            raise UserError(
                f'INITIAL_CHECKPOINT_PATH {self.path}: other shapes: {named}'
                f'{", ..." if len(differing) > 3 else ""}. To begin with new ones, name them: '
                f'--gin.initial.InitialCheckpoint.skip="[\'{differing[0].name}\']"'
            )
        if not any(row.status in ('restored', 'resampled') for row in rows):
            known = sorted({row.name for row in rows if row.status == 'unused'})[:3]
            raise UserError(
                f'INITIAL_CHECKPOINT_PATH {self.path}: no parameter there has a name that this '
                f'model has (there: {", ".join(known)}, ...): see InitialCheckpoint.rename.'
            )

    def load_into(
        self, state: TrainState, vision: VitConfig, make_state: Callable[[PyTree], TrainState]
    ) -> TrainState:
        """The state with the parameters of `plan` in place, where and how `state` has them."""
        if not self.is_given:
            return state
        wanted = {
            row.name
            for row in self.plan(state.params, vision)
            if row.status in ('restored', 'resampled')
        }
        run = RunDir.existing(self.path)
        there = flat_names(
            to_layout(self._renamed(restore_params(run, self.step, on_host=True)[1]), state.params)
        )

        def value(name: str, mine: jax.Array) -> jax.Array:
            if name not in wanted:
                return mine
            fitted = _fitted(name, there[name], mine.shape, run, vision)
            return jax.device_put(np.asarray(fitted, mine.dtype), mine.sharding)

        params = nested(
            {name: value(name, mine) for name, mine in flat_names(state.params).items()}
        )
        places = jax.tree.map(lambda leaf: leaf.sharding, state)
        return jax.jit(make_state, out_shardings=places)(params)


def _can_resample(name: str, there: tuple[int, ...], here: tuple[int, ...]) -> bool:
    same_features = len(there) == len(here) and there[-1] == here[-1]
    return same_features and (
        name == POSITIONS or (name == PATCHES and there[2] == here[2])  # [h, w, C, D]
    )


def _fitted(name: str, value: Any, shape: tuple[int, ...], run: RunDir, vision: VitConfig) -> Any:
    """A value of `run` in this shape."""
    if value.shape == shape:
        return value
    if name == PATCHES:
        return pi_resize(value, shape[:2])
    rows, columns = _stored_grid(run)
    if rows * columns != len(value):
        raise UserError(f'{name}: {len(value)} positions there are no grid of {rows} x {columns}.')
    table = jnp.asarray(value).reshape(rows, columns, -1)
    return resample_positions(table, vision.position_grid or vision.grid).reshape(shape)


def _stored_grid(run: RunDir) -> Grid:
    there = Serving.from_json(run.read_json(run.model)).network.vision
    return tuple(there.position_grid or there.grid)


def as_rows(origins: Sequence[Origin]) -> list[dict[str, Any]]:
    """Origins for `initial_checkpoint.json`."""
    return [dataclasses.asdict(origin) for origin in origins]


def summary_rows(origins: Sequence[Origin]) -> list[tuple[str, str, str]]:
    """(status, how many parameters, which) for a table; layers of a stack are told as one."""
    groups: dict[str, collections.Counter] = {}
    for origin in origins:
        name = re.sub(r'layers_\d+', 'layers_*', origin.name)
        if origin.status == 'restored':
            name = '/'.join(name.split('/')[:1])
        elif origin.status in ('resampled', 'shape differs'):
            name = f'{name} {origin.there} -> {origin.here}'
        groups.setdefault(origin.status, collections.Counter())[name] += 1
    return [
        (status, f'{sum(names.values()):,}', ', '.join(sorted(names)))
        for status, names in sorted(groups.items())
    ]
