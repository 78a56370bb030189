"""Who attends to whom, as boolean masks.

Position i of a decoder row *holds* the token before the one it predicts: `[BOS, p1, p2, a1, a2]`
predicts `[p1, p2, a1, a2, EOS]`. With a prompt of two tokens the *prefix* is `[BOS, p1, p2]`; it
sees itself in both directions, the answer everything before it (rows are queries, columns keys):

    BOS  1 1 1 0 0
    p1   1 1 1 0 0
    p2   1 1 1 0 0     last of the prefix: predicts a1
    a1   1 1 1 1 0
    a2   1 1 1 1 1

In the wiring `prefix_lm` visual tokens stand before the row, in the same self-attention; they are
part of the prefix (PaliGemma, 2407.07726, figure 2):

          v v BOS p1 p2 a1 a2
    v     1 1  1  1  1  0  0
    v     1 1  1  1  1  0  0
    BOS   1 1  1  1  1  0  0
    p1    1 1  1  1  1  0  0
    p2    1 1  1  1  1  0  0
    a1    1 1  1  1  1  1  0
    a2    1 1  1  1  1  1  1

Where several pairs share a row, each sees the image and itself. The image then sees itself alone:
through it one pair's prompt would reach the others.
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
    hidden: Bool[Array, 'B L'] | None = None,
) -> Bool[Array, '#B 1 L L']:
    """The self-attention mask of a training row; rows of padding see only themselves.

    Positions that are `hidden` see all of their segment (see `vlm.nn.parallel`).
    """
    mask = causal(length) if prefix is None else prefix_causal(prefix)
    if hidden is not None:
        mask = mask | hidden[:, :, None]
    if segment_ids is not None:
        # A query without any key would be a softmax over nothing: padding keeps its own position.
        mask = (mask & same_segment(segment_ids)) | jnp.eye(length, dtype=bool)[None]
    return mask[:, None]


def with_visual(
    mask: Bool[Array, '#B 1 T T'],
    visual: Bool[Array, 'B 1 1 M'],
    prompt: Bool[Array, 'B T'] | None = None,
) -> Bool[Array, 'B 1 M+T M+T']:
    """The mask of [visual tokens ; row] for a row that has `mask` by itself.

    Everything sees the visual tokens that are not padding. These see the positions of `prompt` too;
    with None they see no text.
    """
    batch, size, length = visual.shape[0], visual.shape[-1], mask.shape[-1]
    # A padding frame keeps its own position, as padding of a row does.
    images = visual | jnp.eye(size, dtype=bool)
    if prompt is None:
        prompt = jnp.zeros((batch, length), bool)
    text = jnp.broadcast_to(prompt[:, None, None, :], (batch, 1, size, length))
    above = jnp.concatenate([images, text], axis=-1)
    return jnp.concatenate([above, visual_before(mask, visual)], axis=-2)


def visual_before(
    mask: Bool[Array, '#B 1 T S'], visual: Bool[Array, 'B 1 1 M']
) -> Bool[Array, 'B 1 T M+S']:
    """Rows of text queries alone: all see the visual tokens, then what `mask` says."""
    batch, _, _, size = visual.shape
    length, keys = mask.shape[-2:]
    images = jnp.broadcast_to(visual, (batch, 1, length, size))
    return jnp.concatenate([images, jnp.broadcast_to(mask, (batch, 1, length, keys))], axis=-1)


def positions_seen(
    mask: Bool[Array, 'R 1 T S'], index: Int[Array, ''] | int = 0
) -> Int[Array, 'R T']:
    """The position of each query in its own text: how many slots before its own it sees.

    Query i stands at slot `index + i`. Counted so, a position is the same in a row of several
    segments, behind a padding of prompts aligned right, and in a cache.
    """
    length, keys = mask.shape[-2:]
    before = jnp.arange(keys)[None, :] < (index + jnp.arange(length))[:, None]
    return jnp.sum(mask[:, 0] & before, axis=-1)


def positions_of_keys(mask: Bool[Array, 'R 1 T S']) -> Int[Array, 'R S']:
    """The position of each key in its own text, for queries that agree about what comes before it.

    Those of a cache do: tokens of one answer, and rival answers, each with slots of its own behind
    the prompt of all. A key that no query sees has none.
    """
    before = jnp.cumsum(mask[:, 0], axis=-1) - 1
    return jnp.max(jnp.where(mask[:, 0], before, 0), axis=1)
