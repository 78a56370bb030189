"""sacreBLEU and chrF through the package, with figures by hand."""

import math
import sys

import pytest

from vlm.errors import UNANSWERED, UserError
from vlm.metrics.translation import chrf, chrf_per_example, sacrebleu

pytest.importorskip('sacrebleu', reason="needs pip install 'vlm[metrics]'")


def test_bleu_by_hand():
    # Six tokens of the same words in another order: 6/6, 3/5, 2/4, 1/3; no penalty.
    precisions = [6 / 6, 3 / 5, 2 / 4, 1 / 3]
    found = sacrebleu([['the cat sat on the mat']], ['the cat sat on mat the'])
    assert found == {'sacrebleu': pytest.approx(math.prod(precisions) ** 0.25)}


def test_chrf_by_hand():
    # 'abc' against 'abd': 2/3 of 1-grams, 1/2 of 2-grams, 0 of 3-grams; longer ones there are none.
    share = (2 / 3 + 1 / 2 + 0) / 3
    assert chrf([['abd']], ['abc']) == {'chrf': pytest.approx(share)}
    # Recall weighs four times as much: half of the characters are missing.
    assert chrf_per_example([['ab']], ['a']) == [pytest.approx(5 * 1 * 0.5 / (4 * 1 + 0.5))]


def test_chrf_scores_languages_without_spaces():
    reference = '一只猫坐在垫子上'
    near, far = chrf_per_example([[reference]] * 2, ['一只猫在垫子上', '两条狗跑过草地'])
    assert near > 0.3 and far == 0
    assert sacrebleu([[reference]], [reference[:-1]])['sacrebleu'] == 0  # all of it is one word


def test_texts_may_have_unequal_numbers_of_references():
    targets, said = [['x', 'a cat'], ['two dogs']], ['a cat', 'two dogs']
    assert chrf(targets, said) == {'chrf': pytest.approx(1)}
    assert chrf_per_example(targets, said) == [pytest.approx(1)] * 2


def test_no_answer_scores_nothing():
    assert chrf([['a cat']], [UNANSWERED]) == {'chrf': 0}
    assert sacrebleu([['a cat']], [UNANSWERED]) == {'sacrebleu': 0}


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sacrebleu.metrics', None)
    with pytest.raises(UserError, match=r"pip install 'vlm\[metrics\]'"):
        chrf([['a']], ['a'])
