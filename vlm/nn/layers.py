"""The layers every stack is made of.

Axis letters, the same in every signature of the package: B batch, N images of an example, H W C
pixels, P visual tokens, T query tokens, S key/value tokens, L decoder length, D width, F MLP width,
A attention heads, K head size, V vocabulary.

Activations have logical axis names (`placed`) as parameters have: batch, length, embed, mlp, heads,
kv, vocab.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen.partitioning import with_sharding_constraint
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from vlm.nn.parameters import Initializer, parameter

Dtype = Any

# T5's choice for every projection: variance 1 / fan_in, truncated at two standard deviations.
fan_in_init = nn.initializers.variance_scaling(1.0, 'fan_in', 'truncated_normal')

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    'gelu': jax.nn.gelu,  # the tanh approximation, as T5 1.1 and big_vision's ViT use
    'gelu_exact': functools.partial(jax.nn.gelu, approximate=False),  # Hugging Face's ViT
    'quick_gelu': lambda x: x * jax.nn.sigmoid(1.702 * x),  # CLIP
    'relu': jax.nn.relu,
    'silu': jax.nn.silu,
}


def placed(x: Array, *names: str | None) -> Array:
    """`x`, laid out over devices as the engine's rules say for axes of these logical names.

    Without rules (`flax.linen.partitioning.axis_rules`) and a mesh it does nothing.
    """
    return with_sharding_constraint(x, PartitionSpec(*names))


class Dense(nn.Module):
    """`[..., I] -> [..., O]`, kernel `[I, O]` named by `axes`; computes in `dtype`."""

    features: int
    axes: tuple[str | None, str | None]
    use_bias: bool = False
    dtype: Dtype = jnp.float32
    kernel_init: Initializer = fan_in_init

    @nn.compact
    def __call__(self, x: Float[Array, '... I']) -> Float[Array, '... O']:
        shape = (x.shape[-1], self.features)
        kernel = parameter(self, 'kernel', self.kernel_init, shape, axes=self.axes)
        y = x.astype(self.dtype) @ kernel.astype(self.dtype)
        if self.use_bias:
            bias = parameter(
                self, 'bias', nn.initializers.zeros, (self.features,), axes=(self.axes[1],)
            )
            y = y + bias.astype(self.dtype)
        return y


def softcap(x: Float[Array, '...'], cap: float | None) -> Float[Array, '...']:
    """Squeezes scores smoothly into (-cap, cap) (Gemma 2, 2408.00118, 2); None leaves them."""
    return x if cap is None else cap * jnp.tanh(x / cap)


class RMSNorm(nn.Module):
    """T5's layer norm: no mean, no bias; the variance is taken in float32 (1910.10683, 2.1).

    With `unit_offset` the output is multiplied by 1 + scale, and scale starts at 0 (Gemma): weight
    decay then pulls towards the plain norm.
    """

    epsilon: float = 1e-6
    dtype: Dtype = jnp.float32
    axis: str = 'embed'
    unit_offset: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... D']:
        init = nn.initializers.zeros if self.unit_offset else nn.initializers.ones
        scale = parameter(self, 'scale', init, (x.shape[-1],), axes=(self.axis,))
        scale = 1.0 + scale if self.unit_offset else scale
        x = x.astype(jnp.float32)
        x = x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + self.epsilon)
        return (x * scale).astype(self.dtype)


class LayerNorm(nn.Module):
    """ViT's layer norm, statistics in float32."""

    epsilon: float = 1e-6
    dtype: Dtype = jnp.float32
    axis: str = 'embed'
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, '... D']) -> Float[Array, '... D']:
        shape, axes = (x.shape[-1],), (self.axis,)
        x = x.astype(jnp.float32)
        mean = jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(x - mean), axis=-1, keepdims=True)
        x = (x - mean) * jax.lax.rsqrt(variance + self.epsilon)
        x = x * parameter(self, 'scale', nn.initializers.ones, shape, axes=axes)
        if self.use_bias:
            x = x + parameter(self, 'bias', nn.initializers.zeros, shape, axes=axes)
        return x.astype(self.dtype)


# Each takes `epsilon`, `dtype`, `axis` (the logical name of the normalised axis) and `name`.
NORMS: dict[str, Callable[..., nn.Module]] = {
    'layer_norm': LayerNorm,
    'layer_norm_no_bias': functools.partial(LayerNorm, use_bias=False),
    'rms_norm': RMSNorm,
    'rms_norm_unit_offset': functools.partial(RMSNorm, unit_offset=True),
}


class Embed(nn.Module):
    """A table `[V, D]`; `attend` gives the logits of a tied output layer."""

    vocab_size: int
    features: int
    dtype: Dtype = jnp.float32
    embedding_init: Initializer = nn.initializers.normal(1.0)
    rows_axis: str | None = 'vocab'

    def setup(self):
        self.embedding = parameter(
            self,
            'embedding',
            self.embedding_init,
            (self.vocab_size, self.features),
            axes=(self.rows_axis, 'embed'),
        )

    def __call__(self, tokens: Int[Array, 'B L']) -> Float[Array, 'B L D']:
        # Looked up in whole rows: the other way round every device would get the whole batch.
        table = placed(self.embedding, self.rows_axis, None)
        return jnp.take(table, tokens, axis=0).astype(self.dtype)

    def attend(self, x: Float[Array, 'B L D']) -> Float[Array, 'B L V']:
        return x.astype(self.dtype) @ self.embedding.astype(self.dtype).T


class Mlp(nn.Module):
    """Feed-forward block: plain (ViT) or gated (`gated=True`, T5 1.1, 2002.05202)."""

    hidden: int
    activation: str = 'gelu'
    gated: bool = False
    use_bias: bool = False
    dropout: float = 0.0
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, '... D'], *, deterministic: bool = True
    ) -> Float[Array, '... D']:
        def up(name: str) -> Float[Array, '... F']:
            return Dense(self.hidden, ('embed', 'mlp'), self.use_bias, self.dtype, name=name)(x)

        hidden = ACTIVATIONS[self.activation](up('wi'))
        if self.gated:
            hidden = hidden * up('wi_gate')
        hidden = placed(hidden, 'batch', *[None] * (x.ndim - 2), 'mlp')
        hidden = nn.Dropout(self.dropout)(hidden, deterministic=deterministic)
        return Dense(x.shape[-1], ('mlp', 'embed'), self.use_bias, self.dtype, name='wo')(hidden)


def make_padding_mask(valid: Bool[Array, 'B S']) -> Bool[Array, 'B 1 1 S']:
    """Every query sees the keys that are not padding."""
    return valid[:, None, None, :]
