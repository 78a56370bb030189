"""Position information: sin-cos grids for images; relative buckets and rotations for text."""

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float, Int

from vlm.nn.parameters import parameter


def sincos_2d(height: int, width: int, features: int) -> Float[np.ndarray, 'P D']:
    """Fixed 2-D sine-cosine embedding of a `height x width` grid, rows first (MoCo v3, 2104.02057).

    The first half of the features encodes x, the second y; `features` is a multiple of 4.
    """
    quarter = features // 4
    frequency = 1.0 / (10_000.0 ** (np.arange(quarter) / max(quarter - 1, 1)))
    y, x = np.mgrid[:height, :width]
    angle_y = y.reshape(-1, 1) * frequency
    angle_x = x.reshape(-1, 1) * frequency
    parts = [np.sin(angle_x), np.cos(angle_x), np.sin(angle_y), np.cos(angle_y)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def relative_bucket(
    relative: Int[Array, '*R T S'], *, bidirectional: bool, buckets: int, max_distance: int
) -> Int[Array, '*R T S']:
    """T5's bucket of `key position - query position` (1910.10683, 2.1).

    Half the buckets are exact distances, the rest grow logarithmically up to `max_distance`, beyond
    which all share the last. `bidirectional` gives keys ahead of the query their own half.
    """
    offset = jnp.zeros_like(relative)
    distance = -relative
    if bidirectional:
        buckets //= 2
        offset = jnp.where(distance < 0, buckets, 0)
        distance = jnp.abs(distance)
    else:
        distance = jnp.maximum(distance, 0)
    exact = buckets // 2
    # log of 0 is never used: distances below `exact` take the other branch.
    log_ratio = jnp.log(jnp.maximum(distance, 1) / exact) / np.log(max_distance / exact)
    far = exact + (log_ratio * (buckets - exact)).astype(jnp.int32)
    return offset + jnp.where(distance < exact, distance, jnp.minimum(far, buckets - 1))


def rotary(
    x: Float[Array, 'B T A K'], positions: Int[Array, '#B T'], wavelength: float = 10_000.0
) -> Float[Array, 'B T A K']:
    """Rotates features i and i + K/2 of a head by position * wavelength**(-2i/K) (2104.09864).

    The dot product of two rotated vectors depends on the distance of their positions alone. The
    halves are paired as in GPT-NeoX and Gemma, not neighbours as in the paper.
    """
    half = x.shape[-1] // 2
    frequency = wavelength ** -(jnp.arange(half) / half)
    angle = positions[..., None, None] * frequency  # [B, T, 1, K/2]
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return rotated.astype(x.dtype)


class RelativeBias(nn.Module):
    """A learned bias per head and bucket, shared by all layers of a stack.

    Takes query and key positions: one row where every row of a batch has the same distances (R is
    1), or one for each (R is B).
    """

    num_heads: int
    bidirectional: bool
    buckets: int = 32
    max_distance: int = 128

    @nn.compact
    def __call__(self, query: Int[Array, 'R T'], key: Int[Array, 'R S']) -> Float[Array, 'R A T S']:
        table = parameter(
            self,
            'rel_embedding',
            nn.initializers.variance_scaling(1.0, 'fan_avg', 'uniform'),
            (self.num_heads, self.buckets),
            axes=('heads', 'relpos_buckets'),
        )
        bucket = relative_bucket(
            key[:, None, :] - query[:, :, None],
            bidirectional=self.bidirectional,
            buckets=self.buckets,
            max_distance=self.max_distance,
        )
        return jnp.moveaxis(jnp.take(table, bucket, axis=1), 0, 1)
