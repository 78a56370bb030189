"""Every key that a metric returns has a definition."""

import pytest

from vlm.errors import UserError
from vlm.metrics import (
    anls,
    average_precision,
    bleu,
    captions,
    detection,
    ranking,
    relaxed,
    rouge,
    short_answers,
    spotting,
    text,
    translation,
    vqa,
)
from vlm.metrics.definitions import DEFINITIONS, definition_of

OF_TEXTS = [
    anls.anls,
    anls.anls_rrc,
    bleu.bleu_4,
    captions.cider,
    relaxed.relaxed_accuracy,
    rouge.rouge_l,
    short_answers.choice_letter,
    short_answers.exact_match_lower,
    short_answers.number_match,
    text.character_error_rate,
    text.exact_match,
    text.word_error_rate,
    vqa.vqa_accuracy,
    vqa.vqa_accuracy_simple,
]
BY_PACKAGES = {
    translation.chrf: 'sacrebleu',
    translation.sacrebleu: 'sacrebleu',
    average_precision.ap_as_said: 'faster_coco_eval',
}
OF_BOXES = [
    average_precision.ap_as_said,
    detection.box_readout,
    detection.labelled_boxes,
    spotting.spotting,
]
BOX = (0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize('metric', [*OF_TEXTS, *OF_BOXES, translation.chrf, translation.sacrebleu])
def test_every_key_is_defined(metric):
    pytest.importorskip(BY_PACKAGES.get(metric, 'vlm'))
    target = [('cat', BOX)] if metric in OF_BOXES else ['cat']
    assert all(definition_of(key).name == key for key in metric([target], ['cat']))


def test_keys_of_scored_boxes_and_groups_are_defined():
    pytest.importorskip('faster_coco_eval')
    truth, found = average_precision.TrueBox('cat', BOX), average_precision.ScoredBox('a', BOX, 1.0)
    coco = average_precision.coco_ap([[truth]], [[found]], [(8, 8)])
    lvis = average_precision.lvis_ap([[truth]], [[found]], [[]], [[]], {'cat': 'f'})
    groups = ranking.group_accuracy([('a', True)], ['true'], [0.0])
    assert {*coco, *lvis, *groups} < set(DEFINITIONS)
    assert all(key == definition.name for key, definition in DEFINITIONS.items())


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(UserError, match='anls_rrc'):
        definition_of('anls_rcc')
