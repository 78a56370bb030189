"""Span corruption: gaps and their filling make the text again; a record in, texts out."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.tasks.span_corruption import add_span_corruption_task, corrupt

MARK = re.compile(r'<extra_id_(\d+)>')


def filled(given_text: str, wanted: str) -> list[str]:
    """Puts what is wanted into the gaps."""
    pieces = MARK.split(wanted)  # '', '0', words, '1', words, ..., last mark, ''
    words = dict(zip(pieces[1::2], pieces[2::2], strict=True))
    return MARK.sub(lambda mark: words[mark[1]], given_text).split()


@given(st.integers(2, 80), st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(1, 9))
def test_gaps_filled_give_the_text(length, seed, density, span):
    words = [f'w{i}' for i in range(length)]
    given_text, wanted = corrupt(words, np.random.default_rng(seed), density, span)
    assert filled(given_text, wanted) == words
    numbers = [int(n) for n in MARK.findall(wanted)]
    assert numbers == list(range(len(numbers)))
    assert [int(n) for n in MARK.findall(given_text)] == numbers[:-1]
    gone = len(wanted.split()) - len(numbers)
    assert gone == min(max(round(length * density), 1), length - 1)
    # No gap is empty, and between two gaps there is a word.
    assert '> <' not in given_text and '> <' not in wanted


def test_fifteen_percent_in_gaps_of_three():
    _, wanted = corrupt([str(i) for i in range(100)], np.random.default_rng(0))
    assert len(wanted.split()) == 15 + 5 + 1


def test_one_word_cannot_be_corrupted():
    with pytest.raises(ValueError, match='1 words'):
        corrupt(['alone'], np.random.default_rng(0))


def test_a_text_without_image_is_trained_on(new_task, asked, dataset, convert, score):
    text = 'what color is the shape? red <extra_id_7> blue green <loc0001>'
    name = new_task(add_span_corruption_task, [{'id': 'a', 'images': [], 'text': text}])
    ((prompt, answer, meta),) = asked(name)
    assert filled(prompt, answer) == text.replace('<extra_id_7> ', '').replace('<', '<\\').split()
    assert score(name, [meta], [answer]) == {'exact_match': 1}
    assert score(name, [meta], ['red']) == {'exact_match': 0}
    [features] = convert(dataset(name))
    assert features['image_mask'].tolist() == [True]
    assert features['decoder_loss_weights'].any()
    assert (features['images'] == 128).all()
