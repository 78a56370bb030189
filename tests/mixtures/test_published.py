"""The papers' mixtures: every part is registered, rates are those stated."""

import pytest

from vlm.data.mixtures import rates_of
from vlm.mixtures import lit_decoder, locca, pali, paligemma  # noqa: F401


def shares(name: str) -> dict[str, float]:
    rates, _ = rates_of(name)
    return {task: rate / sum(rates.values()) for task, rate in rates.items()}


def test_pali_counts_examples():
    rates, origin = rates_of('pali_pretrain')
    assert sum(rates.values()) == 1566 and 'not checked' in origin
    assert shares('pali_pretrain')['web_split_caption'] == pytest.approx(1000 / 1566)


def test_later_stages_are_about_text_and_boxes():
    assert set(shares('pali_x_stage2')) == {'web_ocr', 'web_detection'}
    before, after = shares('paligemma_stage1'), shares('paligemma_stage2')
    assert set(before) == set(after)
    risen = {task for task in before if after[task] > before[task]}
    assert risen == {'web_ocr', 'web_detection', 'web_segmentation'}


@pytest.mark.parametrize('name', ['pali_x_stage1', 'pali_x_stage2', 'lit_decoder_multitask'])
def test_unpublished_rates_are_equal_and_say_so(name):
    assert len(set(shares(name).values())) == 1
    assert 'not published' in rates_of(name)[1]


def test_locca_is_one_group():
    assert shares('locca') == {'web_locca': 1.0}
