"""The VQA challenge's normaliser and accuracy: by published probes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.metrics.vqa import (
    normalise_answer,
    vqa_accuracy,
    vqa_accuracy_per_example,
    vqa_accuracy_simple,
    vqa_accuracy_simple_per_example,
)


@pytest.mark.parametrize(
    ('answer', 'normalised'),
    [
        ('The two-dogs', '2 dogs'),
        ('2,000', '2000'),
        ('2,000 people/day', '2000 peopleday'),
        ('red/white', 'red white'),
        ('t-shirt', 't shirt'),
        ('U.S.A.', 'usa'),
        ('1.5', '1.5'),
        ('no. 5.', 'no 5'),
        ('none', '0'),
        ('a', ''),
        ('Its the Dog!', 'its dog'),
        ('dont know', "don't know"),
        ('whats', "what's"),
        ('10 %', '10 %'),
        ('$5.00', '$5.00'),
        ('3:30', '3:30'),
        ('"stop"', 'stop'),
        ("Id've", "id've"),
        ('ice-cream cone', 'ice cream cone'),
        (' red\nand\tblue ', 'red and blue'),
        ('Ten', '10'),
        ("hed've", "he'd've"),
        ("he'dve", "he'd've"),
        ("somebody'd", 'somebodyd'),
    ],
)
def test_answers_are_normalised_as_officially(answer, normalised):
    assert normalise_answer(answer) == normalised


@given(st.text())
def test_normalising_never_raises_and_leaves_no_article(text):
    assert not {'a', 'an', 'the'} & set(normalise_answer(text).split())


@pytest.mark.parametrize(
    ('agree', 'official', 'simple'),
    [(0, 0, 0), (1, 0.3, 1 / 3), (2, 0.6, 2 / 3), (3, 0.9, 1), (4, 1, 1), (10, 1, 1)],
)
def test_marks_by_agreement_of_ten(agree, official, simple):
    answers = ['red'] * agree + ['blue'] * (10 - agree)
    assert vqa_accuracy([answers], ['red']) == {'vqa_accuracy': pytest.approx(official)}
    assert vqa_accuracy_simple([answers], ['red']) == {'vqa_accuracy_simple': pytest.approx(simple)}


def test_unanimous_answers_are_compared_raw_and_others_normalised():
    assert vqa_accuracy_per_example([['Yes'] * 10] * 2, ['yes', ' Yes\n']) == [0, 1]
    assert vqa_accuracy_per_example([['Yes'] * 9 + ['no']], ['yes']) == [1]


@pytest.mark.parametrize('score', [vqa_accuracy_per_example, vqa_accuracy_simple_per_example])
def test_one_reference_is_exact_after_normalisation(score):
    targets = [['two'], ['The dog.'], ['red']]
    assert score(targets, ['2', 'dog', 'blue']) == [1, 1, 0]


def test_a_few_references_are_alternatives():
    assert vqa_accuracy_per_example([['grey', 'gray', 'silver']], ['Gray']) == [1]
    assert vqa_accuracy_simple_per_example([['grey', 'gray']], ['Gray']) == [1]
    # Where three people can make up the full mark, the simple form asks for all three.
    assert vqa_accuracy_simple_per_example([['grey', 'gray', 'silver']], ['gray']) == [1 / 3]


def test_the_figure_is_the_mean():
    assert vqa_accuracy([['red'], ['blue']], ['red', 'red']) == {'vqa_accuracy': 0.5}
