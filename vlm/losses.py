"""Cross-entropy over answer tokens: label smoothing, z-loss and the choice of normaliser."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped

from vlm.errors import unknown_name

PyTree = Any

NORMALIZERS = ('tokens', 'sequence', 'sum')


class Whole(NamedTuple):
    """Of the batch that a microbatch is a part of: what its losses are divided by.

    total: `weight_total` of the batch. parts: into how many equal microbatches it is cut.
    """

    total: Float[Array, '']
    parts: int


def token_losses(
    logits: Float[Array, 'B L V'],
    targets: Int[Array, 'B L'],
    *,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
) -> tuple[Float[Array, 'B L'], Float[Array, 'B L']]:
    """Cross-entropy and z-loss of every position, in nats.

    Smoothing spreads `label_smoothing / (V - 1)` over the wrong tokens (as big_vision does); the
    entropy of that target is subtracted, so that a perfect model scores 0 (as T5X does). The z-loss
    is `z_loss * log(Z)**2` (PaLM, 2204.02311, 5).
    """
    log_z = jax.nn.logsumexp(logits, axis=-1)
    correct = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0] - log_z
    loss = -correct
    if label_smoothing:
        vocab = logits.shape[-1]
        low = label_smoothing / (vocab - 1)
        high = 1.0 - label_smoothing
        others = jnp.sum(logits, axis=-1) - vocab * log_z - correct
        entropy = -(high * jnp.log(high) + (vocab - 1) * low * jnp.log(low))
        loss = -(high * correct + low * others) - entropy
    return loss, z_loss * jnp.square(log_z)


def in_chunks(
    score: Callable[..., PyTree], parts: tuple[Shaped[Array, 'B L ...'], ...], size: int
) -> PyTree:
    """`score(*parts)`, arrays [B, L], computed for `size` positions of every row at a time.

    What it needs in between, logits above all, is held for one chunk at a time, and computed again
    for the backward pass.
    """
    length = parts[0].shape[1]
    if size >= length:
        return score(*parts)
    count = -(-length // size)

    def split(part: Array) -> Array:
        room = [(0, 0), (0, count * size - length)] + [(0, 0)] * (part.ndim - 2)
        chunks = jnp.pad(part, room).reshape(len(part), count, size, *part.shape[2:])
        return jnp.moveaxis(chunks, 1, 0)

    scored = jax.lax.map(jax.checkpoint(lambda chunk: score(*chunk)), tuple(map(split, parts)))
    return jax.tree.map(
        lambda chunks: jnp.moveaxis(chunks, 0, 1).reshape(len(parts[0]), -1)[:, :length], scored
    )


def emphasised(
    weights: Float[Array, 'B L'],
    first: float,
    segment_ids: Int[Array, 'B L'] | None = None,
) -> Float[Array, 'B L']:
    """The weights, those of the first token of every answer multiplied by `first`.

    The first token decides what an answer is about, such as which of several objects a box is of;
    the others mostly follow from it.
    """
    if first == 1.0:
        return weights
    answered = weights > 0
    before = jnp.tri(weights.shape[1], k=-1, dtype=bool)[None]
    if segment_ids is not None:
        before = before & (segment_ids[:, :, None] == segment_ids[:, None, :])
    follows = jnp.any(before & answered[:, None, :], axis=-1)
    return jnp.where(answered & ~follows, first * weights, weights)


def segment_counts(
    weights: Float[Array, 'B L'], segment_ids: Int[Array, 'B L']
) -> Float[Array, 'B L']:
    """For every position, the summed weight of its segment."""
    same = segment_ids[:, :, None] == segment_ids[:, None, :]
    return jnp.einsum('BLM,BM->BL', same.astype(weights.dtype), weights)


def normalized_weights(
    weights: Float[Array, 'B L'],
    normalizer: str,
    segment_ids: Int[Array, 'B L'] | None = None,
    total: Float[Array, ''] | None = None,
) -> Float[Array, 'B L']:
    """Weights whose weighted sum of losses is the loss.

    tokens: the mean over all answer tokens of the batch. sequence: the mean over each answer's
    tokens, then over answers, so that long answers do not dominate (PaliGemma, CapPa). sum: T5X's
    default. An answer without tokens counts for nothing. `total` is that of the whole batch, if
    this is a part of one.
    """
    shares = _shares(weights, normalizer, segment_ids)
    return shares / (_total(shares, normalizer) if total is None else total)


def weight_total(
    weights: Float[Array, 'B L'],
    normalizer: str,
    segment_ids: Int[Array, 'B L'] | None = None,
) -> Float[Array, '']:
    """What the summed losses of a batch are divided by: answer tokens, answers, or 1."""
    return _total(_shares(weights, normalizer, segment_ids), normalizer)


def _total(shares: Float[Array, 'B L'], normalizer: str) -> Float[Array, '']:
    return jnp.ones(()) if normalizer == 'sum' else jnp.maximum(jnp.sum(shares), 1.0)


def _shares(
    weights: Float[Array, 'B L'], normalizer: str, segment_ids: Int[Array, 'B L'] | None
) -> Float[Array, 'B L']:
    if normalizer in ('sum', 'tokens'):
        return weights
    if normalizer == 'sequence':
        if segment_ids is None:
            segment_ids = jnp.ones(weights.shape, jnp.int32)
        counts = segment_counts(weights, segment_ids)
        return jnp.where(counts > 0, weights / jnp.maximum(counts, 1e-9), 0.0)
    raise unknown_name(
        'loss normaliser', normalizer, NORMALIZERS, 'VisionTextModel.loss_normalizer'
    )
