"""What a training step changes."""

from collections.abc import Mapping
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

PyTree = Any


@flax.struct.dataclass
class TrainState:
    """Step, parameters, optimizer state and, if wanted, averaged parameters.

    `step` is int32[]; states of shapes and of shardings have those in its place.
    """

    step: Any
    params: PyTree
    opt_state: PyTree
    ema_params: PyTree | None = None

    @classmethod
    def create(
        cls, params: PyTree, optimizer: optax.GradientTransformation, ema: bool
    ) -> 'TrainState':
        copies = jax.tree.map(jnp.copy, params) if ema else None
        return cls(jnp.zeros((), jnp.int32), params, optimizer.init(params), copies)

    @property
    def best_params(self) -> PyTree:
        """What to evaluate and to serve: the average where there is one."""
        return self.params if self.ema_params is None else self.ema_params


def flat_names(tree: PyTree) -> dict[str, Any]:
    """`{'decoder/layers_0/mlp/wi/kernel': leaf}` of a nested dict."""
    return {path_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The nested dict of `flat_names`."""
    tree: dict[str, Any] = {}
    for name, leaf in flat.items():
        *folders, last = name.split('/')
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
        at[last] = leaf
    return tree


def path_name(path: tuple) -> str:
    """'decoder/layers_0/mlp/wi/kernel' of JAX's path to a leaf of a nested dict."""
    return jax.tree_util.keystr(path, simple=True, separator='/')
