"""Greedy decoding and sampling: every rival goes its own way, token by token."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlm.decoding.config import DecodingConfig
from vlm.decoding.constraints import PAD_ID, drawable_tokens
from vlm.decoding.steps import Decoded, StepFn


class _State(NamedTuple):
    length: Int[Array, '']
    caches: Any
    tokens: Int[Array, 'B R T']
    scores: Float[Array, 'B R']
    ended: Bool[Array, 'B R']


def sample(
    logits: Float[Array, 'B V'],
    caches: Any,
    step: StepFn,
    config: DecodingConfig,
    allowed: Bool[np.ndarray, ' V'],
    *,
    max_length: int,
    eos_id: int,
    rng: Array | None,
) -> Decoded:
    """Answers chosen token by token until every row has ended; see `vlm.decoding.decode`."""
    rivals = config.num_decodes
    shape = (logits.shape[0], rivals, max_length)
    lineage = jnp.broadcast_to(jnp.arange(rivals)[:, None], shape)

    def extend(state: _State, logits: Float[Array, 'B R V'], caches: Any) -> _State:
        log_probs = jax.nn.log_softmax(logits)
        key = None if rng is None else jax.random.fold_in(rng, state.length)
        chosen = _choose(jnp.where(allowed, log_probs, -jnp.inf), config, key)
        gained = jnp.take_along_axis(log_probs, chosen[..., None], axis=-1)[..., 0]
        chosen = jnp.where(state.ended, PAD_ID, chosen)
        return _State(
            state.length + 1,
            caches,
            state.tokens.at[:, :, state.length].set(chosen),
            state.scores + jnp.where(state.ended, 0.0, gained),
            state.ended | (chosen == eos_id),
        )

    def advance(state: _State) -> _State:
        position = state.length - 1
        return extend(state, *step(state.tokens[:, :, position], state.caches, position, lineage))

    def running(state: _State) -> Bool[Array, '']:
        return (state.length < max_length) & ~jnp.all(state.ended)

    empty = _State(
        jnp.zeros((), jnp.int32),
        caches,
        jnp.zeros(shape, jnp.int32),
        jnp.zeros(shape[:2], jnp.float32),
        jnp.zeros(shape[:2], bool),
    )
    first = jnp.broadcast_to(logits[:, None], (*shape[:2], logits.shape[-1]))
    state = jax.lax.while_loop(running, advance, extend(empty, first, caches))
    scores, order = jax.lax.top_k(state.scores, rivals)
    return Decoded(jnp.take_along_axis(state.tokens, order[..., None], axis=1), scores)


def _choose(
    log_probs: Float[Array, 'B R V'], config: DecodingConfig, rng: Array | None
) -> Int[Array, 'B R']:
    if rng is None:
        return jnp.argmax(log_probs, axis=-1).astype(jnp.int32)
    tempered = log_probs / config.temperature
    kept = jnp.where(drawable_tokens(tempered, config), tempered, -jnp.inf)
    return jax.random.categorical(rng, kept).astype(jnp.int32)
