"""Generating answers token by token, and scoring given ones.

`decode` chooses tokens by a step function; `prompts` makes one out of a network: it reads images
and prompts once, whatever is generated from them.
"""

from typing import Any

from jaxtyping import Array, Float

from vlm.decoding.beam import beam_search
from vlm.decoding.config import METHODS, DecodingConfig
from vlm.decoding.constraints import allowed_tokens
from vlm.decoding.prompts import Prefilled, align_right, check_prompts, prefill
from vlm.decoding.sampling import sample
from vlm.decoding.steps import Decoded, StepFn
from vlm.errors import UserError

__all__ = [
    'METHODS',
    'Decoded',
    'DecodingConfig',
    'Prefilled',
    'align_right',
    'check_prompts',
    'decode',
    'prefill',
]


def decode(
    logits: Float[Array, 'B V'],
    caches: Any,
    step: StepFn,
    config: DecodingConfig = DecodingConfig(),  # noqa: B008  (frozen)
    *,
    max_length: int,
    eos_id: int,
    rng: Array | None = None,
) -> Decoded:
    """R answers a row, best first, of at most `max_length` tokens; stops when no row needs more.

    `logits` are those of the first answer token, `caches` the state after the prompt. Scores are
    the model's log-probabilities of the answers, whatever the temperature or the allowed tokens;
    those of a beam are divided by the length penalty. `rng` is the key of method 'sample'.

    Raises:
      UserError: a missing key, or allowed ids that the vocabulary does not have.
    """
    allowed = allowed_tokens(config, logits.shape[-1], eos_id)
    ends = {'max_length': max_length, 'eos_id': eos_id}
    if config.method == 'beam':
        return beam_search(logits, caches, step, config, allowed, **ends)
    if config.method == 'sample' and rng is None:
        raise UserError("DecodingConfig.method = 'sample' needs a random key: pass rng.")
    rng = rng if config.method == 'sample' else None
    return sample(logits, caches, step, config, allowed, rng=rng, **ends)
