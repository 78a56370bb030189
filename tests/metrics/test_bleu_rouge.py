"""BLEU-4 and ROUGE-L against pycocoevalcap 1.2 (the figures here are its output)."""

import math

import pytest

from vlm.errors import UNANSWERED
from vlm.metrics.bleu import bleu_4, bleu_4_per_example
from vlm.metrics.caption_tokens import caption_tokens
from vlm.metrics.rouge import rouge_l, rouge_l_per_example

CATS = [
    ['a cat on a mat', 'a cat sits on the mat'],
    ['two dogs run fast', 'dogs running in a field'],
]
HORSE = [['a man rides a brown horse down the street', 'the man is riding a horse']]
SHORT = [['a cat on the mat'], ['the dog sleeps']]
# References, captions; BLEU-4 of each caption and of all; ROUGE-L of each.
SAID = [
    (CATS, ['a cat on a mat', 'two dogs in a field'], [1.0, 1.0573712e-4], 0.73488892, [1, 0.8]),
    (HORSE, ['a man is riding a horse on the street'], [0.55552381], 0.55552381, [0.755886]),
    (SHORT, ['a cat', ''], [2.2313016e-4, 0], 4.9787068e-5, [0.53043478, 0]),
]


@pytest.mark.parametrize(('targets', 'said', 'each', 'bleu', 'rouge'), SAID)
def test_figures_are_the_official_ones(targets, said, each, bleu, rouge):
    assert bleu_4(targets, said) == {'bleu_4': pytest.approx(bleu, rel=1e-6)}
    assert bleu_4_per_example(targets, said) == pytest.approx(each, rel=1e-6)
    assert rouge_l_per_example(targets, said) == pytest.approx(rouge, rel=1e-6)
    assert rouge_l(targets, said) == {'rouge_l': pytest.approx(sum(rouge) / len(rouge), rel=1e-6)}


@pytest.mark.parametrize(('targets', 'said', 'each', 'bleu', 'rouge'), SAID)
def test_the_official_program_still_says_so(targets, said, each, bleu, rouge):
    package = pytest.importorskip('pycocoevalcap.bleu.bleu', reason='needs the extra metrics')
    tokens = {i: [' '.join(caption_tokens(t)) for t in texts] for i, texts in enumerate(targets)}
    answers = {i: [' '.join(caption_tokens(text))] for i, text in enumerate(said)}
    official, _ = package.Bleu(4).compute_score(tokens, answers, verbose=0)
    assert bleu_4(targets, said)['bleu_4'] == pytest.approx(official[3], rel=1e-12)


def test_bleu_by_hand():
    reference, said = 'the cat sat on the mat', 'the cat sat on mat the'
    precisions = [6 / 6, 3 / 5, 2 / 4, 1 / 3]
    assert bleu_4([[reference]], [said])['bleu_4'] == pytest.approx(math.prod(precisions) ** 0.25)


def test_a_short_caption_is_punished_and_a_long_one_is_not():
    reference = 'a b c d e f g h'
    assert bleu_4([[reference]], ['a b c d'])['bleu_4'] == pytest.approx(math.exp(1 - 8 / 4))
    assert bleu_4([['a b c d', reference]], ['a b c d'])['bleu_4'] == pytest.approx(1)


def test_rouge_takes_the_best_precision_and_the_best_recall():
    # Precision 2/2 of the long reference, recall 1/1 of the short one.
    assert rouge_l_per_example([['a x x b', 'b']], ['a b']) == [1]
    f = (1 + 1.44) * 1 * 0.5 / (0.5 + 1.44 * 1)
    assert rouge_l_per_example([['a x x b']], ['a b']) == [pytest.approx(f)]


def test_no_answer_scores_nothing():
    assert bleu_4([['a cat']], [UNANSWERED])['bleu_4'] == pytest.approx(0)
    assert rouge_l([['a cat']], [UNANSWERED]) == {'rouge_l': 0}
