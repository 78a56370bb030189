"""Generating answer tokens one by one from a step function and its caches."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# (tokens [B, 1], caches, answer position) -> (logits [B, V], caches)
StepFn = Callable[[Int[Array, 'B 1'], Any, Int[Array, '']], tuple[Float[Array, 'B V'], Any]]


class Decoded(NamedTuple):
    """Answers, padded with 0 behind their EOS, and the log-probability of each."""

    tokens: Int[Array, 'B T']
    scores: Float[Array, ' B']


class _State(NamedTuple):
    position: Int[Array, '']
    logits: Float[Array, 'B V']
    caches: Any
    tokens: Int[Array, 'B T']
    scores: Float[Array, ' B']
    ended: Bool[Array, ' B']


def greedy(
    logits: Float[Array, 'B V'],
    caches: Any,
    step: StepFn,
    *,
    max_length: int,
    eos_id: int,
) -> Decoded:
    """Takes the likeliest token at every position; stops when every row has ended.

    `logits` are those of the first answer token, `caches` the state after the prompt. Rows that
    have ended emit padding (0) and add nothing to their score.
    """

    def running(state: _State) -> Bool[Array, '']:
        return (state.position < max_length) & ~jnp.all(state.ended)

    def advance(state: _State) -> _State:
        log_probs = jax.nn.log_softmax(state.logits)
        chosen = jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
        gained = jnp.take_along_axis(log_probs, chosen[:, None], axis=-1)[:, 0]
        chosen = jnp.where(state.ended, 0, chosen)
        following, caches = step(chosen[:, None], state.caches, state.position)
        return _State(
            state.position + 1,
            following,
            caches,
            jax.lax.dynamic_update_slice_in_dim(
                state.tokens, chosen[:, None], state.position, axis=1
            ),
            state.scores + jnp.where(state.ended, 0.0, gained),
            state.ended | (chosen == eos_id),
        )

    batch = logits.shape[0]
    state = _State(
        jnp.zeros((), jnp.int32),
        logits,
        caches,
        jnp.zeros((batch, max_length), jnp.int32),
        jnp.zeros((batch,), jnp.float32),
        jnp.zeros((batch,), bool),
    )
    state = jax.lax.while_loop(running, advance, state)
    return Decoded(state.tokens, state.scores)


def align_right(
    tokens: Int[Array, 'B L'], lengths: Int[Array, ' B'], width: int
) -> tuple[Int[Array, 'B P'], Bool[Array, 'B P']]:
    """Moves the first `lengths[b]` tokens of each row to the end of a row of `width` slots.

    Prompts of different lengths then end at the same slot, so that every row writes its next token
    to the same cache slot and keeps its own distances between tokens. Returns the rows and where
    they hold a token.
    """
    slots = jnp.arange(width)[None]
    start = width - lengths[:, None]
    source = jnp.clip(slots - start, 0, tokens.shape[1] - 1)
    valid = slots >= start
    return jnp.where(valid, jnp.take_along_axis(tokens, source, axis=1), 0), valid
