"""Parallel prediction: whole answers predicted at once from image and prompt (CapPa, 2306.07915).

In a pair drawn for it, every decoder input that predicts a token of the answer becomes the mask
token M, and these positions see all of their pair: nothing of the answer is known but where it
stands. Targets and weights stay what they are:

    targets   p1 /  a1 a2 /  0  0      / = EOS
    inputs    0  p1 /  a1 a2 /  0      BOS, then shifted by one
    hidden    0  p1 M  M  M  M  M

Padding behind the pair is hidden too, or the number of mask tokens would tell the answer's length.
"""

from collections.abc import Mapping

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from vlm.nn.masks import decoder_mask, positions_seen


def hide_answers(
    batch: Mapping[str, Array], rows: Bool[Array, ' B'], prompt: tuple[int, ...] | None = None
) -> tuple[dict[str, Array], Bool[Array, 'B L']]:
    """The batch as the network takes it, and which positions of its rows hold the mask token.

    Args:
      batch: model features of any wiring.
      rows: whose answers are hidden.
      prompt: hides only the answers to this prompt (ids, EOS last); None hides all.
    """
    answer = batch['decoder_loss_weights'] > 0
    if 'decoder_segment_ids' not in batch:
        asked = jnp.ones_like(rows) if prompt is None else _begins(batch, prompt)
        hidden = jnp.broadcast_to((rows & asked)[:, None], answer.shape)
        return {**batch, 'decoder_segment_ids': jnp.ones(answer.shape, jnp.int32)}, hidden
    segments = batch['decoder_segment_ids']
    padding = segments == 0
    asked = rows[:, None] & ~padding
    if prompt is not None:
        asked &= _segments_of(segments, batch['decoder_target_tokens'], prompt)
    last = segments == jnp.max(segments, axis=1, keepdims=True)
    hidden_padding = padding & jnp.any(asked & last, axis=1, keepdims=True)
    hidden = (asked & answer) | hidden_padding
    joined = jnp.where(hidden_padding, jnp.max(segments, axis=1, keepdims=True), segments)
    prefix = batch['decoder_prefix_mask'] & ~hidden
    return {**batch, 'decoder_segment_ids': joined, 'decoder_prefix_mask': prefix}, hidden


def _begins(batch: Mapping[str, Array], prompt: tuple[int, ...]) -> Bool[Array, ' B']:
    """Whose encoder's prompt is `prompt`."""
    given = batch['encoder_input_tokens'][:, : len(prompt)]
    if given.shape[1] < len(prompt):
        return jnp.zeros(given.shape[:1], bool)
    return jnp.all(given == jnp.asarray(prompt), axis=1)


def _segments_of(
    segments: Int[Array, 'B L'], targets: Int[Array, 'B L'], prompt: tuple[int, ...]
) -> Bool[Array, 'B L']:
    """Positions of the segments that begin with `prompt`."""
    length = targets.shape[1]
    ahead = jnp.pad(targets, ((0, 0), (0, len(prompt))))
    found = [ahead[:, i : i + length] == token for i, token in enumerate(prompt)]
    matches = jnp.all(jnp.stack(found), axis=0)
    start = jnp.arange(length) - positions_seen(decoder_mask(length, None, segments))
    return jnp.take_along_axis(matches, start, axis=1)
