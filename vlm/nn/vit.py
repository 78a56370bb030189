"""Vision Transformer encoder: images in, all visual tokens out (2010.11929, pre-norm)."""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn
from flax.linen.partitioning import param_with_axes, scan_with_axes
from jaxtyping import Array, Float

from vlm.errors import UserError
from vlm.nn.attention import Attention
from vlm.nn.layers import ACTIVATIONS, Dense, Dtype, LayerNorm, Mlp
from vlm.nn.positions import sincos_2d

POSITIONS = ('learned', 'sincos2d')


@dataclasses.dataclass(frozen=True)
class VitConfig:
    """Sizes of a vision encoder. `image_size` is (height, width) in pixels.

    `stem_widths` puts a convolution 3 x 3 of stride 2 for each of its channel counts before the
    patch embedding, which then cuts smaller patches: still one token a `patch_size`, but edges that
    lie across two patches are seen ("Early convolutions help transformers see better", 2106.14881).
    `scan_layers` runs the blocks as one loop over stacked parameters: quick to compile and, on CPU,
    faster: unrolled, XLA fuses the sum of all earlier blocks into every reader of the residual
    stream, at a cost that grows with the square of the depth.
    """

    image_size: tuple[int, int] = (224, 224)
    patch_size: int = 16
    stem_widths: tuple[int, ...] = ()
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    mlp_dim: int = 3072
    activation: str = 'gelu'
    positions: str = 'learned'
    dropout: float = 0.0
    scan_layers: bool = False
    dtype: Dtype = jnp.float32

    def __post_init__(self):
        height, width = self.image_size
        if self.patch_size < 1 or height % self.patch_size or width % self.patch_size:
            fits = [p for p in range(4, 65) if height % p == 0 and width % p == 0]
            raise UserError(
                f'VitConfig.patch_size = {self.patch_size} does not divide the image size '
                f'{height} x {width}. Patch sizes that do: {fits}.'
            )
        if self.patch_size % self.stem_stride:
            raise UserError(
                f'VitConfig.patch_size = {self.patch_size} must be a multiple of '
                f'{self.stem_stride}: each of the {len(self.stem_widths)} stem_widths halves the '
                'image.'
            )
        if self.width % self.num_heads:
            raise UserError(
                f'VitConfig.num_heads = {self.num_heads} does not divide width = {self.width}.'
            )
        if self.positions not in POSITIONS:
            raise UserError(
                f'VitConfig.positions = {self.positions!r} is not one of {", ".join(POSITIONS)}.'
            )
        if self.positions == 'sincos2d' and self.width % 4:
            raise UserError(
                f'VitConfig.width = {self.width} is no multiple of 4, which positions = '
                "'sincos2d' needs."
            )
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f'VitConfig.activation = {self.activation!r} is not one of '
                f'{", ".join(ACTIVATIONS)}.'
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch_size, self.image_size[1] // self.patch_size

    @property
    def stem_stride(self) -> int:
        """Pixels between two positions of what the patch embedding reads."""
        return 2 ** len(self.stem_widths)

    @property
    def num_tokens(self) -> int:
        """Visual tokens of one image."""
        return self.grid[0] * self.grid[1]


class StemConv(nn.Module):
    """A convolution 3 x 3 of stride 2 (one pixel of zeros around), LayerNorm, ReLU."""

    features: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'B H W C']) -> Float[Array, 'B h w D']:
        kernel = param_with_axes(
            'kernel',
            nn.initializers.he_normal(in_axis=(0, 1, 2)),
            (3, 3, x.shape[-1], self.features),
            axes=(None, None, None, 'embed'),
        )
        bias = param_with_axes('bias', nn.initializers.zeros, (self.features,), axes=('embed',))
        y = conv_stride_2(x.astype(self.dtype), kernel.astype(self.dtype))
        y = LayerNorm(dtype=self.dtype, name='norm')(y + bias.astype(self.dtype))
        return nn.relu(y)


def conv_stride_2(
    x: Float[Array, 'B H W C'], kernel: Float[Array, '3 3 C D']
) -> Float[Array, 'B h w D']:
    """The convolution of `StemConv` as one matrix product; H and W are even."""
    # XLA's CPU backend has no fast gradient of a strided convolution.
    height, width = x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [padded[:, i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


class PatchEmbed(nn.Module):
    """Cuts `[B, h, w, C]` into patches and projects each; the kernel is a convolution's, HWIO.

    h and w are those of the image, or of what the stem makes of it.
    """

    config: VitConfig

    @nn.compact
    def __call__(self, images: Float[Array, 'B h w C']) -> Float[Array, 'B P D']:
        cfg, size = self.config, self.config.patch_size // self.config.stem_stride
        batch, channels = images.shape[0], images.shape[-1]
        rows, columns = cfg.grid
        kernel = param_with_axes(
            'kernel',
            nn.initializers.lecun_normal(in_axis=(0, 1, 2)),
            (size, size, channels, cfg.width),
            axes=(None, None, None, 'embed'),
        )
        bias = param_with_axes('bias', nn.initializers.zeros, (cfg.width,), axes=('embed',))
        # A reshape and one matrix product: the same numbers as the strided convolution.
        patches = images.reshape(batch, rows, size, columns, size, channels)
        patches = patches.transpose(0, 1, 3, 2, 4, 5).reshape(batch, rows * columns, -1)
        flat = kernel.reshape(-1, cfg.width).astype(cfg.dtype)
        return patches.astype(cfg.dtype) @ flat + bias.astype(cfg.dtype)


class VitBlock(nn.Module):
    """Pre-norm attention and MLP, with biases."""

    config: VitConfig

    @nn.compact
    def __call__(
        self, x: Float[Array, 'B P D'], deterministic: bool = True
    ) -> tuple[Float[Array, 'B P D'], None]:
        cfg = self.config
        drop = nn.Dropout(cfg.dropout)
        attention = Attention(
            cfg.num_heads, cfg.width // cfg.num_heads, True, dtype=cfg.dtype, name='attention'
        )
        y = LayerNorm(dtype=cfg.dtype, name='attention_norm')(x)
        y = attention(y, attention.keys_values(y))
        x = x + drop(y, deterministic=deterministic)
        y = LayerNorm(dtype=cfg.dtype, name='mlp_norm')(x)
        mlp = Mlp(
            cfg.mlp_dim,
            cfg.activation,
            use_bias=True,
            dropout=cfg.dropout,
            dtype=cfg.dtype,
            name='mlp',
        )
        y = mlp(y, deterministic=deterministic)
        return x + drop(y, deterministic=deterministic), None


def _scanned_blocks(config: VitConfig) -> type[nn.Module]:
    return scan_with_axes(
        VitBlock,
        variable_axes={'params': 0},
        split_rngs={'params': True, 'dropout': True},
        in_axes=nn.broadcast,
        length=config.num_layers,
        axis_name='layers',
    )


class Vit(nn.Module):
    """The encoder: `[B, H, W, 3]` in [-1, 1] to `[B, P, D]`, every token, after the last norm."""

    config: VitConfig

    @nn.compact
    def __call__(
        self, images: Float[Array, 'B H W 3'], deterministic: bool = True
    ) -> Float[Array, 'B P D']:
        cfg = self.config
        if images.shape[1:3] != tuple(cfg.image_size):
            raise UserError(
                f'the images are {images.shape[1]} x {images.shape[2]} pixels, the vision encoder '
                f'is built for {cfg.image_size[0]} x {cfg.image_size[1]} (VitConfig.image_size).'
            )
        for i, features in enumerate(cfg.stem_widths):
            images = StemConv(features, cfg.dtype, name=f'stem_{i}')(images)
        x = PatchEmbed(cfg, name='patch_embed')(images)
        x = x + self._positions().astype(cfg.dtype)
        x = nn.Dropout(cfg.dropout)(x, deterministic=deterministic)
        if cfg.scan_layers:
            x, _ = _scanned_blocks(cfg)(cfg, name='layers')(x, deterministic)
        for i in range(0 if cfg.scan_layers else cfg.num_layers):
            x, _ = VitBlock(cfg, name=f'layers_{i}')(x, deterministic)
        return LayerNorm(dtype=cfg.dtype, name='norm')(x)

    def _positions(self) -> Float[Array, '1 P D']:
        cfg = self.config
        if cfg.positions == 'sincos2d':
            return jnp.asarray(sincos_2d(*cfg.grid, cfg.width))[None]
        table = param_with_axes(
            'position_embedding',
            nn.initializers.normal(cfg.width**-0.5),
            (cfg.num_tokens, cfg.width),
            axes=(None, 'embed'),
        )
        return table[None]


class Connector(nn.Module):
    """One linear layer from the vision width to the text width (PaliGemma, 2407.07726, 3.1)."""

    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, 'B P I']) -> Float[Array, 'B P D']:
        return Dense(self.width, ('embed', None), True, self.dtype, name='projection')(tokens)
