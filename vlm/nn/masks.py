"""Who attends to whom, as boolean masks.

Position i of a decoder row *holds* the token before the one it predicts: `[BOS, p1, p2, a1, a2]`
predicts `[p1, p2, a1, a2, EOS]`. With a prompt of two tokens the *prefix* is `[BOS, p1, p2]`; it
sees itself in both directions, the answer everything before it (rows are queries, columns keys):

    BOS  1 1 1 0 0
    p1   1 1 1 0 0
    p2   1 1 1 0 0     last of the prefix: predicts a1
    a1   1 1 1 1 0
    a2   1 1 1 1 1
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def causal(length: int) -> Bool[Array, '1 L L']:
    """Query i sees keys 0..i."""
    positions = jnp.arange(length)
    return (positions[:, None] >= positions[None, :])[None]


def prefix_causal(prefix: Bool[Array, 'B L']) -> Bool[Array, 'B L L']:
    """Causal, and the positions of the prefix see each other in both directions."""
    both_prefix = prefix[:, :, None] & prefix[:, None, :]
    return causal(prefix.shape[1]) | both_prefix


def same_segment(segment_ids: Int[Array, 'B L']) -> Bool[Array, 'B L L']:
    """Several targets in one row: each sees its own segment only; id 0 is padding."""
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return same & (segment_ids != 0)[:, None, :]


def decoder_mask(
    length: int,
    prefix: Bool[Array, 'B L'] | None = None,
    segment_ids: Int[Array, 'B L'] | None = None,
) -> Bool[Array, '#B 1 L L']:
    """The self-attention mask of a training row; rows of padding see only themselves."""
    mask = causal(length) if prefix is None else prefix_causal(prefix)
    if segment_ids is not None:
        # A query without any key would be a softmax over nothing: padding keeps its own position.
        mask = (mask & same_segment(segment_ids)) | jnp.eye(length, dtype=bool)[None]
    return mask[:, None]
