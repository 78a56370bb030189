"""From pixels to tokens: an optional convolutional stem and the patch embedding."""

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vlm.nn.flexivit import pi_resize
from vlm.nn.layers import Dtype, LayerNorm
from vlm.nn.parameters import parameter
from vlm.nn.vit_config import VitConfig


class Stem(nn.Module):
    """`[B, H, W, C]` to `[B, h, w, D]`: convolutions that halve the picture, then residual ones."""

    config: VitConfig

    @nn.compact
    def __call__(self, x: Float[Array, 'B H W C']) -> Float[Array, 'B h w D']:
        cfg = self.config
        for i, features in enumerate(cfg.stem_widths):
            x = StemConv(features, dtype=cfg.dtype, name=f'halve_{i}')(x)
        for i in range(cfg.stem_blocks):
            x = x + StemConv(x.shape[-1], stride=1, dtype=cfg.dtype, name=f'block_{i}')(x)
        return x


class StemConv(nn.Module):
    """A convolution 3 x 3 (one pixel of zeros around), LayerNorm, ReLU."""

    features: int
    stride: int = 2
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'B H W C']) -> Float[Array, 'B h w D']:
        kernel = parameter(
            self,
            'kernel',
            nn.initializers.he_normal(in_axis=(0, 1, 2)),
            (3, 3, x.shape[-1], self.features),
            axes=(None, None, None, 'embed'),
        )
        bias = parameter(self, 'bias', nn.initializers.zeros, (self.features,), axes=('embed',))
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.stride)
        y = LayerNorm(dtype=self.dtype, name='norm')(y + bias.astype(self.dtype))
        return nn.relu(y)


def convolve(
    x: Float[Array, 'B H W C'], kernel: Float[Array, '3 3 C D'], stride: int
) -> Float[Array, 'B h w D']:
    """The convolution of `StemConv` as one matrix product; `stride` divides H and W."""
    # XLA's CPU backend has no fast gradient of a strided convolution.
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, i : i + height : stride, j : j + width : stride]
        for i in range(3)
        for j in range(3)
    ]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


class PatchEmbed(nn.Module):
    """Cuts `[B, h, w, C]` into patches and projects each; the kernel is a convolution's, HWIO.

    h and w are those of the image, or of what the stem makes of it. A kernel stored at another
    patch size is resized to the one asked for.
    """

    config: VitConfig

    @nn.compact
    def __call__(self, images: Float[Array, 'B h w C']) -> Float[Array, 'B P D']:
        cfg = self.config
        base, size = (
            p // cfg.stem_stride for p in (cfg.base_patch_size or cfg.patch_size, cfg.patch_size)
        )
        batch, channels = images.shape[0], images.shape[-1]
        rows, columns = cfg.grid
        kernel = parameter(
            self,
            'kernel',
            nn.initializers.lecun_normal(in_axis=(0, 1, 2)),
            (base, base, channels, cfg.width),
            axes=(None, None, None, 'embed'),
        )
        bias = parameter(self, 'bias', nn.initializers.zeros, (cfg.width,), axes=('embed',))
        # A reshape and one matrix product: the same numbers as the strided convolution.
        patches = images.reshape(batch, rows, size, columns, size, channels)
        patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)
        flat = pi_resize(kernel, (size, size)).reshape(-1, cfg.width).astype(cfg.dtype)
        return patches.astype(cfg.dtype) @ flat + bias.astype(cfg.dtype)
