"""What a training step changes."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax

PyTree = Any


@flax.struct.dataclass
class TrainState:
    """Step, parameters, optimizer state and, if wanted, averaged parameters."""

    step: Any  # int32[]; in trees like this one also a shape or a sharding
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


def path_name(path: tuple) -> str:
    """'decoder/layers_0/mlp/wi/kernel' of JAX's path to a leaf of a nested dict."""
    return jax.tree_util.keystr(path, simple=True, separator='/')
