"""T5X's checkpoints, read and written without T5X.

A checkpoint is a folder `checkpoint_STEP`. In the form that T5X writes since it uses Orbax, all is
below `state/`; in the older form (and with `train.use_orbax=False`) a msgpack file `checkpoint`
names zarr arrays beside it. Both hold the same tree:

    {'target': parameters, 'state': {'step': int, 'param_states': state of the optimizer}}
"""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization
from flax.traverse_util import flatten_dict, unflatten_dict

from vlm.errors import UserError
from vlm.nn.stacks import to_layout
from vlm.runner.state import TrainState, flat_names
from vlm.weights.t5x_checkpoint import read_older_t5x

PyTree = Any
PREFIX = 'checkpoint'


def find_t5x_checkpoint(path: str | Path) -> Path:
    """The folder `checkpoint_STEP` that is meant by itself or by T5X's MODEL_DIR, the last then.

    Raises:
      UserError: there is no complete checkpoint.
    """
    folder = Path(path).expanduser().resolve()
    if folder.name == PREFIX and folder.is_file():
        folder = folder.parent
    if _is_checkpoint(folder):
        return folder
    steps = {}
    for found in folder.glob(f'{PREFIX}_*'):
        number = re.fullmatch(rf'{PREFIX}_(\d+)', found.name)
        if number and _is_checkpoint(found):
            steps[int(number[1])] = found
    if not steps:
        raise UserError(
            f'{path} is no checkpoint of T5X: neither it nor a folder {PREFIX}_STEP in it has a '
            f'folder state/ or a file {PREFIX!r}.'
        )
    return steps[max(steps)]


def _is_checkpoint(folder: Path) -> bool:
    return (folder / 'state' / '_METADATA').is_file() or (folder / PREFIX).is_file()


def read_t5x(folder: Path) -> dict[str, PyTree]:
    """The tree of a checkpoint as numpy arrays, in either form."""
    if (folder / PREFIX).is_file():
        return read_older_t5x(str(folder))
    state = folder / 'state'
    handler = ocp.PyTreeCheckpointHandler()
    with ocp.Checkpointer(handler) as checkpointer:
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(state).tree
        )
        return checkpointer.restore(state, args=ocp.args.PyTreeRestore(restore_args=as_numpy))


def write_t5x(folder: Path, state: TrainState) -> Path:
    """Writes the state into `folder / checkpoint_STEP`, in the Orbax form; returns that path.

    Parameters are the averaged ones where there are; then the optimizer's state, which belongs to
    the others, is left out. Raises `UserError` if the checkpoint exists.
    """
    step = int(state.step)
    target = folder / f'{PREFIX}_{step}'
    if target.exists():
        raise UserError(f'{target} exists: remove it or choose another --output.')
    tree = {'target': state.best_params, 'state': {'step': state.step}}
    if state.ema_params is None:
        tree['state']['param_states'] = _without_empty(state.opt_state)
    options = ocp.CheckpointManagerOptions(step_prefix=PREFIX)
    with ocp.CheckpointManager(folder, options=options) as manager:
        manager.save(step, args=ocp.args.Composite(state=ocp.args.PyTreeSave(tree)))
    return target


def _without_empty(opt_state: PyTree) -> PyTree:
    # As T5X has it: parts of an optimizer without a state leave no trace.
    return unflatten_dict(flatten_dict(serialization.to_state_dict(opt_state)))


def params_of(tree: dict[str, PyTree], like: PyTree) -> PyTree:
    """The parameters of a checkpoint for a model whose parameters are `like` (shapes suffice).

    Unrolled layers are stacked and stacked ones unrolled where `like` has the other.

    Raises:
      UserError: names or shapes that differ; the first three.
    """
    params = to_layout(tree['target'], like)
    there, here = flat_names(params), flat_names(like)
    lines = []
    for name in sorted({*there, *here}):
        shapes = [list(side[name].shape) if name in side else 'absent' for side in (there, here)]
        if shapes[0] != shapes[1]:
            lines.append(f'{name} ({shapes[0]} there, {shapes[1]} here)')
    if lines:
        more = ', ...' if len(lines) > 3 else ''
        raise UserError(
            f'the checkpoint holds another model: {", ".join(lines[:3])}{more}. Give the gin files '
            'it was trained with.'
        )
    return jax.tree.map(lambda leaf, wanted: np.asarray(leaf, wanted.dtype), params, like)


def optimizer_state_of(tree: dict[str, PyTree], like: PyTree) -> PyTree | None:
    """The optimizer's state, or None where another optimizer than that of `like` wrote it."""
    wanted = flatten_dict(serialization.to_state_dict(like), keep_empty_nodes=True)
    found = flatten_dict(tree['state'].get('param_states') or {})
    leaves = {path: leaf for path, leaf in wanted.items() if hasattr(leaf, 'shape')}
    if {p: np.shape(v) for p, v in found.items()} != {p: v.shape for p, v in leaves.items()}:
        return None
    cast = {path: np.asarray(found[path], leaf.dtype) for path, leaf in leaves.items()}
    return serialization.from_state_dict(like, unflatten_dict({**wanted, **cast}))
