"""Multi-head attention whose keys and values are explicit, so that callers choose what to cache."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int

from vlm.nn.layers import NORMS, Dense, Dtype, placed, softcap
from vlm.nn.positions import rotary


class KeyValue(NamedTuple):
    """Keys and values of one attention layer; G of its A heads have their own.

    The sequence comes last, as the products of a single query want it: with any other order XLA
    copies the whole cache into this one at every step of decoding.
    """

    key: Float[Array, 'B G K S']
    value: Float[Array, 'B G K S']

    def written_at(self, index: Array | int, new: 'KeyValue') -> 'KeyValue':
        """Returns a copy of this cache with `new` written from slot `index` on."""
        write = jax.lax.dynamic_update_slice_in_dim
        return KeyValue(
            write(self.key, new.key.astype(self.key.dtype), index, axis=-1),
            write(self.value, new.value.astype(self.value.dtype), index, axis=-1),
        )

    def extended_by(self, count: int) -> 'KeyValue':
        """Returns this cache with `count` empty slots behind."""
        room = ((0, 0), (0, 0), (0, 0), (0, count))
        return KeyValue(jnp.pad(self.key, room), jnp.pad(self.value, room))


class Attention(nn.Module):
    """Multi-head attention over given keys and values.

    `keys_values` projects a sequence once; `__call__` attends to what it returned. Self-attention,
    cross-attention and both of their caches are compositions of the two. `scaled=False` leaves out
    1/sqrt(K), as T5 does (its initialisation makes up for it). `qk_norm`, a name in `NORMS`,
    normalises the queries and keys of each head (ViT-22B, 2302.05442, 2). `use_bias` is the
    output's bias, and that of queries, keys and values unless `qkv_bias` says otherwise. With
    `num_kv_heads` several heads share a key and value (one for all: multi-query attention,
    1911.02150; groups: 2305.13245). Where positions are given, queries and keys are rotated by them
    (RoPE), after their norms. `softcap` bounds the scores (Gemma 2).
    """

    num_heads: int
    head_dim: int
    use_bias: bool = False
    scaled: bool = True
    dtype: Dtype = jnp.float32
    qkv_bias: bool | None = None
    qk_norm: str | None = None
    num_kv_heads: int | None = None
    softcap: float | None = None

    def setup(self):
        inner = self.num_heads * self.head_dim
        shared = (self.num_kv_heads or self.num_heads) * self.head_dim
        into, out = ('embed', 'joined_kv'), ('joined_kv', 'embed')
        query_init = nn.initializers.variance_scaling(
            1.0 if self.scaled else 1.0 / self.head_dim, 'fan_in', 'truncated_normal'
        )
        bias = self.use_bias if self.qkv_bias is None else self.qkv_bias
        self.query = Dense(inner, into, bias, self.dtype, query_init)
        # One key for all heads cannot be split among them, so every device gets it whole.
        shared_into = ('embed', 'kv') if self.num_kv_heads == 1 else into
        self.key = Dense(shared, shared_into, bias, self.dtype)
        self.value = Dense(shared, shared_into, bias, self.dtype)
        self.out_axes = out
        if self.qk_norm:
            self.query_norm = NORMS[self.qk_norm](dtype=self.dtype, axis='kv')
            self.key_norm = NORMS[self.qk_norm](dtype=self.dtype, axis='kv')

    def _heads(self, x: Float[Array, 'B T I']) -> Float[Array, 'B T A K']:
        heads = x.reshape(*x.shape[:-1], -1, self.head_dim)
        return placed(heads, 'batch', 'length', 'heads' if heads.shape[-2] > 1 else None, 'kv')

    def keys_values(
        self, x: Float[Array, 'B S D'], positions: Int[Array, '#B S'] | None = None
    ) -> KeyValue:
        key, value = self._heads(self.key(x)), self._heads(self.value(x))
        if self.qk_norm:
            key = self.key_norm(key)
        key = _turned(key, positions)
        return KeyValue(jnp.moveaxis(key, 1, -1), jnp.moveaxis(value, 1, -1))

    @nn.compact
    def __call__(
        self,
        x: Float[Array, 'B T D'],
        memory: KeyValue,
        bias: Float[Array, '#B A T S'] | None = None,
        mask: Bool[Array, '#B 1 #T S'] | None = None,
        positions: Int[Array, '#B T'] | None = None,
    ) -> Float[Array, 'B T D']:
        query = self._heads(self.query(x))
        if self.qk_norm:
            query = self.query_norm(query)
        query = _turned(query, positions)
        scale = self.head_dim**-0.5 if self.scaled else 1.0
        attended = attend(query, memory, bias, mask, scale, self.softcap)
        joined = attended.reshape(*x.shape[:-1], self.num_heads * self.head_dim)
        return Dense(x.shape[-1], self.out_axes, self.use_bias, self.dtype, name='out')(joined)


def attend(
    query: Float[Array, 'B T A K'],
    memory: KeyValue,
    bias: Float[Array, '#B A T S'] | None = None,
    mask: Bool[Array, '#B 1 #T S'] | None = None,
    scale: float = 1.0,
    cap: float | None = None,
) -> Float[Array, 'B T A K']:
    """What each query reads: values weighted by softmax(cap(query . key * scale) + bias).

    The softmax is in float32. A `cap` bounds scores before bias and mask (2408.00118, 2).
    `jax.nn.dot_product_attention` has no place for it and takes the sequence before the heads: XLA
    then transposes an image's keys and values anew for every token that is decoded.

    Heads come before the sequence in every product, and only heads that share a key have an axis of
    their own: on the CPU the products of einsum's own choice take two to three times as long.
    """
    groups, heads = memory.key.shape[1], query.shape[2]
    asked = jnp.swapaxes(query, 1, 2)
    if heads != groups:
        asked = asked.reshape(query.shape[0], groups, -1, *asked.shape[2:])
    scores = jnp.einsum(
        'BG...K,BGKS->BG...S', asked, memory.key, preferred_element_type=jnp.float32
    )
    by_head = (query.shape[0], heads, *scores.shape[-2:])
    scores = softcap(scores.reshape(by_head) * scale, cap)
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    weights = jax.nn.softmax(scores).astype(query.dtype).reshape(*asked.shape[:-1], -1)
    read = jnp.einsum('BG...S,BGKS->BG...K', weights, memory.value)
    return jnp.swapaxes(read.reshape(*by_head[:-1], -1), 1, 2)


def _turned(
    heads: Float[Array, 'B T A K'], positions: Int[Array, '#B T'] | None
) -> Float[Array, 'B T A K']:
    return heads if positions is None else rotary(heads, positions)
