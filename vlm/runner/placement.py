"""Where a training state lives: parameters by their axis names, optimizer states beside them."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.linen import partitioning
from jax.sharding import NamedSharding
from jaxtyping import Array

from vlm.model import VisionTextModel
from vlm.runner.mesh import DataMesh
from vlm.runner.state import flat_names, path_name

PyTree = Any
Axes = dict[str, tuple[str | None, ...]]


def shapes_and_axes(
    model: VisionTextModel, shapes: Mapping[str, tuple[int, ...]]
) -> tuple[PyTree, Axes]:
    """Shapes of the parameters, and logical axis names by name of parameter; computes nothing."""
    found: list[PyTree] = []

    def init(rng: Array) -> PyTree:
        variables = model.get_initial_variables(rng, shapes)
        found.append(partitioning.get_axis_names(variables['params_axes']))
        return variables['params']

    params = jax.eval_shape(init, jax.random.key(0))
    # Specs are leaves, so that a name is the parameter's.
    leaves = jax.tree_util.tree_leaves_with_path(
        found[0], is_leaf=lambda leaf: isinstance(leaf, jax.sharding.PartitionSpec)
    )
    return params, {path_name(path): tuple(names) for path, names in leaves}


def shardings(tree: PyTree, axes: Axes, mesh: DataMesh) -> PyTree:
    """The sharding of every leaf of a training state, of parameters, or of anything like them.

    A leaf is placed like the parameter whose name ends its path, if it has as many axes: so are an
    optimizer's moments ('opt_state/0/mu/vision/norm/scale') and averages. Others (counters,
    Adafactor's factored moments, which are small) are on every device.
    """

    def place(path: tuple, leaf: Any) -> NamedSharding:
        words = path_name(path).split('/')
        for start in range(len(words)):
            names = axes.get('/'.join(words[start:]))
            if names is not None and len(names) == len(leaf.shape):
                return mesh.sharding(names, leaf.shape)
        return mesh.replicated

    return jax.tree_util.tree_map_with_path(place, tree)


def place_parameters(params: PyTree, axes: Axes, mesh: DataMesh) -> PyTree:
    """Parameters that every process holds whole, each where it is to live."""
    whole = jax.tree.map(np.asarray, params)
    return jax.tree.map(jax.device_put, whole, shardings(params, axes, mesh))


def with_shardings(shapes: PyTree, places: PyTree) -> PyTree:
    """Shapes that say where each array is to live."""
    return jax.tree.map(
        lambda leaf, place: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place),
        shapes,
        places,
    )


def shardings_of(tree: PyTree) -> PyTree:
    """Where the arrays of a tree live, or are to live."""
    return jax.tree.map(lambda leaf: leaf.sharding, tree)


def undivided(params: PyTree, axes: Axes, mesh: DataMesh) -> dict[str, str]:
    """Parameters that a rule would split but their size forbids, and why."""
    told = {}
    for name, leaf in flat_names(params).items():
        if parts := mesh.undivided(axes[name], leaf.shape):
            told[name] = ', '.join(parts)
    return told
