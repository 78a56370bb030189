"""Stacks of equal blocks: unrolled or as one loop, with activations kept or computed again."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.partitioning import scan_with_axes

from vlm.errors import unknown_name

PyTree = Any

# What of a block is kept for the backward pass; the rest is computed again there.
REMAT: dict[str, Callable[..., bool]] = {
    'full': jax.checkpoint_policies.nothing_saveable,
    'dots': jax.checkpoint_policies.dots_saveable,
    'dots_no_batch': jax.checkpoint_policies.dots_with_no_batch_dims_saveable,
}
REMAT_CHOICES = ('none', *REMAT)


def check_remat(remat: str, where: str) -> None:
    """Raises `UserError` for a policy that is none."""
    if remat not in REMAT_CHOICES:
        raise unknown_name('rematerialisation', remat, REMAT_CHOICES, where)


def rematerialised(
    block: type[nn.Module], remat: str, *, scanned: bool, deterministic: int
) -> type[nn.Module]:
    """The block with a policy of `REMAT`; 'none' keeps all activations.

    `deterministic` is the place of that argument in its call, self being 0.
    """
    if remat == 'none':
        return block
    # A loop keeps XLA from undoing the rematerialisation by itself.
    return nn.remat(
        block, prevent_cse=not scanned, policy=REMAT[remat], static_argnums=(deterministic,)
    )


def scanned(block: type[nn.Module], length: int, in_axes: Any) -> type[nn.Module]:
    """`length` blocks as one loop over parameters stacked on a first axis named 'layers'.

    The block's call takes the carry and arguments of `in_axes` (0: one for each layer, stacked;
    `nn.broadcast`: the same for all) and returns the carry and an output for each layer.
    """
    return scan_with_axes(
        block,
        variable_axes={'params': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=in_axes,
        length=length,
        axis_name='layers',
    )


def to_layout(params: PyTree, like: PyTree) -> PyTree:
    """Parameters of stacks, unrolled or scanned, in the layout that `like` has.

    Unrolled blocks are `layers_0`, `layers_1`, ...; scanned ones one tree, `layers`, whose leaves
    are stacked on a first axis. Other names are left as they are. Of `like` only names are read.
    """
    if not isinstance(params, Mapping) or not isinstance(like, Mapping):
        return params
    params = dict(params)
    if 'layers' in like and 'layers_0' in params:
        names = [f'layers_{i}' for i in range(sum(n.startswith('layers_') for n in params))]
        blocks = [params.pop(name) for name in names]
        params['layers'] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)
    elif 'layers_0' in like and 'layers' in params:
        stack = params.pop('layers')
        for i in range(len(jax.tree.leaves(stack)[0])):
            params[f'layers_{i}'] = jax.tree.map(lambda leaf, i=i: leaf[i], stack)
    return {name: to_layout(part, like.get(name)) for name, part in params.items()}
