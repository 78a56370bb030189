"""CIDEr-D against the figures of the official program."""

import pytest

from vlm.metrics.captions import cider, cider_per_example

CATS, DOGS, BUS = ['a cat'], ['two dogs'], ['the red bus']
ONE_EACH = [['a cat on a mat'], ['two dogs run fast']]
TWO_EACH = [
    ['a cat on a mat', 'a cat sits on the mat'],
    ['two dogs run fast', 'dogs running in a field'],
]
TWICE = 'a cat on a mat a cat on a mat'


def test_one_image_alone_scores_nothing():
    assert cider([['a cat on a mat']], ['a cat on a mat']) == {'cider': 0}


def test_two_exact_captions_score_ten_each():
    texts = [text for [text] in ONE_EACH]
    assert cider_per_example(ONE_EACH, texts) == pytest.approx([10, 10])


@pytest.mark.parametrize(
    ('references', 'captions', 'scores'),
    [
        ([CATS, DOGS, BUS], ['a cat', 'dogs', 'a blue bus'], [5, 1.74338435, 0.83333333]),
        (TWO_EACH, ['a cat on a mat', 'two dogs in a field'], [6.2305442, 2.95141295]),
        (ONE_EACH, [TWICE, 'two dogs'], [3.31132333, 3.03761077]),
        (TWO_EACH, [TWICE, 'two dogs'], [2.1518822, 1.9088176]),
    ],
)
def test_scores_are_the_official_ones(references, captions, scores):
    assert cider_per_example(references, captions) == pytest.approx(scores, abs=1e-7)
    assert cider(references, captions)['cider'] == pytest.approx(
        sum(scores) / len(scores), abs=1e-7
    )


def test_pix2struct_unit_test():
    targets = [[t] for t in ['abc', 'Abc', 'abc', '96%', '94%', '0.96', '0.94', "Won't"]]
    predictions = ['abc', 'abc', 'Abc', '100%', '100%', '100%', '100%', "Don't"]
    assert cider_per_example(targets, predictions) == pytest.approx(
        [2.5, 2.5, 2.5, 0.76923077, 0.76923077, 0, 0, 1.25], abs=1e-7
    )
    # Papers print a hundred times the score.
    assert 100 * cider(targets, predictions)['cider'] == pytest.approx(128.60576923, abs=1e-6)


def test_repeating_words_does_not_pay():
    once, twice = (cider_per_example(TWO_EACH, [said, '']) for said in ('a cat on a mat', TWICE))
    assert twice[0] < once[0]


def test_an_empty_caption_scores_nothing():
    assert cider_per_example([CATS, DOGS, BUS], ['', ' . ', '?']) == [0, 0, 0]
