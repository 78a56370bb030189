"""Answers predicted at once: rows and masks written out."""

import jax.numpy as jnp
import numpy as np

from vlm.nn.masks import decoder_mask
from vlm.nn.parallel import hide_answers

import miniature

# Prompts 5 and 6, answers 7 8 and 9; 1 ends each of them, 0 is BOS and padding.
FIRST, SECOND = ([5, 1], [7, 8, 1]), ([6, 1], [9, 1])


def row(features, name: str, example: int = 0) -> list[int]:
    return np.asarray(features[f'decoder_{name}'])[example].astype(int).tolist()


def mask_rows(features, hidden, example: int = 0) -> list[str]:
    names = ('prefix_mask', 'segment_ids')
    mask = decoder_mask(
        hidden.shape[1], *(features.get(f'decoder_{name}') for name in names), hidden
    )
    return [''.join(str(int(seen)) for seen in line) for line in np.asarray(mask)[example, 0]]


def test_the_drawing_of_the_module():
    batch = miniature.make_batch('decoder_prefix', [[FIRST], [FIRST]], prompt=2, answer=5)
    drawn = jnp.array([True, False])
    features, hidden = hide_answers(batch, drawn)
    # Targets 5 / 7 8 / 0 0, inputs BOS 5 M M M M M.
    assert hidden.astype(int).tolist() == [[0, 0, 1, 1, 1, 1, 1], [0] * 7]
    assert mask_rows(features, hidden) == ['1100000'] * 2 + ['1111111'] * 5
    # The other example is as ever: BOS 5 / are its prefix.
    plain = ['1110000', '1110000', '1110000', '1111000', '1111100', '0000010', '0000001']
    assert mask_rows(features, hidden, 1) == plain
    assert mask_rows(batch, jnp.zeros((2, 7), bool)) == plain
    for name in ('input_tokens', 'target_tokens', 'loss_weights'):
        assert row(features, name) == row(batch, name)


def test_answers_to_one_prompt_of_a_packed_row():
    batch = miniature.make_batch('decoder_prefix', [[FIRST, SECOND]] * 2, prompt=4, answer=6)
    always = jnp.array([True, True])
    # Positions:  BOS 5 / 7 8 | BOS 6 / 9 | padding
    features, hidden = hide_answers(batch, always, prompt=(5, 1))
    assert hidden[0].astype(int).tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 0, 0]
    assert mask_rows(features, hidden) == [
        *['1100000000'] * 2,
        *['1111100000'] * 3,
        *['0000011100'] * 3,
        '0000011110',
        '0000000001',
    ]
    # Behind the last pair padding is hidden with it.
    features, hidden = hide_answers(batch, always, prompt=(6, 1))
    assert hidden[0].astype(int).tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1, 1]
    assert mask_rows(features, hidden)[5:] == ['0000011000'] * 2 + ['0000011111'] * 3
    # A prompt that only begins alike is another.
    assert not hide_answers(batch, always, prompt=(5, 6, 1))[1].any()
    assert not hide_answers(batch, always, prompt=(7, 8))[1].any()


def test_fusion_encoder_hides_whole_rows():
    batch = miniature.make_batch('fusion_encoder', [[FIRST], [SECOND], [FIRST]], prompt=3, answer=4)
    drawn = jnp.array([True, True, False])
    features, hidden = hide_answers(batch, drawn)
    assert hidden.astype(int).tolist() == [[1] * 4, [1] * 4, [0] * 4]
    assert mask_rows(features, hidden) == ['1111'] * 4
    assert mask_rows(features, hidden, 2) == ['1000', '1100', '1110', '1111']
    asked = hide_answers(batch, drawn, prompt=(6, 1))[1]
    assert asked.astype(int).tolist() == [[0] * 4, [1] * 4, [0] * 4]
    assert not hide_answers(batch, drawn, prompt=(6, 1, 1, 1))[1].any()
