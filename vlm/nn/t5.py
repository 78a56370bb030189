"""Text stacks: T5 1.1 as they come, Gemma and others by the options of `TextConfig`.

T5 1.1 (1910.10683): pre-norm RMSNorm, relative position bias, gated GELU, no biases. Gemma
(2403.08295): RoPE, keys and values shared by all heads, norms of 1 + scale, scaled embeddings.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vlm.errors import UserError, unknown_name
from vlm.nn.attention import Attention, KeyValue
from vlm.nn.layers import (
    ACTIVATIONS,
    NORMS,
    Dense,
    Dtype,
    Embed,
    Initializer,
    Mlp,
    make_padding_mask,
    placed,
    softcap,
)
from vlm.nn.positions import RelativeBias
from vlm.nn.stacks import check_remat, rematerialised, scanned

POSITIONS = ('relative', 'rope', 'learned')


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """Sizes and blocks of the text side; the defaults are T5 1.1 base.

    Attributes:
      vocab_size: rows of the token table.
      num_encoder_layers: counts only in the wiring `fusion_encoder`.
      num_kv_heads: keys and values are shared by groups of heads; 1 is multi-query attention, None
        gives every head its own.
      scaled_attention: multiplies the scores by head_dim**-0.5 (T5 does not).
      positions: 'relative' (T5's bias), 'rope' (rotations) or 'learned' (a table of `max_positions`
        rows added to the tokens, which a row may not outgrow).
      norm: a name in `vlm.nn.layers.NORMS`: 'rms_norm' (T5), 'rms_norm_unit_offset' (Gemma: times
        1 + scale), 'layer_norm', 'layer_norm_no_bias'.
      mask_token: has one more embedding, for answers predicted at once (see `vlm.nn.parallel`).
      scale_embedding: token embeddings are drawn with variance 1 / width and multiplied by
        sqrt(width) where they are read, as Gemma has it, instead of drawn with variance 1.
      scan_layers: runs each stack as one loop over stacked parameters, which compiles as quickly at
        any depth. Decoding then copies the caches at every step, so serve unrolled
        (`vlm.nn.stacks.to_layout` converts parameters).
      remat: what of a block is kept for the backward pass (`vlm.nn.stacks.REMAT`).
      final_norm: that of the decoder's output, where it is another than `norm` (CapPa's has a
        bias).
      logits_bias: a bias of the output layer (CapPa).
      post_norms: normalises what each attention and MLP returns, too, before it is added (Gemma 2,
        2408.00118, 2).
      attention_window: in every second block, from the first, a token of the decoder sees only the
        last so many, itself included (Gemma 2, 2408.00118, 2); a prompt's tokens see all of it, as
        in `transformers`. None: all see all.
      attention_softcap: bounds attention scores smoothly (Gemma 2: 50); None does not.
      logit_softcap: bounds the scores over the vocabulary likewise (Gemma 2: 30).
      tied_embedding: the token table is the output layer too. It then gives logits of the same size
        either way: T5 divides by sqrt(width) there, Gemma has done so in the table.
    """

    vocab_size: int = 32_128
    width: int = 768
    num_layers: int = 12
    num_encoder_layers: int = 0
    num_heads: int = 12
    num_kv_heads: int | None = None
    head_dim: int = 64
    scaled_attention: bool = False
    mlp_dim: int = 2048
    activation: str = 'gelu'
    gated_mlp: bool = True
    positions: str = 'relative'
    max_positions: int = 512
    norm: str = 'rms_norm'
    norm_epsilon: float = 1e-6
    scale_embedding: bool = False
    tied_embedding: bool = False
    mask_token: bool = False
    dropout: float = 0.0
    relative_buckets: int = 32
    relative_max_distance: int = 128
    scan_layers: bool = False
    remat: str = 'none'
    final_norm: str | None = None
    logits_bias: bool = False
    post_norms: bool = False
    attention_window: int | None = None
    attention_softcap: float | None = None
    logit_softcap: float | None = None
    dtype: Dtype = jnp.float32

    def __post_init__(self):
        check_remat(self.remat, 'TextConfig.remat')
        for option in ('attention_softcap', 'logit_softcap'):
            if (cap := getattr(self, option)) is not None and cap <= 0:
                raise UserError(f'TextConfig.{option} = {cap} must be above 0, or None.')
        if self.attention_window is not None and self.attention_window < 1:
            raise UserError(
                f'TextConfig.attention_window = {self.attention_window} must be at least 1, or '
                'None.'
            )
        if self.activation not in ACTIVATIONS:
            raise UserError(
                f'TextConfig.activation = {self.activation!r} is not one of '
                f'{", ".join(ACTIVATIONS)}.'
            )
        if self.vocab_size < 3:
            raise UserError(
                f'TextConfig.vocab_size = {self.vocab_size}: padding, end and unknown alone need 3.'
            )
        if self.num_heads % (self.num_kv_heads or self.num_heads):
            raise UserError(
                f'TextConfig.num_kv_heads = {self.num_kv_heads} does not divide num_heads = '
                f'{self.num_heads}.'
            )
        if self.norm not in NORMS:
            raise unknown_name('norm', self.norm, NORMS, 'TextConfig.norm')
        if (self.final_norm or self.norm) not in NORMS:
            raise unknown_name('norm', self.final_norm, NORMS, 'TextConfig.final_norm')
        if self.logits_bias and self.tied_embedding:
            raise UserError(
                'TextConfig.logits_bias is that of an output layer of its own: bind '
                'tied_embedding to False.'
            )
        if self.positions not in POSITIONS:
            raise unknown_name('positions', self.positions, POSITIONS, 'TextConfig.positions')
        if self.positions == 'rope' and self.head_dim % 2:
            raise UserError(
                f"TextConfig.head_dim = {self.head_dim} is odd: positions = 'rope' turns features "
                'in pairs.'
            )


class Positions(NamedTuple):
    """Where queries and keys stand; R is 1 where all rows of a batch agree."""

    query: Int[Array, 'R T']
    key: Int[Array, 'R S']


def slots(queries: int, keys: int, index: Int[Array, ''] | int = 0) -> Positions:
    """Positions that are slots of a row: queries stand at `index ..`, keys from 0 on.

    Good for distances, which packed segments and prompts aligned right both keep.
    """
    return Positions(jnp.arange(queries)[None] + index, jnp.arange(keys)[None])


def token_table(cfg: TextConfig) -> Embed:
    """The token embeddings, shared by encoder, decoder and a tied output layer."""
    return Embed(cfg.vocab_size, cfg.width, cfg.dtype, _token_init(cfg))


def mask_row(cfg: TextConfig) -> Embed:
    """The embedding of the mask token: a table of its own, for no output is ever the mask."""
    return Embed(1, cfg.width, cfg.dtype, _token_init(cfg), rows_axis=None)


def _token_init(cfg: TextConfig) -> Initializer:
    return nn.initializers.normal(cfg.width**-0.5 if cfg.scale_embedding else 1.0)


def position_table(cfg: TextConfig) -> Embed:
    """Learned positions, one table for prompts of an encoder and rows of the decoder."""
    init = nn.initializers.normal(cfg.width**-0.5)
    return Embed(cfg.max_positions, cfg.width, cfg.dtype, init, rows_axis=None)


def _attention(cfg: TextConfig) -> Attention:
    return Attention(
        cfg.num_heads,
        cfg.head_dim,
        scaled=cfg.scaled_attention,
        dtype=cfg.dtype,
        num_kv_heads=cfg.num_kv_heads,
        softcap=cfg.attention_softcap,
    )


def _mlp(cfg: TextConfig) -> Mlp:
    return Mlp(cfg.mlp_dim, cfg.activation, cfg.gated_mlp, dropout=cfg.dropout, dtype=cfg.dtype)


def _norm(cfg: TextConfig, kind: str | None = None) -> nn.Module:
    return NORMS[kind or cfg.norm](epsilon=cfg.norm_epsilon, dtype=cfg.dtype)


def _post_norm(cfg: TextConfig) -> nn.Module | Callable[[Array], Array]:
    return _norm(cfg) if cfg.post_norms else _unchanged


def _unchanged(x: Float[Array, '...']) -> Float[Array, '...']:
    return x


def _relative_bias(cfg: TextConfig, bidirectional: bool) -> RelativeBias | None:
    if cfg.positions != 'relative':
        return None
    return RelativeBias(
        cfg.num_heads, bidirectional, cfg.relative_buckets, cfg.relative_max_distance
    )


class EncoderBlock(nn.Module):
    """Self-attention and MLP."""

    config: TextConfig

    def setup(self):
        cfg = self.config
        self.self_attention_norm = _norm(cfg)
        self.self_attention = _attention(cfg)
        self.self_attention_post_norm = _post_norm(cfg)
        self.mlp_norm = _norm(cfg)
        self.mlp = _mlp(cfg)
        self.mlp_post_norm = _post_norm(cfg)
        self.drop = nn.Dropout(cfg.dropout)

    def __call__(
        self,
        x: Float[Array, 'B S D'],
        bias: Float[Array, '1 A S S'] | None,
        mask: Bool[Array, 'B 1 1 S'],
        rotation: Int[Array, '1 S'] | None,
        deterministic: bool = True,
    ) -> tuple[Float[Array, 'B S D'], None]:
        y = self.self_attention_norm(x)
        own = self.self_attention.keys_values(y, rotation)
        y = self.self_attention(y, own, bias, mask, rotation)
        x = x + self.drop(self.self_attention_post_norm(y), deterministic=deterministic)
        y = self.mlp(self.mlp_norm(x), deterministic=deterministic)
        x = x + self.drop(self.mlp_post_norm(y), deterministic=deterministic)
        return placed(x, 'batch', 'length', 'embed'), None


class Encoder(nn.Module):
    """`[B, S, D]` embedded tokens to `[B, S, D]`; `valid` marks what is not padding."""

    config: TextConfig

    def setup(self):
        cfg = self.config
        block = rematerialised(EncoderBlock, cfg.remat, scanned=cfg.scan_layers, deterministic=5)
        if cfg.scan_layers:
            self.layers = scanned(block, cfg.num_encoder_layers, nn.broadcast)(cfg)
        else:
            self.layers = [block(cfg) for _ in range(cfg.num_encoder_layers)]
        self.relpos_bias = _relative_bias(cfg, bidirectional=True)
        self.norm = _norm(cfg)
        self.drop = nn.Dropout(cfg.dropout)

    def __call__(
        self,
        x: Float[Array, 'B S D'],
        valid: Bool[Array, 'B S'],
        deterministic: bool = True,
    ) -> Float[Array, 'B S D']:
        at = slots(x.shape[1], x.shape[1])
        bias, rotation = _of_positions(self.config, self.relpos_bias, at)
        mask = make_padding_mask(valid)
        x = self.drop(placed(x, 'batch', 'length', 'embed'), deterministic=deterministic)
        for layer in [self.layers] if self.config.scan_layers else self.layers:
            x, _ = layer(x, bias, mask, rotation, deterministic)
        return self.drop(self.norm(x), deterministic=deterministic)


def _of_positions(
    cfg: TextConfig, relative: RelativeBias | None, at: Positions
) -> tuple[Float[Array, 'R A T S'] | None, Int[Array, 'R T'] | None]:
    """The bias of a stack's attention and the positions to rotate queries and keys by."""
    bias = None if relative is None else relative(*at).astype(cfg.dtype)
    return bias, at.query if cfg.positions == 'rope' else None


class DecoderBlock(nn.Module):
    """Self-attention, cross-attention if wanted, and MLP; memory is projected apart."""

    config: TextConfig
    cross: bool = True

    def setup(self):
        cfg = self.config
        self.self_attention_norm = _norm(cfg)
        self.self_attention = _attention(cfg)
        self.self_attention_post_norm = _post_norm(cfg)
        if self.cross:
            self.cross_attention_norm = _norm(cfg)
            self.cross_attention = _attention(cfg)
            self.cross_attention_post_norm = _post_norm(cfg)
        self.mlp_norm = _norm(cfg)
        self.mlp = _mlp(cfg)
        self.mlp_post_norm = _post_norm(cfg)
        self.drop = nn.Dropout(cfg.dropout)

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        memory: KeyValue | None = None,
        cache: KeyValue | None = None,
        bias: Float[Array, '#B A T S'] | None = None,
        mask: Bool[Array, '#B 1 T S'] | None = None,
        memory_mask: Bool[Array, 'B 1 1 M'] | None = None,
        rotation: Int[Array, '#B T'] | None = None,
        index: Int[Array, ''] | int = 0,
        deterministic: bool = True,
        near: Bool[Array, '#B 1 T S'] | None = None,
        local: Bool[Array, ''] | None = None,
    ) -> tuple[Float[Array, 'B T D'], KeyValue]:
        """Returns the output and the self-attention's keys and values, `cache` updated if given.

        A `local` block sees those keys alone that are `near`.

        Without a mask, `x` is a memory: returns it and the cross-attention's keys and values, which
        are needed once an image. (A scanned block has no method but this.)
        """
        if mask is None:
            return x, self.cross_attention.keys_values(x)
        if near is not None:
            mask = mask & (near | ~local)
        y = self.self_attention_norm(x)
        own = self.self_attention.keys_values(y, rotation)
        if cache is not None:
            own = cache.written_at(index, own)
        y = self.self_attention(y, own, bias, mask, rotation)
        x = x + self.drop(self.self_attention_post_norm(y), deterministic=deterministic)
        if self.cross:
            y = self.cross_attention(self.cross_attention_norm(x), memory, None, memory_mask)
            x = x + self.drop(self.cross_attention_post_norm(y), deterministic=deterministic)
        y = self.mlp(self.mlp_norm(x), deterministic=deterministic)
        x = x + self.drop(self.mlp_post_norm(y), deterministic=deterministic)
        return placed(x, 'batch', 'length', 'embed'), own


class Decoder(nn.Module):
    """The text decoder: full rows in training and prefill, single tokens with a cache then.

    `cross=False` leaves out cross-attention: a decoder-only stack, which takes no memory.
    """

    config: TextConfig
    cross: bool = True

    def setup(self):
        cfg = self.config
        block = rematerialised(DecoderBlock, cfg.remat, scanned=cfg.scan_layers, deterministic=9)
        if cfg.scan_layers:
            in_axes = (0, 0, *[nn.broadcast] * 7, 0)
            self.layers = scanned(block, cfg.num_layers, in_axes)(cfg, self.cross)
        else:
            self.layers = [block(cfg, self.cross) for _ in range(cfg.num_layers)]
        self.relpos_bias = _relative_bias(cfg, bidirectional=False)
        self.norm = _norm(cfg, cfg.final_norm)
        self.drop = nn.Dropout(cfg.dropout)
        if not cfg.tied_embedding:
            self.logits_dense = Dense(
                cfg.vocab_size, ('embed', 'vocab'), cfg.logits_bias, dtype=cfg.dtype
            )

    def memory_keys_values(self, memory: Float[Array, 'B S D']) -> list[KeyValue]:
        """Cross-attention keys and values of every layer."""
        return self._run(memory, None, None, *[None] * 4, 0, True, None)[1]

    def _run(
        self,
        x: Float[Array, 'B T D'],
        memory: list[KeyValue] | None,
        caches: list[KeyValue] | None,
        *shared: Any,
    ) -> tuple[Float[Array, 'B T D'], list[KeyValue]]:
        """All blocks, and what each returned beside its output."""
        local = None
        if self.config.attention_window is not None:
            local = jnp.arange(self.config.num_layers) % 2 == 0
        if self.config.scan_layers:
            x, stack = self.layers(x, _stacked(memory), _stacked(caches), *shared, local)
            return x, [jax.tree.map(lambda a, i=i: a[i], stack) for i in range(len(stack.key))]
        outputs = []
        for i, layer in enumerate(self.layers):
            own = [None if part is None else part[i] for part in (memory, caches, local)]
            x, output = layer(x, *own[:2], *shared, own[2])
            outputs.append(output)
        return x, outputs

    def __call__(
        self,
        x: Float[Array, 'B T D'],
        memory: list[KeyValue] | None,
        memory_mask: Bool[Array, 'B 1 1 M'] | None,
        mask: Bool[Array, '#B 1 T S'],
        caches: list[KeyValue] | None = None,
        index: Int[Array, ''] | int = 0,
        deterministic: bool = True,
        at: Positions | None = None,
        prefix: Bool[Array, 'B T'] | None = None,
    ) -> tuple[Float[Array, 'B T D'], list[KeyValue]]:
        """Runs the stack on tokens at slots `index .. index + T - 1` of rows of S slots.

        `at` says where they stand if not at these slots. No window bounds what tokens of the
        `prefix` see.
        """
        at = at or slots(x.shape[1], mask.shape[-1], index)
        bias, rotation = _of_positions(self.config, self.relpos_bias, at)
        x = self.drop(placed(x, 'batch', 'length', 'embed'), deterministic=deterministic)
        near = _near(at, self.config.attention_window, prefix)
        shared = bias, mask, memory_mask, rotation, index, deterministic, near
        x, updated = self._run(x, memory, caches, *shared)
        return self.drop(self.norm(x), deterministic=deterministic), updated

    def logits(self, x: Float[Array, 'B T D'], embed: Embed) -> Float[Array, 'B T V']:
        """Scores over the vocabulary."""
        cfg = self.config
        if not cfg.tied_embedding:
            logits = self.logits_dense(x)
        else:
            scale = 1.0 if cfg.scale_embedding else cfg.width**-0.5
            logits = embed.attend(x * jnp.asarray(scale, x.dtype))
        logits = softcap(logits, cfg.logit_softcap)
        return placed(logits, 'batch', 'length', 'vocab')


def _near(
    at: Positions, window: int | None, prefix: Bool[Array, 'B T'] | None
) -> Bool[Array, '#B 1 T S'] | None:
    """Which keys a local block may show to a query."""
    if window is None:
        return None
    near = at.query[:, :, None] - at.key[:, None, :] < window
    return (near if prefix is None else near | prefix[:, :, None])[:, None]


def _stacked(parts: list[KeyValue] | None) -> KeyValue | None:
    return None if parts is None else jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts)
