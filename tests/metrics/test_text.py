"""Exact match and character error rate, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.errors import UNANSWERED
from vlm.metrics.text import (
    character_error_rate,
    character_error_rate_per_example,
    exact_match,
    exact_match_per_example,
    word_error_rate,
    word_error_rate_per_example,
)


def test_pix2struct_unit_test():
    targets = ['abc', 'Abc', 'abc', '96%', '94%', '0.96', '0.94', "Won't"]
    predictions = ['abc', 'abc', 'Abc', '100%', '100%', '100%', '100%', "Don't"]
    assert exact_match([[t] for t in targets], predictions) == {'exact_match': 0.125}


def test_exact_match_wants_one_of_the_references_and_keeps_case():
    targets = [['gray', 'grey'], ['cat'], ['Cat'], ['a cat'], ['']]
    predictions = ['grey', ' cat\n', 'cat', 'a  cat', ' ']
    assert exact_match_per_example(targets, predictions) == [1, 1, 0, 0, 1]
    assert exact_match(targets, predictions) == {'exact_match': 0.6}


@pytest.mark.parametrize(
    ('reference', 'said', 'rate'),
    [
        ('kitten', 'sitting', 3 / 6),
        ('7041', '7041', 0),
        ('7041', '704', 1 / 4),
        ('7041', '', 1),
        ('7', '7041', 3),
        ('', '', 0),
        ('', '70', 2),
        ('e\u0301t\u00e9', '\u00e9te\u0301', 0),
        (' 70 ', '70', 0),
    ],
)
def test_rate_of_one_example(reference, said, rate):
    assert character_error_rate([[reference]], [said]) == {'character_error_rate': rate}


def test_long_references_weigh_more():
    targets, predictions = [['7'], ['123456789']], ['1', '123456789']
    assert character_error_rate(targets, predictions) == {'character_error_rate': 0.1}
    assert character_error_rate_per_example(targets, predictions) == [1, 0]


def test_the_reference_of_the_lowest_rate_counts():
    # 3 edits of 3 characters, or 4 edits of 8.
    assert character_error_rate([['dog', 'a red cat']], ['red cat']) == {
        'character_error_rate': pytest.approx(2 / 9)
    }


@given(st.text(), st.text())
def test_the_rate_is_never_negative_and_zero_for_equal_texts(a, b):
    assert character_error_rate([[a]], [a]) == {'character_error_rate': 0}
    assert character_error_rate([[a]], [b])['character_error_rate'] >= 0


@pytest.mark.parametrize(
    ('references', 'said', 'rate'),
    [
        (['the red bus stop'], 'the bus stops', 2 / 4),
        (['the bus'], ' the\n bus ', 0),
        (['the bus'], 'THE bus', 1 / 2),
        (['bus'], 'a red bus', 2),
        (['one two', 'one two three four'], 'one two three', 1 / 4),
        (['the bus'], UNANSWERED, 1),
        ([''], '', 0),
    ],
)
def test_word_error_rate_of_one_example(references, said, rate):
    assert word_error_rate_per_example([references], [said]) == [rate]


def test_word_error_rate_counts_all_words_together():
    targets, predictions = [['a'], ['b c d e f g h i j']], ['x', 'b c d e f g h i j']
    assert word_error_rate(targets, predictions) == {'word_error_rate': 0.1}
