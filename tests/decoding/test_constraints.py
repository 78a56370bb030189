"""Masks over the vocabulary by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from vlm.decoding import DecodingConfig
from vlm.decoding.constraints import allowed_tokens, drawable_tokens
from vlm.errors import UserError

# Not in order, so that a mask in the order of likelihood would show.
PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.3, 0.15])


def drawable(probabilities=PROBABILITIES, **options) -> list[int]:
    logits = jnp.log(jnp.asarray(probabilities, jnp.float32)) + 2.0
    return drawable_tokens(logits, DecodingConfig('sample', **options)).astype(int).tolist()


@pytest.mark.parametrize(
    'options, wanted',
    [
        ({}, [1, 1, 1, 1, 1]),
        ({'top_k': 1}, [0, 1, 0, 0, 0]),
        ({'top_k': 3}, [0, 1, 0, 1, 1]),
        ({'top_k': 9}, [1, 1, 1, 1, 1]),
        # Shares in order: 0.4, 0.7, 0.85, 0.95, 1.
        ({'top_p': 0.01}, [0, 1, 0, 0, 0]),
        ({'top_p': 0.39}, [0, 1, 0, 0, 0]),
        ({'top_p': 0.41}, [0, 1, 0, 1, 0]),
        ({'top_p': 0.84}, [0, 1, 0, 1, 1]),
        ({'top_p': 0.9}, [1, 1, 0, 1, 1]),
        ({'top_p': 1.0}, [1, 1, 1, 1, 1]),
        # 0.4 of the 0.85 that three tokens hold is 0.47, 0.7 of it 0.82.
        ({'top_k': 3, 'top_p': 0.46}, [0, 1, 0, 0, 0]),
        ({'top_k': 3, 'top_p': 0.8}, [0, 1, 0, 1, 0]),
        ({'top_k': 3, 'top_p': 0.83}, [0, 1, 0, 1, 1]),
    ],
)
def test_top_k_and_top_p_by_hand(options, wanted):
    assert drawable(**options) == wanted


def test_equally_likely_tokens_are_kept_together():
    assert drawable([0.25, 0.4, 0.1, 0.25, 0.0], top_k=2) == [1, 1, 0, 1, 0]


def test_tokens_without_probability_are_never_drawable():
    assert drawable([0.0, 0.5, 0.5, 0.0, 0.0], top_k=4) == [0, 1, 1, 0, 0]


def test_every_row_has_its_own_mask():
    rows = [PROBABILITIES, PROBABILITIES[::-1]]
    assert drawable(rows, top_k=2) == [[0, 1, 0, 1, 0], [0, 1, 0, 1, 0]]
    assert drawable(rows, top_k=3) == [[0, 1, 0, 1, 1], [1, 1, 0, 1, 0]]


def test_padding_is_never_allowed_and_the_end_always():
    def allowed(**options):
        return allowed_tokens(DecodingConfig(**options), 6, eos_id=1).astype(int).tolist()

    assert allowed() == [0, 1, 1, 1, 1, 1]
    assert allowed(allowed_ids=(3, 5)) == [0, 1, 0, 1, 0, 1]


def test_allowed_ids_outside_the_vocabulary_are_refused():
    config = DecodingConfig(allowed_ids=[3, 6])
    config.check_vocabulary(7)
    with pytest.raises(UserError, match=r'allowed_ids holds 6; the largest id .* is 5'):
        allowed_tokens(config, 6, eos_id=1)
