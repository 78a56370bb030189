"""Box read-out and detection figures, by hand."""

import pytest

from vlm.boxes import BoxCodec
from vlm.errors import UNANSWERED, UserError
from vlm.metrics.detection import (
    box_readout,
    box_readout_per_example,
    labelled_boxes,
    labelled_boxes_per_example,
)

# Eleven codes: a coordinate of one decimal is written and read without error.
CODEC = BoxCodec(style='integer', bins=11)
WHOLE = (0, 0, 1, 1)
LEFT = (0, 0, 1, 0.5)
RIGHT = (0, 0.5, 1, 1)


def written(*objects):
    return CODEC.encode_objects((box, label) for label, box in objects)


def figures(targets, predictions):
    result = labelled_boxes(targets, predictions, codec=CODEC)
    return [result[f'{name}_at_0.5'] for name in ('precision', 'recall', 'f1')]


# --- one box an example ----------------------------------------------------------------------


def test_read_out_by_hand():
    targets = [[('a', WHOLE)], [('b', WHOLE)], [('c', LEFT)], [('d', WHOLE)]]
    predictions = [
        'a : ' + CODEC.encode_box(WHOLE),  # 1
        CODEC.encode_box(LEFT),  # exactly one half: found
        CODEC.encode_box(RIGHT) + ' : c',  # 0
        '10 0 0 10',  # inverted: wrong, and still in the denominator
    ]
    assert box_readout_per_example(targets, predictions, codec=CODEC) == [1, 0.5, 0, 0]
    assert box_readout(targets, predictions, codec=CODEC) == {
        'acc_at_0.5': 0.5,
        'mean_iou': 0.375,
        'unreadable_boxes': 1,
    }


def test_just_under_one_half_is_not_found():
    result = box_readout([[('', WHOLE)]], [CODEC.encode_box((0, 0, 1, 0.4))], codec=CODEC)
    assert result['acc_at_0.5'] == 0 and result['mean_iou'] == pytest.approx(0.4)


def test_the_default_codec_is_that_of_paligemma():
    target = [('', (0.5, 0.25, 0.875, 0.75))]
    [iou] = box_readout_per_example([target], ['<loc0512><loc0256><loc0895><loc0767> cat'])
    assert iou == pytest.approx(1, abs=0.01)


def test_the_first_of_several_boxes_is_scored():
    said = written(('', RIGHT), ('', WHOLE))
    assert box_readout_per_example([[('', WHOLE)]], [said], codec=CODEC) == [0.5]


@pytest.mark.parametrize('objects', [[], [('', WHOLE)] * 2])
def test_a_read_out_has_one_target(objects):
    with pytest.raises(UserError, match='target 0'):
        box_readout([objects], ['none'])


def test_a_target_the_wrong_way_round_is_named():
    with pytest.raises(UserError, match=r'\(label, box\)'):
        labelled_boxes([[(WHOLE, 'cat')]], ['none'])


# --- sets of boxes ---------------------------------------------------------------------------


def test_all_found_in_any_order():
    objects = [('cat', LEFT), ('dog', RIGHT)]
    assert figures([objects], [written(*objects[::-1])]) == [1, 1, 1]


def test_figures_come_from_counts_over_all_images():
    targets = [[('cat', LEFT), ('cat', RIGHT)], [('dog', WHOLE)], []]
    predictions = [written(('cat', LEFT)), written(('dog', WHOLE), ('dog', RIGHT)), 'none']
    # matched 2, said 3, wanted 3
    assert figures(targets, predictions) == pytest.approx([2 / 3, 2 / 3, 2 / 3])
    assert labelled_boxes_per_example(targets, predictions, codec=CODEC) == pytest.approx(
        [2 / 3, 2 / 3, 1]
    )


def test_a_target_is_found_only_once():
    said = written(('cat', WHOLE), ('cat', WHOLE))
    assert figures([[('cat', WHOLE)]], [said]) == pytest.approx([1 / 2, 1, 2 / 3])


def test_another_label_is_another_object():
    assert figures([[('cat', WHOLE)]], [written(('dog', WHOLE))]) == [0, 0, 0]
    assert figures([[('Black  Cat', WHOLE)]], [written(('black cat', WHOLE))]) == [1, 1, 1]


def test_the_better_overlap_is_matched_first():
    """Taken in the order of the text, the first box would take the target of the second."""
    targets = [('', (0, 0, 1, 0.8)), ('', (0, 0.4, 1, 1))]
    said = written(('', (0, 0.3, 1, 1)), ('', (0, 0, 1, 0.9)))
    assert figures([targets], [said]) == [1, 1, 1]


def test_what_cannot_be_read_was_still_said():
    said = written(('cat', WHOLE)) + ' ; 1 2 3'
    assert figures([[('cat', WHOLE)]], [said]) == pytest.approx([1 / 2, 1, 2 / 3])
    result = labelled_boxes([[('cat', WHOLE)], []], [said, 'a cat'], codec=CODEC)
    assert result['unreadable_boxes'] == 2


@pytest.mark.parametrize(
    ('objects', 'said', 'expected'),
    [
        ([], 'none', [1, 1, 1]),
        ([], '', [1, 1, 1]),
        ([], written(('cat', WHOLE)), [0, 0, 0]),
        ([('cat', WHOLE)], 'none', [0, 0, 0]),
        ([], UNANSWERED, [0, 0, 0]),
        ([('cat', WHOLE)], UNANSWERED, [0, 0, 0]),
    ],
)
def test_nothing_wanted_or_nothing_said(objects, said, expected):
    assert figures([objects], [said]) == expected


def test_correct_rejections_add_to_no_count():
    targets, predictions = [[('cat', WHOLE)], []], [written(('dog', WHOLE)), 'none']
    assert figures(targets, predictions) == [0, 0, 0]
