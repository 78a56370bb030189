"""Beam search: the likeliest answers, found by keeping the best beginnings."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlm.decoding.config import DecodingConfig
from vlm.decoding.constraints import PAD_ID
from vlm.decoding.steps import Decoded, StepFn


class _State(NamedTuple):
    length: Int[Array, '']
    caches: Any
    live: Decoded  # beginnings and their log-probabilities
    lineage: Int[Array, 'B R T']
    ended: Decoded  # whole answers and their ranking scores


def length_penalty(length: Int[Array, ''] | int, alpha: float) -> Float[Array, '']:
    """((5 + length) / 6)**alpha (GNMT, 1609.08144, 7), as in T5X."""
    return ((5.0 + jnp.asarray(length, jnp.float32)) / 6.0) ** alpha


def beam_search(
    logits: Float[Array, 'B V'],
    caches: Any,
    step: StepFn,
    config: DecodingConfig,
    allowed: Bool[np.ndarray, ' V'],
    *,
    max_length: int,
    eos_id: int,
) -> Decoded:
    """The best answers found with a beam of R = `num_decodes`; see `vlm.decoding.decode`.

    Every step keeps the R best continuations. Those that end leave the beam for the list of the R
    best answers, and what lives on fills the beam again; so a beam of 1 is greedy decoding. A row
    is done when no live beginning, were all its further tokens certain, could still enter the list.
    Answers cut off at `max_length` come behind all that ended.
    """
    rivals, vocab = config.num_decodes, logits.shape[-1]
    shape = (logits.shape[0], rivals, max_length)

    def extend(state: _State, logits: Float[Array, 'B R V'], caches: Any) -> _State:
        log_probs = jnp.where(allowed, jax.nn.log_softmax(logits), -jnp.inf)
        totals = state.live.scores[..., None] + log_probs
        scores, flat = jax.lax.top_k(totals.reshape(shape[0], rivals * vocab), rivals)
        parents, chosen = flat // vocab, (flat % vocab).astype(jnp.int32)
        tokens = _pick(state.live.tokens, parents).at[:, :, state.length].set(chosen)
        ends = chosen == eos_id
        ranked = scores / length_penalty(state.length + 1, config.alpha)
        return _State(
            state.length + 1,
            caches,
            Decoded(tokens, jnp.where(ends, -jnp.inf, scores)),
            # The token chosen now will lie in the slot of the beam that it becomes.
            _pick(state.lineage, parents).at[:, :, state.length].set(jnp.arange(rivals)),
            _best(state.ended, Decoded(tokens, jnp.where(ends, ranked, -jnp.inf))),
        )

    def advance(state: _State) -> _State:
        position = state.length - 1
        last = state.live.tokens[:, :, position]
        return extend(state, *step(last, state.caches, position, state.lineage))

    def running(state: _State) -> Bool[Array, '']:
        # Log-probabilities only fall, and the longest answer is penalised least.
        reachable = state.live.scores.max(axis=1) / length_penalty(max_length, config.alpha)
        worst = state.ended.scores[:, -1]
        return (state.length < max_length) & jnp.any(reachable > worst)

    nothing = Decoded(jnp.zeros(shape, jnp.int32), jnp.full(shape[:2], -jnp.inf))
    # One beam at first: R equal ones would give every continuation R times.
    start = nothing._replace(scores=nothing.scores.at[:, 0].set(0.0))
    empty = _State(jnp.zeros((), jnp.int32), caches, start, jnp.zeros(shape, jnp.int32), nothing)
    first = jnp.broadcast_to(logits[:, None], (*shape[:2], vocab))
    state = jax.lax.while_loop(running, advance, extend(empty, first, caches))
    cut = state.live.scores / length_penalty(max_length, config.alpha)
    return _ended_first(state.ended, state.live._replace(scores=cut))


def _pick(values: Int[Array, 'B I T'], rows: Int[Array, 'B R']) -> Int[Array, 'B R T']:
    return jnp.take_along_axis(values, rows[..., None], axis=1)


def _best(known: Decoded, new: Decoded) -> Decoded:
    """The R best of 2 R, best first; of equals the known."""
    tokens, scores = (jnp.concatenate(pair, axis=1) for pair in zip(known, new, strict=True))
    scores, order = jax.lax.top_k(scores, known.scores.shape[1])
    return Decoded(_pick(tokens, order), scores)


def _ended_first(ended: Decoded, cut: Decoded) -> Decoded:
    """The answers that ended, then those cut off, each best first; R in all."""
    tokens, scores = (jnp.concatenate(pair, axis=1) for pair in zip(ended, cut, strict=True))
    missing = jnp.where(jnp.isneginf(ended.scores), 2, 0)
    priority = jnp.concatenate([missing, jnp.ones_like(missing)], axis=1)
    order = jnp.lexsort((-scores, priority), axis=-1)[:, : missing.shape[1]]
    scores = jnp.take_along_axis(scores, order, axis=1)
    tokens = jnp.where(jnp.isneginf(scores)[..., None], PAD_ID, _pick(tokens, order))
    return Decoded(tokens, scores)
