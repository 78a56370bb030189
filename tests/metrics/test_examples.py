"""What no metric accepts, and what every metric does."""

import pytest

from vlm.errors import UNANSWERED, UserError
from vlm.metrics import captions, definitions, detection, text, vqa

TEXT_METRICS = [
    text.exact_match,
    text.character_error_rate,
    vqa.vqa_accuracy,
    vqa.vqa_accuracy_simple,
    captions.cider,
]
BOX_METRICS = [detection.box_readout, detection.labelled_boxes]
BOX_TARGET = [('cat', [0, 0, 1, 1])]


@pytest.mark.parametrize('metric', TEXT_METRICS + BOX_METRICS)
def test_nothing_to_score_and_unequal_lengths_are_named(metric):
    with pytest.raises(UserError, match='no examples'):
        metric([], [])
    with pytest.raises(UserError, match='1 predictions for 2 targets'):
        metric([['a'], ['b']], ['a'])


@pytest.mark.parametrize('metric', TEXT_METRICS)
@pytest.mark.parametrize('references', ['cat', []])
def test_references_are_a_list_of_texts(metric, references):
    with pytest.raises(UserError, match='target 1'):
        metric([['a'], references], ['a', 'b'])


@pytest.mark.parametrize('metric', TEXT_METRICS + BOX_METRICS)
def test_every_figure_has_an_identity(metric):
    targets = [BOX_TARGET] if metric in BOX_METRICS else [['a']]
    result = metric(targets, ['a'])
    for key, value in result.items():
        definition = definitions.definition_of(key)
        assert definition.name == key and definition.version
        assert '\n' not in definition.definition
        assert type(value) is float


def test_no_identity_without_a_figure():
    with pytest.raises(UserError, match='Nearest: exact_match'):
        definitions.definition_of('exact_mach')


@pytest.mark.parametrize('metric', TEXT_METRICS + BOX_METRICS)
def test_an_undecodable_image_is_wrong_even_if_the_reference_says_the_same(metric):
    """The second example is there because CIDEr of one image alone is 0 anyway."""
    if metric in BOX_METRICS:
        result = metric([BOX_TARGET], [UNANSWERED])
        assert result.pop('unreadable_boxes') == 0
        assert set(result.values()) == {0.0}
        return
    [value] = metric([[UNANSWERED], ['a dog']], [UNANSWERED, '']).values()
    assert value == (1.0 if metric is text.character_error_rate else 0.0)
