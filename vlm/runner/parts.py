"""Parts of a model's parameters: which are kept as they are, and which learn at another rate."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from vlm.model import VisionTextModel
from vlm.nn.vit_config import VitConfig
from vlm.runner.state import path_name

PyTree = Any
Named = Callable[[str], bool]

PARTS = ('vision', 'connector', 'text')


def part_of(name: str) -> str:
    """'vision', 'connector' or 'text', of a parameter's name."""
    first = name.split('/')[0]
    return first if first in PARTS else 'text'


def frozen_parameters(model: VisionTextModel) -> Named:
    """Which parameters are never updated: the vision encoder's, or those of its first blocks."""
    config = model.module.config
    if config.freeze_vision:
        return lambda name: part_of(name) == 'vision'
    return lambda name: part_of(name) == 'vision' and _before(config.vision, name)


def _before(config: VitConfig, name: str) -> bool:
    """Whether a parameter of the vision encoder is used before its first trained block."""
    if not config.frozen_blocks:
        return False
    block = re.match(r'vision/layers_(\d+)/', name)
    if block:
        return int(block[1]) < config.frozen_blocks
    if name.startswith('vision/patch_merger/'):
        return config.patch_merger_after <= config.frozen_blocks
    return not name.startswith('vision/norm/')


def split(params: PyTree, frozen: Named) -> tuple[PyTree, PyTree]:
    """(trained, frozen) parameters: two nested dicts that `joined` makes one again."""
    flat = flatten_dict(params, sep='/')
    return tuple(
        unflatten_dict({k: v for k, v in flat.items() if frozen(k) is kept}, sep='/')
        for kept in (False, True)
    )


def joined(*trees: PyTree) -> PyTree:
    """One nested dict of the leaves of several."""
    flat: dict[str, Any] = {}
    for tree in trees:
        flat |= flatten_dict(tree, sep='/')
    return unflatten_dict(flat, sep='/')


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """`params` with the updates of the trained ones added; the others are the same arrays."""
    return _where_trained(lambda old, update: old + update, params, updates)


def average(averages: PyTree, params: PyTree, decay: float, frozen: Named) -> PyTree:
    """A step of the moving averages; those of frozen parameters stay what they are."""
    return _where_trained(
        lambda old, new: decay * old + (1.0 - decay) * new, averages, split(params, frozen)[0]
    )


def _where_trained(function: Callable, params: PyTree, trained: PyTree) -> PyTree:
    changes = flatten_dict(trained, sep='/')
    flat = flatten_dict(params, sep='/')
    changed = {k: function(v, changes[k]) if k in changes else v for k, v in flat.items()}
    return unflatten_dict(changed, sep='/')


def on_trained(inner: optax.GradientTransformation, frozen: Named) -> optax.GradientTransformation:
    """`inner` for the parameters that are not frozen: the others have no state.

    Takes all parameters, and gradients of the trained ones; returns updates of those.
    """

    def init(params: PyTree) -> optax.OptState:
        return inner.init(split(params, frozen)[0])

    def update(
        gradients: PyTree, state: optax.OptState, params: PyTree
    ) -> tuple[PyTree, optax.OptState]:
        return inner.update(gradients, state, split(params, frozen)[0])

    return optax.GradientTransformation(init, update)


def on_all(inner: optax.GradientTransformation, frozen: Named) -> optax.GradientTransformation:
    """What `on_trained` made, for an engine that has gradients of all parameters.

    Returns updates of all: zeros for the frozen ones.
    """

    def update(
        gradients: PyTree, state: optax.OptState, params: PyTree
    ) -> tuple[PyTree, optax.OptState]:
        updates, state = inner.update(split(gradients, frozen)[0], state, params)
        all_of_them = joined(updates, jax.tree.map(jnp.zeros_like, split(params, frozen)[1]))
        # T5X's trees are flax's FrozenDict; both kinds of dict have their leaves in one order.
        like = jax.tree.structure(gradients)
        return jax.tree.unflatten(like, jax.tree.leaves(all_of_them)), state

    return optax.GradientTransformation(inner.init, update)


def scale_parts(multipliers: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of each part; as updates are linear in the rate, that is its rate."""

    def scale(updates: PyTree, params: PyTree | None = None) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf * multipliers.get(part_of(path_name(path)), 1.0), updates
        )

    return optax.stateless(scale)
