"""Which tokens may be chosen, as boolean masks over the vocabulary."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from vlm.decoding.config import DecodingConfig

PAD_ID = 0


def allowed_tokens(config: DecodingConfig, vocab_size: int, eos_id: int) -> Bool[np.ndarray, ' V']:
    """What any answer may hold: never padding, which would be a token that readers drop.

    Raises `UserError` for allowed ids outside the vocabulary.
    """
    config.check_vocabulary(vocab_size)
    ids = np.arange(vocab_size)
    if config.allowed_ids is None:
        return ids != PAD_ID
    return np.isin(ids, [*config.allowed_ids, eos_id])


def drawable_tokens(logits: Float[Array, '*B V'], config: DecodingConfig) -> Bool[Array, '*B V']:
    """The tokens that `top_k` and then `top_p` leave; `logits` are at the temperature already.

    Tokens as likely as the last one kept are kept too, so that no order of ids decides.
    """
    kept = jnp.isfinite(logits)
    if config.top_k is not None:
        count = min(config.top_k, logits.shape[-1])
        kept &= logits >= jax.lax.top_k(logits, count)[0][..., -1:]
    if config.top_p is not None:
        ordered = jnp.sort(jnp.where(kept, logits, -jnp.inf), axis=-1, descending=True)
        shares = jax.nn.softmax(ordered, axis=-1)
        before = jnp.cumsum(shares, axis=-1) - shares
        # The first token is always kept: nothing comes before it.
        last = jnp.sum(before < config.top_p, axis=-1, keepdims=True) - 1
        kept &= logits >= jnp.take_along_axis(ordered, last, axis=-1)
    return kept
