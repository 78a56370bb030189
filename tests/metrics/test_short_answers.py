"""Exact match after a change of both texts, by hand."""

import pytest

from vlm.errors import UNANSWERED
from vlm.metrics.short_answers import (
    choice_letter,
    choice_letter_per_example,
    exact_match_lower,
    exact_match_lower_per_example,
    number_match,
    number_match_per_example,
)


def test_lower_case():
    targets = [['Cat'], ['cat', 'DOG'], ['cat'], [UNANSWERED]]
    predictions = ['cAT ', 'dog', 'cats', UNANSWERED]
    assert exact_match_lower_per_example(targets, predictions) == [1, 1, 0, 0]
    assert exact_match_lower(targets, predictions) == {'exact_match_lower': 0.5}


@pytest.mark.parametrize(
    ('reference', 'said', 'right'),
    [
        ('0', 'none', True),
        ('0', 'Zero', True),
        ('11', 'eleven', True),
        ('20', 'twenty', True),
        ('twelve', '12', True),
        ('21', 'twenty one', False),
        ('2', 'two dogs', False),
        ('2', '3', False),
        ('2', '2.0', False),
    ],
)
def test_number_words(reference, said, right):
    assert number_match_per_example([[reference]], [said]) == [right]


def test_number_match_is_the_mean():
    assert number_match([['1'], ['2']], ['one', 'one']) == {'number_match': 0.5}


@pytest.mark.parametrize(
    ('said', 'right'),
    [
        ('The answer is B.', True),
        ('the answer is b. Because it flies.', True),
        ('The answer is C. The answer is B.', False),
        ('The answer is B', False),  # without its full stop the answer was cut
        ('B', False),
        ('', False),
        (UNANSWERED, False),
    ],
)
def test_choice_letter(said, right):
    assert choice_letter_per_example([['The answer is B.']], [said]) == [right]
    assert choice_letter([['The answer is B.']], [said]) == {'choice_letter': right}


def test_no_letter_on_either_side_is_no_agreement():
    assert choice_letter_per_example([['B']], ['B']) == [0]
