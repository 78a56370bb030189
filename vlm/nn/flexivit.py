"""Parameters of a ViT at another patch size or grid (FlexiViT, 2212.08013).

Pure functions, for a checkpoint that is loaded into another model and for every step of one that
changes its patch size as it trains.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def bilinear_matrix(old: int, new: int) -> Float[np.ndarray, '{new} {old}']:
    """The matrix that resizes `old` samples to `new`: centres at half pixels, no antialiasing."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    # Each sample is a hat of half-width 1; beyond the outermost centres the edge is repeated.
    distance = np.abs(np.clip(at, 0, old - 1)[:, None] - np.arange(old))
    return np.maximum(0.0, 1.0 - distance)


def pi_resize(
    kernel: Float[Array | np.ndarray, 'h w C D'], size: tuple[int, int]
) -> Float[Array | np.ndarray, 'H W C D']:
    """Resizes a patch embedding's kernel by the pseudo-inverse (PI-resize).

    With B the bilinear resizing of patches, it is pinv(B^T) w, for every channel and feature: a
    patch x enlarged has the same embedding as before, <x, w> = <B x, w_new>, exactly. For a smaller
    `size` no kernel can do that for all patches; this one is the closest in the mean over white
    noise.
    """
    if tuple(kernel.shape[:2]) == tuple(size):
        return kernel
    # B is the Kronecker product of a matrix for rows and one for columns, and so is its inverse.
    rows, columns = (
        np.linalg.pinv(bilinear_matrix(old, new).T)
        for old, new in zip(kernel.shape[:2], size, strict=True)
    )
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum('Hh,Ww,hwCD->HWCD', rows, columns, kernel, precision=highest)


def resample_positions(
    table: Float[Array | np.ndarray, 'h w D'], grid: tuple[int, int]
) -> Float[Array | np.ndarray, 'H W D']:
    """Resamples learned positions to `grid`, (rows, columns): bilinear, antialiased if smaller."""
    if tuple(table.shape[:2]) == tuple(grid):
        return table
    return jax.image.resize(table, (*grid, table.shape[-1]), 'bilinear')
