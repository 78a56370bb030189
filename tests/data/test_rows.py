"""Rows written out token by token; 1 is EOS, prompts are 10.., answers are 20.., padding is 0."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.data.rows import PromptForm, fusion_row, make_row, prefix_row, prompt_row, segments

PREFIX_FEATURES = (
    'decoder_input_tokens',
    'decoder_target_tokens',
    'decoder_loss_weights',
    'decoder_prefix_mask',
    'decoder_segment_ids',
)


def ids(*tokens: int) -> np.ndarray:
    return np.array(tokens, np.int32)


def prefix(inputs: np.ndarray, targets: np.ndarray, length: int) -> list[list[int]]:
    """Targets, inputs, weights, prefix and segments of a row of `length`, as 0s, 1s and ids."""
    row = make_row('decoder_prefix', inputs, targets, dict.fromkeys(PREFIX_FEATURES, length))
    assert tuple(row) == PREFIX_FEATURES
    order = ('target_tokens', 'input_tokens', 'loss_weights', 'prefix_mask', 'segment_ids')
    return [row[f'decoder_{name}'].astype(int).tolist() for name in order]


def test_one_pair():
    assert prefix(ids(10, 11, 1), ids(20, 1), 7) == [
        [10, 11, 1, 20, 1, 0, 0],
        [0, 10, 11, 1, 20, 0, 0],
        [0, 0, 0, 1, 1, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
    ]


def test_the_drawing_of_the_module():
    assert prefix(ids(10, 11, 1, 12, 1), ids(20, 1, 21, 22, 1), 11) == [
        [10, 11, 1, 20, 1, 12, 1, 21, 22, 1, 0],
        [0, 10, 11, 1, 20, 0, 12, 1, 21, 22, 0],
        [0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0],
        [1, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0],
    ]


def test_paligemmas_form_of_prompts():
    """<bos> is 2, the line break 9: they stand where the beginning of a row and EOS stood."""
    form = PromptForm(bos_id=2, end_id=9)
    row = prefix_row(ids(10, 11, 1, 12, 1), ids(20, 1, 21, 1), form)
    assert row['decoder_input_tokens'].tolist() == [2, 10, 11, 9, 20, 2, 12, 9, 21]
    assert row['decoder_target_tokens'].tolist() == [10, 11, 9, 20, 1, 12, 9, 21, 1]
    plain = prefix_row(ids(10, 11, 1, 12, 1), ids(20, 1, 21, 1))
    for name in ('loss_weights', 'prefix_mask', 'segment_ids'):
        np.testing.assert_array_equal(row[f'decoder_{name}'], plain[f'decoder_{name}'])
    asked = prompt_row(ids(10, 11, 1), form)
    assert asked['decoder_input_tokens'].tolist() == [2, 10, 11, 9]


def test_a_prompt_that_nothing_ends():
    """The answer's first token is predicted from the prompt's last, or else from BOS."""
    form = PromptForm(end_id=None)
    row = prefix_row(ids(10, 11, 1, 1, 12, 1), ids(20, 1, 21, 1, 22, 1), form)
    assert {name: values.tolist() for name, values in row.items()} == {
        'decoder_target_tokens': [10, 11, 20, 1, 21, 1, 12, 22, 1],
        'decoder_input_tokens': [0, 10, 11, 20, 0, 21, 0, 12, 22],
        'decoder_loss_weights': [0, 0, 1, 1, 1, 1, 0, 1, 1],
        'decoder_prefix_mask': [1, 1, 1, 0, 1, 0, 1, 1, 0],
        'decoder_segment_ids': [1, 1, 1, 1, 2, 2, 3, 3, 3],
    }
    asked = prompt_row(ids(10, 11, 1), form)
    assert asked['decoder_input_tokens'].tolist() == [0, 10, 11]
    assert asked['decoder_prefix_mask'].tolist() == [1, 1, 1]
    assert prompt_row(ids(1), form)['decoder_input_tokens'].tolist() == [0]


def test_three_pairs_of_which_one_has_an_empty_answer():
    assert prefix(ids(10, 1, 11, 1, 12, 1), ids(20, 1, 1, 22, 23, 1), 13) == [
        [10, 1, 20, 1, 11, 1, 1, 12, 1, 22, 23, 1, 0],
        [0, 10, 1, 20, 0, 11, 1, 0, 12, 1, 22, 23, 0],
        [0, 0, 1, 1, 0, 0, 1, 0, 0, 1, 1, 1, 0],
        [1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3, 0],
    ]


def test_empty_prompt():
    assert prefix(ids(1), ids(20, 1), 4) == [
        [1, 20, 1, 0],
        [0, 1, 20, 0],
        [0, 1, 1, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
    ]


def test_no_prompt_at_all_still_begins_with_bos():
    assert prefix(ids(), ids(20, 1), 3) == [
        [20, 1, 0],
        [0, 20, 0],
        [1, 1, 0],
        [1, 0, 0],
        [1, 1, 0],
    ]


def test_a_cut_answer_does_not_teach_to_stop():
    assert prefix(ids(10, 1), ids(20, 21), 5) == [
        [10, 1, 20, 21, 0],
        [0, 10, 1, 20, 0],
        [0, 0, 1, 1, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
    ]


def test_a_cut_prompt_still_ends_where_the_answer_begins():
    assert prefix(ids(10, 11), ids(20, 1), 4) == [
        [10, 11, 20, 1],
        [0, 10, 11, 20],
        [0, 0, 1, 1],
        [1, 1, 1, 0],
        [1, 1, 1, 1],
    ]


def test_a_row_too_long_is_cut():
    assert prefix(ids(10, 1), ids(20, 21, 1), 3) == [
        [10, 1, 20],
        [0, 10, 1],
        [0, 0, 1],
        [1, 1, 1],
        [1, 1, 1],
    ]


def test_nothing_is_all_padding():
    assert prefix(ids(), ids(), 2) == [[0, 0]] * 5


def test_types_are_those_of_the_model():
    kinds = {name: value.dtype for name, value in prefix_row(ids(10, 1), ids(20, 1)).items()}
    assert kinds == {
        'decoder_input_tokens': np.int32,
        'decoder_target_tokens': np.int32,
        'decoder_loss_weights': np.float32,
        'decoder_prefix_mask': bool,
        'decoder_segment_ids': np.int32,
    }
    assert all(v.dtype in (np.int32, np.float32) for v in fusion_row(ids(1), ids(1)).values())


def test_fusion_encoder_keeps_prompt_and_answer_apart():
    lengths = dict.fromkeys([*PREFIX_FEATURES[:3], 'encoder_input_tokens'], 4)
    row = make_row('fusion_encoder', ids(10, 11, 1), ids(20, 1), lengths | {'other': 9})
    assert {name: value.tolist() for name, value in row.items()} == {
        'encoder_input_tokens': [10, 11, 1, 0],
        'decoder_input_tokens': [0, 20, 0, 0],
        'decoder_target_tokens': [20, 1, 0, 0],
        'decoder_loss_weights': [1, 1, 0, 0],
    }


def test_fusion_encoder_with_an_empty_prompt_and_a_cut_answer():
    row = fusion_row(ids(1), ids(20, 21))
    assert row['encoder_input_tokens'].tolist() == [1]
    assert row['decoder_input_tokens'].tolist() == [0, 20]
    assert row['decoder_target_tokens'].tolist() == [20, 21]


def test_segments():
    assert segments(ids(10, 11, 1, 1, 12)).tolist() == [0, 0, 0, 1, 2]
    assert segments(ids()).tolist() == []


@pytest.mark.parametrize('inputs', [ids(10, 11, 1), ids(1)])
def test_a_prompt_to_be_answered_is_the_beginning_of_the_row_it_was_trained_on(inputs):
    asked, trained = prompt_row(inputs), prefix_row(inputs, ids(20, 1))
    length = len(inputs) + 1
    for name in ('decoder_input_tokens', 'decoder_prefix_mask', 'decoder_segment_ids'):
        assert asked[name].tolist() == trained[name][:length].tolist()
    assert asked['decoder_input_tokens'][-1] == 1  # the prompt's EOS, from which to answer
    assert not asked['decoder_loss_weights'].any()


tokens = st.lists(st.integers(2, 50), max_size=5)
pairs = st.lists(st.tuples(tokens, tokens), max_size=6)


def joined(parts: list[list[int]]) -> np.ndarray:
    return np.array([token for part in parts for token in [*part, 1]], np.int32)


def recovered(row: dict[str, np.ndarray]) -> list[tuple[list[int], list[int]]]:
    """The pairs of a row, as its segments and weights tell them."""
    segment, weights = row['decoder_segment_ids'], row['decoder_loss_weights']
    found = []
    for i in range(1, segment.max(initial=0) + 1):
        asked, said = ((segment == i) & (weights == w) for w in (0, 1))
        found.append(tuple(row['decoder_target_tokens'][at].tolist() for at in (asked, said)))
    return found


@given(pairs, st.integers(0, 5))
def test_a_row_gives_its_pairs_back(pairs, padding):
    inputs, targets = (joined([pair[i] for pair in pairs]) for i in (0, 1))
    lengths = dict.fromkeys(PREFIX_FEATURES, len(inputs) + len(targets) + padding)
    row = make_row('decoder_prefix', inputs, targets, lengths)
    assert recovered(row) == [([*prompt, 1], [*answer, 1]) for prompt, answer in pairs]


@given(pairs)
def test_every_position_reads_the_token_before_it_in_its_own_pair(pairs):
    inputs, targets = (joined([pair[i] for pair in pairs]) for i in (0, 1))
    row = prefix_row(inputs, targets)
    at = 0
    for prompt, answer in pairs:
        whole = [*prompt, 1, *answer, 1]
        part = slice(at, at + len(whole))
        assert row['decoder_input_tokens'][part].tolist() == [0, *whole[:-1]]
        # BOS and the prompt with its EOS may be seen from everywhere in the pair.
        bidirectional = [True] * (len(prompt) + 2) + [False] * len(answer)
        assert row['decoder_prefix_mask'][part].tolist() == bidirectional
        at += len(whole)
    assert at == len(row['decoder_target_tokens'])
