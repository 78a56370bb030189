"""Carries a plan out: one tensor at a time from the checkpoint to the devices."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from vlm.nn.network import NetworkConfig
from vlm.weights.fitting import fit
from vlm.weights.plan import Piece, Plan

PyTree = Any
TILE = 128


def load(params: PyTree, plan: Plan, config: NetworkConfig) -> PyTree:
    """Returns the parameters with those of the plan restored, placed as they were.

    On the host there is never more than one parameter beside what `params` takes itself.

    Args:
      params: a nested dict of arrays, or of shapes with shardings. Arrays that are replaced are
        deleted, so that there are never two copies on the devices.
      plan: of `vlm.weights.plan.make_plan`, for the same network.
      config: of the network.

    Raises:
      UserError: a tensor turns out to be damaged.
    """
    grid = config.vision.position_grid or config.vision.grid

    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    names = [jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in leaves]
    values = [leaf for _, leaf in leaves]
    for i in sorted(range(len(names)), key=lambda i: _turn(plan, names[i])):
        if names[i] in plan.restored:
            value = _value(names[i], values[i], plan, grid)
            if isinstance(values[i], jax.Array):
                values[i].delete()
            values[i] = jax.device_put(value, values[i].sharding)
    return jax.tree.unflatten(tree, values)


def _turn(plan: Plan, name: str) -> str:
    """The layers of a stacked tensor come one after the other, so that it is read once."""
    pieces = plan.restored.get(name, ())
    return re.sub(r'\d+', '', ' '.join(pieces[0].sources)) if pieces else ''


def _value(name: str, leaf: Any, plan: Plan, grid: tuple[int, int]) -> np.ndarray:
    pieces = plan.restored[name]
    if '/layers/' not in name:
        return _made(name, pieces[0], leaf.shape, leaf.dtype, plan, grid)
    stack = np.empty(leaf.shape, leaf.dtype)
    for layer, piece in zip(stack, pieces, strict=True):
        layer[...] = _made(name, piece, layer.shape, leaf.dtype, plan, grid)
    return stack


def _made(
    name: str,
    piece: Piece,
    shape: tuple[int, ...],
    dtype: np.dtype,
    plan: Plan,
    grid: tuple[int, int],
) -> np.ndarray:
    tensors = [plan.source.read(each) for each in piece.sources]
    # Half-precision sources are exact in float32, and sums of two tensors are taken there.
    made = piece.row.how(*(np.asarray(each, np.float32) for each in tensors))
    return _contiguous(fit(name, np.asarray(made), shape, grid), dtype)


def _contiguous(array: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The array in C order.

    A linear layer of PyTorch comes transposed. Copied whole it misses the cache at every number; in
    tiles it does not.
    """
    if array.ndim != 2 or not array.flags.f_contiguous or array.size <= TILE**2:
        return np.ascontiguousarray(array, dtype)
    copy = np.empty(array.shape, dtype)
    for i in range(0, array.shape[0], TILE):
        for j in range(0, array.shape[1], TILE):
            copy[i : i + TILE, j : j + TILE] = array[i : i + TILE, j : j + TILE]
    return copy


def summary(plan: Plan) -> Mapping[str, Any]:
    """The plan as plain data: what was restored, resized, new and unused, each tensor named."""
    restored, resized = {}, {}
    for name, pieces in plan.restored.items():
        sources = [source for piece in pieces for source in piece.sources]
        fitted = pieces[0].fitted_from
        if fitted is None:
            restored[name] = sources
        else:
            resized[name] = {'from': sources, 'shape': list(fitted)}
    return {
        'path': plan.source.path,
        'format': plan.title,
        'restored': restored,
        'resized': resized,
        'new': list(plan.new),
        'unused': list(plan.unused),
    }
