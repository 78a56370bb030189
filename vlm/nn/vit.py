"""Vision Transformer encoder: images in, all visual tokens out (2010.11929, pre-norm)."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from vlm.errors import UserError
from vlm.nn.attention import Attention
from vlm.nn.flexivit import resample_positions
from vlm.nn.layers import NORMS, Dense, Dtype, Mlp, placed
from vlm.nn.moe import MoeMlp
from vlm.nn.parameters import parameter
from vlm.nn.patch_merger import PatchMerger
from vlm.nn.patches import PatchEmbed, Stem
from vlm.nn.positions import sincos_2d
from vlm.nn.stacks import rematerialised, scanned
from vlm.nn.vit_config import VitConfig


class DropPath(nn.Module):
    """Stochastic depth: leaves a residual branch out for whole images (1603.09382).

    What stays is divided by the share that does, so that evaluation needs no scaling.
    """

    @nn.compact
    def __call__(
        self, y: Float[Array, 'B P D'], rate: Float[Array, ''] | float
    ) -> Float[Array, 'B P D']:
        stays = 1.0 - rate
        kept = jax.random.bernoulli(self.make_rng('dropout'), stays, (len(y), 1, 1))
        return jnp.where(kept, y / stays, 0.0).astype(y.dtype)


def block_norm(cfg: VitConfig, name: str) -> nn.Module:
    """The norm that all blocks use."""
    return NORMS[cfg.norm](epsilon=cfg.norm_epsilon, dtype=cfg.dtype, name=name)


class VitBlock(nn.Module):
    """Pre-norm attention and MLP (or experts), one after the other or side by side."""

    config: VitConfig
    experts: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'B P D'],
        deterministic: bool = True,
        drop_path: Float[Array, ''] | float = 0.0,
    ) -> tuple[Float[Array, 'B P D'], None]:
        cfg = self.config
        dropout = nn.Dropout(cfg.dropout)

        def drop(y: Float[Array, 'B P D']) -> Float[Array, 'B P D']:
            y = dropout(y, deterministic=deterministic)
            # Asked of the configuration: in a scanned stack the rate is an array.
            return DropPath()(y, drop_path) if cfg.drop_path and not deterministic else y

        def norm(name: str) -> Float[Array, 'B P D']:
            return block_norm(cfg, name)(x)

        if cfg.parallel_blocks:
            y = norm('norm')
            x = x + drop(self._attention(y) + self._mlp(y, deterministic))
            return placed(x, 'batch', 'length', 'embed'), None
        x = x + drop(self._attention(norm('attention_norm')))
        x = x + drop(self._mlp(norm('mlp_norm'), deterministic))
        return placed(x, 'batch', 'length', 'embed'), None

    def _attention(self, y: Float[Array, 'B P D']) -> Float[Array, 'B P D']:
        cfg = self.config
        attention = Attention(
            cfg.num_heads,
            cfg.width // cfg.num_heads,
            cfg.use_bias,
            dtype=cfg.dtype,
            qkv_bias=cfg.qkv_bias,
            qk_norm=cfg.norm if cfg.qk_norm else None,
            scaled=cfg.scaled_attention,
            name='attention',
        )
        return attention(y, attention.keys_values(y))

    def _mlp(self, y: Float[Array, 'B P D'], deterministic: bool) -> Float[Array, 'B P D']:
        cfg = self.config
        if self.experts:
            return MoeMlp(cfg, name='moe')(y, deterministic=deterministic)
        mlp = Mlp(
            cfg.mlp_dim,
            cfg.activation,
            gated=cfg.gated_mlp,
            use_bias=cfg.use_bias,
            dropout=cfg.dropout,
            dtype=cfg.dtype,
            name='mlp',
        )
        return mlp(y, deterministic=deterministic)


def standardized(images: Float[Array, 'B H W 3']) -> Float[Array, 'B H W 3']:
    """Each image of [-1, 1] with mean 0 and variance 1; an image of one colour becomes 0.

    The least standard deviation, for that case, is that of TensorFlow's `per_image_standardization`
    for pixels 0 .. 255, which Pix2Struct was trained with.
    """
    axes = (1, 2, 3)
    least = 1.0 / (127.5 * np.sqrt(np.prod(images.shape[1:])))
    spread = jnp.maximum(jnp.std(images, axes, keepdims=True), least)
    return (images - jnp.mean(images, axes, keepdims=True)) / spread


class Vit(nn.Module):
    """The encoder: `[B, H, W, 3]` in [-1, 1] to `[B, P, D]`, every token, after the last norm.

    P is `VitConfig.num_tokens`: the patches, row by row, or what they were merged into.
    """

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
        if cfg.standardize_pixels:
            images = standardized(images)
        if cfg.stem_widths:
            images = Stem(cfg, name='stem')(images)
        x = PatchEmbed(cfg, name='patch_embed')(images)
        x = x + self._positions().astype(cfg.dtype)
        x = self._with_registers(x)
        if cfg.pre_norm:
            x = block_norm(cfg, 'pre_norm')(x)
        x = placed(x, 'batch', 'length', 'embed')
        x = nn.Dropout(cfg.dropout)(x, deterministic=deterministic)
        x = self._blocks(x, deterministic)[:, : cfg.num_tokens]
        return block_norm(cfg, 'norm')(x)

    def _positions(self) -> Float[Array, '1 P D']:
        cfg = self.config
        if cfg.positions == 'sincos2d':
            return jnp.asarray(sincos_2d(*cfg.grid, cfg.width))[None]
        if cfg.positions == 'rows_columns':
            row, column = (
                parameter(
                    self,
                    name,
                    nn.initializers.normal(cfg.width**-0.5),
                    (size, cfg.width),
                    axes=(None, 'embed'),
                )
                for name, size in zip(('row_embedding', 'column_embedding'), cfg.grid, strict=True)
            )
            return (row[:, None] + column[None]).reshape(1, cfg.num_patches, cfg.width)
        rows, columns = cfg.position_grid or cfg.grid
        table = parameter(
            self,
            'position_embedding',
            nn.initializers.normal(cfg.width**-0.5),
            (rows * columns, cfg.width),
            axes=(None, 'embed'),
        )
        table = resample_positions(table.reshape(rows, columns, cfg.width), cfg.grid)
        return table.reshape(1, cfg.num_patches, cfg.width)

    def _with_registers(self, x: Float[Array, 'B P D']) -> Float[Array, 'B Q D']:
        cfg = self.config
        if not cfg.num_registers:
            return x
        registers = parameter(
            self,
            'registers',
            nn.initializers.normal(0.02),
            (cfg.num_registers, cfg.width),
            axes=(None, 'embed'),
        )
        shape = (x.shape[0], *registers.shape)
        return jnp.concatenate([x, jnp.broadcast_to(registers.astype(cfg.dtype), shape)], axis=1)

    def _blocks(self, x: Float[Array, 'B P D'], deterministic: bool) -> Float[Array, 'B Q D']:
        cfg = self.config
        rates = np.linspace(0.0, cfg.drop_path, cfg.num_layers, dtype=np.float32)
        block_class = rematerialised(VitBlock, cfg.remat, scanned=cfg.scan_layers, deterministic=2)
        if cfg.scan_layers:
            stack = scanned(block_class, cfg.num_layers, (nn.broadcast, 0))(cfg, name='layers')
            return stack(x, deterministic, rates)[0]
        for i, rate in enumerate(rates.tolist()):
            block = block_class(cfg, i in cfg.moe_blocks, name=f'layers_{i}')
            x, _ = block(x, deterministic, rate)
            if i + 1 == cfg.patch_merger_after:
                x = self._merge(x)
            if i + 1 == cfg.frozen_blocks:
                x = jax.lax.stop_gradient(x)
        return x

    def _merge(self, x: Float[Array, 'B P D']) -> Float[Array, 'B Q D']:
        cfg = self.config
        merger = PatchMerger(cfg.patch_merger_tokens, cfg.norm, cfg.dtype, name='patch_merger')
        patches, registers = jnp.split(x, [cfg.num_patches], axis=1)
        return jnp.concatenate([merger(patches), registers], axis=1)


class Connector(nn.Module):
    """One linear layer from the vision width to the text width (PaliGemma, 2407.07726, 3.1)."""

    width: int
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, tokens: Float[Array, 'B P I']) -> Float[Array, 'B P D']:
        return Dense(self.width, ('embed', None), True, self.dtype, name='projection')(tokens)
