"""Whether a run directory can be gone on from, decided before anything in it is written."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from vlm.errors import UserError
from vlm.nn.stacks import to_layout
from vlm.runner.checkpoints import Checkpoints, latest_step, saved_shapes
from vlm.runner.model_file import parameter_shapes
from vlm.runner.run_dir import RunDir
from vlm.runner.state import PyTree, TrainState, flat_names, nested

MakeState = Callable[[PyTree], TrainState]
SHOWN_CHANGES = 6


def check_architecture(run: RunDir, params: PyTree) -> None:
    """Raises `UserError` if the run directory holds a model with other parameters.

    `params`: shapes are enough. Stacks may be scanned there and unrolled here, or the other way.
    Names the first three parameters that differ.
    """
    saved = (run.read_json(run.model) or {}).get('parameters')
    if saved is None:
        return
    shapes = {name: jax.ShapeDtypeStruct(tuple(shape), 'float32') for name, shape in saved.items()}
    saved = parameter_shapes(shapes_in_layout(nested(shapes), params))
    ours = parameter_shapes(params)
    differing = [name for name in sorted({*saved, *ours}) if saved.get(name) != ours.get(name)]
    if differing:
        raise UserError(
            f'MODEL_DIR {run.path} holds another architecture: '
            f'{_differences(differing, saved, ours)}. Choose another MODEL_DIR.'
        )


def check_training(run: RunDir, make_state: MakeState, vocabulary: bytes) -> None:
    """Raises `UserError` if the latest checkpoint is of another optimizer or vocabulary.

    `make_state` makes the state of a run that begins with some parameters; it is not run.
    """
    if latest_step(run) is None:
        return
    if run.vocabulary.exists() and run.vocabulary.read_bytes() != vocabulary:
        raise UserError(
            f'MODEL_DIR {run.path} was trained with another vocabulary: its ids would mean other '
            f'words. Leave VOCABULARY as it was or choose another MODEL_DIR.'
        )
    step, saved = saved_shapes(run)
    state = jax.eval_shape(make_state, _as_shapes(saved['params']))
    if (saved['ema_params'] is None) != (state.ema_params is None):
        there, here = ('no average', 'one') if saved['ema_params'] is None else ('one', 'none')
        raise UserError(
            f'MODEL_DIR {run.path} stands at step {step} with {there} of its parameters '
            f'(Optimizer.ema_decay), this configuration has {here}: keep it or choose another '
            'MODEL_DIR.'
        )
    there, here = _shapes_by_name(saved['opt_state']), _shapes_by_name(state.opt_state)
    differing = [name for name in sorted({*there, *here}) if there.get(name) != here.get(name)]
    if differing:
        raise UserError(
            f'MODEL_DIR {run.path} stands at step {step} with the state of another optimizer: '
            f'{_differences(differing, there, here)}. Keep that one or choose another MODEL_DIR.'
        )


def _differences(names: list[str], there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    lines = [
        f'{name} ({there.get(name, "absent")} there, {here.get(name, "absent")} here)'
        for name in names[:3]
    ]
    return ', '.join(lines) + (', ...' if len(names) > 3 else '')


def _as_shapes(saved: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), saved)


def _shapes_by_name(tree: PyTree) -> dict[str, list[int]]:
    # Orbax describes named tuples as dictionaries; by names, both are the same.
    return {name: list(leaf.shape) for name, leaf in flat_names(tree).items()}


def changed_settings(run: RunDir, config: str) -> str:
    """What `config`, a gin text, sets otherwise than config.gin, in one line; '' for nothing."""
    if not run.config.exists():
        return ''
    before, now = _settings(run.config.read_text()), _settings(config)
    names = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    changes = [
        f'{name} = {now.get(name, "unset")} (was {before.get(name, "unset")})'
        for name in names
        if name not in ('MODEL_DIR', 'VOCABULARY')  # the folder may have been moved
    ]
    more = f' and {len(changes) - SHOWN_CHANGES} more' if len(changes) > SHOWN_CHANGES else ''
    return ', '.join(changes[:SHOWN_CHANGES]) + more


def _settings(text: str) -> dict[str, str]:
    """'NAME = VALUE' lines of what gin writes; the rest of a long value is indented."""
    settings: dict[str, str] = {}
    name = ''
    for line in text.splitlines():
        if line[:1].isspace():
            settings[name] = f'{settings.get(name, "")} {line.strip()}'.strip()
        elif not line.startswith('#') and '=' in line:
            name, _, value = (part.strip() for part in line.partition('='))
            settings[name] = value.removesuffix('\\').strip()
    return settings


def restore_state(
    checkpoints: Checkpoints, run: RunDir, like: TrainState, make_state: MakeState
) -> TrainState:
    """The latest state, placed like `like`, its stacks in the layout that they have there."""
    saved = _as_shapes(saved_shapes(run)[1]['params'])
    if set(flat_names(saved)) == set(flat_names(like.params)):
        return checkpoints.restore(like)
    # Every device holds all of it for a moment.
    place = like.step.sharding
    there = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        jax.eval_shape(make_state, saved),
    )
    names = jax.eval_shape(lambda state: state, like)
    move = jax.jit(
        lambda state: state_in_layout(state, names),
        out_shardings=jax.tree.map(lambda leaf: leaf.sharding, like),
    )
    return move(checkpoints.restore(there))


def shapes_in_layout(params: PyTree, like: PyTree) -> PyTree:
    """Shapes of `to_layout(params, like)`."""
    return jax.eval_shape(lambda tree: to_layout(tree, like), params)


def state_in_layout(state: TrainState, like: TrainState) -> TrainState:
    """The state with all its trees of parameters, those of the optimizer too, laid out anew."""
    parts = ('params', 'opt_state', 'ema_params')
    moved = {name: _in_layout(getattr(state, name), getattr(like, name)) for name in parts}
    return state.replace(**moved)


def _in_layout(tree: PyTree, like: PyTree) -> PyTree:
    if not jax.tree.leaves(tree):  # nothing is kept of these parameters, in either layout
        return like
    if isinstance(tree, Mapping):
        kept = {name: part for name, part in tree.items() if jax.tree.leaves(part)}
        moved = kept if set(kept) <= set(like) else to_layout(kept, like)
        return {
            name: _in_layout(moved[name], part) if name in moved else part
            for name, part in like.items()
        }
    if isinstance(tree, tuple):
        parts = [_in_layout(*pair) for pair in zip(tree, like, strict=True)]
        return type(tree)(*parts) if hasattr(tree, '_fields') else tuple(parts)
    return tree
