"""What every method of decoding shares: the step it calls and the answers it returns.

A row has R *rivals*: the beams or samples that answer the same image and prompt. A step runs one
token of each. Their keys and values lie side by side in the cache of their row, so the image's
memory and the prompt's cache serve all of them, and nothing is copied when a beam splits: its
*lineage* says for every earlier step in whose slot its own token lies.

    slot      t0r0 t0r1 t0r2 t1r0 t1r1 t1r2     after two steps of three rivals
    rival 0    x              x                 lineage [0, 0]
    rival 1    x                   x            lineage [0, 1]: split from rival 0
    rival 2              x              x       lineage [2, 2]
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

# (tokens [B, R], caches, which answer position they are at, lineage [B, R, T]) -> (logits, caches)
StepFn = Callable[
    [Int[Array, 'B R'], Any, Int[Array, ''], Int[Array, 'B R T']],
    tuple[Float[Array, 'B R V'], Any],
]


class Decoded(NamedTuple):
    """Answers, best first, padded with 0 behind their EOS, and their scores.

    An answer that does not exist (fewer than R are possible) is all 0 and scores -inf.
    """

    tokens: Int[Array, 'B R T']
    scores: Float[Array, 'B R']


def visible_slots(
    lineage: Int[Array, 'B R T'], position: Int[Array, ''] | int
) -> Bool[Array, 'B R S']:
    """The answer slots, S = T * R, that each rival sees from `position`: its own line's."""
    rivals, length = lineage.shape[1:]
    own = lineage[..., None] == jnp.arange(rivals)
    past = jnp.arange(length) <= position
    return (own & past[:, None]).reshape(*lineage.shape[:2], length * rivals)
