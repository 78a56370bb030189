"""T5 1.1 stacks: pre-norm RMSNorm, relative position bias, gated GELU, no biases (1910.10683)."""

import dataclasses

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vlm.errors import UserError
from vlm.nn.attention import Attention, KeyValue
from vlm.nn.layers import (
    ACTIVATIONS,
    Dense,
    Dtype,
    Embed,
    Mlp,
    RMSNorm,
    make_padding_mask,
)
from vlm.nn.positions import Positions, RelativeBias


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Sizes of the text side. `num_encoder_layers` counts only in the wiring `fusion_encoder`."""

    vocab_size: int = 32_128
    width: int = 768
    num_layers: int = 12
    num_encoder_layers: int = 0
    num_heads: int = 12
    head_dim: int = 64
    mlp_dim: int = 2048
    activation: str = 'gelu'
    gated_mlp: bool = True
    tied_embedding: bool = False
    dropout: float = 0.0
    relative_buckets: int = 32
    relative_max_distance: int = 128
    dtype: Dtype = jnp.float32

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f'TextConfig.activation = {self.activation!r} is not one of '
                f'{", ".join(ACTIVATIONS)}.'
            )
        if self.vocab_size < 3:
            raise UserError(
                f'TextConfig.vocab_size = {self.vocab_size}: padding, end and unknown alone need 3.'
            )


def _self_attention(cfg: TextConfig) -> Attention:
    return Attention(
        cfg.num_heads, cfg.head_dim, scaled=False, dtype=cfg.dtype, name='self_attention'
    )


def _mlp(cfg: TextConfig) -> Mlp:
    return Mlp(
        cfg.mlp_dim, cfg.activation, cfg.gated_mlp, dropout=cfg.dropout, dtype=cfg.dtype, name='mlp'
    )


class EncoderBlock(nn.Module):
    """Self-attention and MLP."""

    config: TextConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'B S D'],
        bias: Float[Array, '1 A S S'],
        mask: Bool[Array, 'B 1 1 S'],
        deterministic: bool = True,
    ) -> Float[Array, 'B S D']:
        cfg = self.config
        drop = nn.Dropout(cfg.dropout)
        attention = _self_attention(cfg)
        y = RMSNorm(dtype=cfg.dtype, name='self_attention_norm')(x)
        x = x + drop(
            attention(y, attention.keys_values(y), bias, mask), deterministic=deterministic
        )
        y = RMSNorm(dtype=cfg.dtype, name='mlp_norm')(x)
        return x + drop(_mlp(cfg)(y, deterministic=deterministic), deterministic=deterministic)


class Encoder(nn.Module):
    """`[B, S, D]` embedded tokens to `[B, S, D]`; `valid` marks what is not padding."""

    config: TextConfig

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'B S D'],
        valid: Bool[Array, 'B S'],
        deterministic: bool = True,
    ) -> Float[Array, 'B S D']:
        cfg = self.config
        drop = nn.Dropout(cfg.dropout)
        at = jnp.arange(x.shape[1])
        bias = RelativeBias(
            cfg.num_heads, True, cfg.relative_buckets, cfg.relative_max_distance, name='relpos_bias'
        )(at, at).astype(cfg.dtype)
        mask = make_padding_mask(valid)
        x = drop(x, deterministic=deterministic)
        for i in range(cfg.num_encoder_layers):
            x = EncoderBlock(cfg, name=f'layers_{i}')(x, bias, mask, deterministic)
        x = RMSNorm(dtype=cfg.dtype, name='norm')(x)
        return drop(x, deterministic=deterministic)


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention and MLP; the memory's keys and values are computed apart."""

    config: TextConfig

    def setup(self):
        cfg = self.config
        self.self_attention_norm = RMSNorm(dtype=cfg.dtype)
        self.self_attention = Attention(cfg.num_heads, cfg.head_dim, scaled=False, dtype=cfg.dtype)
        self.cross_attention_norm = RMSNorm(dtype=cfg.dtype)
        self.cross_attention = Attention(cfg.num_heads, cfg.head_dim, scaled=False, dtype=cfg.dtype)
        self.mlp_norm = RMSNorm(dtype=cfg.dtype)
        self.mlp = Mlp(
            cfg.mlp_dim, cfg.activation, cfg.gated_mlp, dropout=cfg.dropout, dtype=cfg.dtype
        )
        self.drop = nn.Dropout(cfg.dropout)

    def memory_keys_values(self, memory: Float[Array, 'B S D']) -> KeyValue:
        """The cross-attention's side of a memory: once per image, whatever is decoded from it."""
        return self.cross_attention.keys_values(memory)

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        memory: KeyValue,
        bias: Float[Array, '1 A T S'],
        mask: Bool[Array, '#B 1 T S'],
        memory_mask: Bool[Array, 'B 1 1 M'],
        cache: KeyValue | None = None,
        index: Int[Array, ''] | int = 0,
        deterministic: bool = True,
    ) -> tuple[Float[Array, 'B T D'], KeyValue]:
        """Returns the output and the self-attention's keys and values, `cache` updated if given."""
        y = self.self_attention_norm(x)
        own = self.self_attention.keys_values(y)
        if cache is not None:
            own = cache.written_at(index, own)
        y = self.self_attention(y, own, bias, mask)
        x = x + self.drop(y, deterministic=deterministic)
        y = self.cross_attention(self.cross_attention_norm(x), memory, None, memory_mask)
        x = x + self.drop(y, deterministic=deterministic)
        y = self.mlp(self.mlp_norm(x), deterministic=deterministic)
        return x + self.drop(y, deterministic=deterministic), own


class Decoder(nn.Module):
    """The text decoder: full rows in training and prefill, single tokens with a cache then."""

    config: TextConfig

    def setup(self):
        cfg = self.config
        self.layers = [DecoderBlock(cfg) for _ in range(cfg.num_layers)]
        self.relpos_bias = RelativeBias(
            cfg.num_heads, False, cfg.relative_buckets, cfg.relative_max_distance
        )
        self.norm = RMSNorm(dtype=cfg.dtype)
        self.drop = nn.Dropout(cfg.dropout)
        if not cfg.tied_embedding:
            self.logits_dense = Dense(cfg.vocab_size, ('embed', 'vocab'), dtype=cfg.dtype)

    def memory_keys_values(self, memory: Float[Array, 'B S D']) -> list[KeyValue]:
        """Cross-attention keys and values of every layer."""
        return [layer.memory_keys_values(memory) for layer in self.layers]

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        memory: list[KeyValue],
        memory_mask: Bool[Array, 'B 1 1 M'],
        mask: Bool[Array, '#B 1 T S'],
        caches: list[KeyValue] | None = None,
        index: Int[Array, ''] | int = 0,
        deterministic: bool = True,
        positions: Positions | None = None,
    ) -> tuple[Float[Array, 'B T D'], list[KeyValue]]:
        """Runs the stack on tokens at slots `index .. index + T - 1` of rows of S slots."""
        if positions is None:
            length = x.shape[1] if caches is None else caches[0].key.shape[1]
            positions = jnp.arange(x.shape[1]) + index, jnp.arange(length)
        bias = self.relpos_bias(*positions).astype(self.config.dtype)
        x = self.drop(x, deterministic=deterministic)
        updated = []
        for i, layer in enumerate(self.layers):
            cache = None if caches is None else caches[i]
            x, own = layer(x, memory[i], bias, mask, memory_mask, cache, index, deterministic)
            updated.append(own)
        return self.drop(self.norm(x), deterministic=deterministic), updated

    def logits(self, x: Float[Array, 'B T D'], embed: Embed) -> Float[Array, 'B T V']:
        """Scores over the vocabulary; a tied output is scaled by D**-0.5 as in T5 1.0."""
        if self.config.tied_embedding:
            return embed.attend(x / jnp.sqrt(jnp.asarray(x.shape[-1], x.dtype)))
        return self.logits_dense(x)
