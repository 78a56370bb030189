"""PatchMerger: many tokens become few between two blocks (2202.12015)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from vlm.nn.layers import NORMS, Dtype
from vlm.nn.parameters import parameter


class PatchMerger(nn.Module):
    """`[B, P, D]` to `[B, M, D]`: M learned queries attend to the normalised tokens.

    Y = softmax(Q X'^T / sqrt(D)) X' with X' = norm(X); one head and no projections.
    """

    tokens: int
    norm: str = 'layer_norm'
    dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, 'B P D']) -> Float[Array, 'B M D']:
        width = x.shape[-1]
        queries = parameter(
            self, 'queries', nn.initializers.normal(1.0), (self.tokens, width), axes=(None, 'embed')
        )
        x = NORMS[self.norm](dtype=self.dtype, name='norm')(x)
        logits = jnp.einsum('MD,BPD->BMP', queries.astype(self.dtype), x) * width**-0.5
        shares = jax.nn.softmax(logits.astype(jnp.float32)).astype(self.dtype)
        return jnp.einsum('BMP,BPD->BMD', shares, x)
