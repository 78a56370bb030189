"""A Markov chain, written out, in place of a network: what decoding makes of it can be computed."""

import jax.numpy as jnp
import numpy as np

# Probability of the next token (columns) after a token (rows): 0 padding, 1 EOS, then 2, 3, 4.
CHAIN = np.array(
    [
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.2, 0.2, 0.2, 0.2, 0.2],
        [0.0, 0.1, 0.2, 0.6, 0.1],  # 2 -> 3
        [0.1, 0.1, 0.1, 0.2, 0.5],  # 3 -> 4
        [0.0, 0.7, 0.1, 0.1, 0.1],  # 4 -> EOS
    ]
)


def logits_of(chain) -> jnp.ndarray:
    """Logits, not normalised, of the rows of a chain."""
    return jnp.asarray(np.log(np.asarray(chain) + 1e-9) + 3.0, jnp.float32)


def chain_step(chain):
    """A step that keeps no cache: the last token alone decides."""
    logits = logits_of(chain)

    def step(tokens, caches, position, lineage):
        return logits[tokens], caches

    return step
