"""COCO AP against the figures of pycocotools, LVIS AP by hand."""

import sys

import pytest

from vlm.boxes import BoxCodec, PartlyMarked, pixels_to_relative
from vlm.errors import UNANSWERED, UserError
from vlm.metrics.average_precision import (
    ScoredBox,
    TrueBox,
    ap_as_said,
    coco_ap,
    lvis_ap,
    lvis_ap_as_said,
)

pytest.importorskip('faster_coco_eval', reason="needs pip install 'vlm[metrics]'")

WHOLE = (0, 0, 1, 1)
LEFT, RIGHT = (0, 0, 1, 0.5), (0, 0.5, 1, 1)
CODEC = BoxCodec(style='integer', bins=11)


def figures(truths, found, sizes=None):
    result = coco_ap(truths, found, sizes)
    return [result[key] for key in ('coco_ap', 'coco_ap_50', 'coco_ap_75')]


def test_the_published_pair_of_boxes():
    sizes = [(480, 640)]

    def relative(x, y, width, height):
        return pixels_to_relative([y, x, y + height, x + width], *sizes[0])

    truth = [TrueBox('cat', relative(214, 41, 348, 244))]
    found = [ScoredBox('cat', relative(258, 41, 348, 244), 0.9)]  # IoU 0.7755
    assert coco_ap([truth], [found], sizes) == {
        'coco_ap': pytest.approx(0.6),
        'coco_ap_50': 1,
        'coco_ap_75': 1,
        'coco_ap_small': -1,
        'coco_ap_medium': -1,
        'coco_ap_large': pytest.approx(0.6),
        'coco_ar_100': pytest.approx(0.6),
    }


def test_one_of_two_found():
    truth = [TrueBox('cat', LEFT), TrueBox('cat', RIGHT)]
    result = coco_ap([truth], [[ScoredBox('cat', LEFT, 0.5)]])
    assert result['coco_ap'] == pytest.approx(51 / 101)
    assert result['coco_ar_100'] == 0.5
    assert 'coco_ap_small' not in result  # without the size of the image nobody knows


def test_a_surer_false_box_halves_the_precision():
    found = [ScoredBox('cat', RIGHT, 0.9), ScoredBox('cat', LEFT, 0.5)]
    assert figures([[TrueBox('cat', LEFT)]], [found]) == pytest.approx([0.5] * 3)
    # In the other order the false box comes too late to hurt.
    found = [ScoredBox('cat', RIGHT, 0.4), ScoredBox('cat', LEFT, 0.5)]
    assert figures([[TrueBox('cat', LEFT)]], [found]) == [1, 1, 1]


@pytest.mark.parametrize(('part', 'ap', 'at_75'), [(0.5, 0.1, 0), (0.6, 0.3, 0), (0.8, 0.7, 1)])
def test_a_threshold_reached_exactly_counts(part, ap, at_75):
    found = [ScoredBox('cat', (0, 0, 1, part), 1.0)]
    for sizes in (None, [(10, 10)]):
        assert figures([[TrueBox('cat', WHOLE)]], [found], sizes) == pytest.approx([ap, 1, at_75])


def test_the_figure_is_the_mean_over_classes():
    truth = [TrueBox('cat', WHOLE), TrueBox('dog', WHOLE)]
    found = [ScoredBox('cat', WHOLE, 1.0), ScoredBox('dog', (0, 0, 1, 0.8), 1.0)]
    assert figures([truth], [found])[0] == pytest.approx(0.85)
    # A class that no image holds is no part of it.
    assert figures([truth], [[*found, ScoredBox('cow', LEFT, 1.0)]])[0] == pytest.approx(0.85)


def test_every_image_counts_also_one_without_an_answer():
    truths = [[TrueBox('cat', WHOLE)], [TrueBox('cat', WHOLE)]]
    found = [[ScoredBox('cat', WHOLE, 1.0)], []]
    assert figures(truths, found)[0] == pytest.approx(51 / 101)
    assert figures(truths, [[], []]) == [0, 0, 0]


def test_a_crowd_is_neither_right_nor_wrong():
    truth = [TrueBox('cat', LEFT), TrueBox('cat', RIGHT, crowd=True)]
    found = [ScoredBox('cat', RIGHT, 0.9), ScoredBox('cat', LEFT, 0.5)]
    assert figures([truth], [found]) == [1, 1, 1]


def test_the_area_of_the_outline_decides_the_size():
    truth = [TrueBox('cat', WHOLE, area=100.0)]
    result = coco_ap([truth], [[ScoredBox('cat', WHOLE, 1.0)]], [(64, 64)])
    assert (result['coco_ap_small'], result['coco_ap_medium']) == (1, -1)


def test_no_objects_at_all_give_no_figure():
    assert figures([[]], [[ScoredBox('cat', WHOLE, 1.0)]]) == [-1, -1, -1]
    with pytest.raises(UserError, match='no examples'):
        coco_ap([], [])


# --- LVIS ------------------------------------------------------------------------------------

FREQUENCIES = {'cat': 'f', 'dog': 'r', 'cow': 'c'}
TRUTHS = [[TrueBox('cat', WHOLE)], [TrueBox('dog', WHOLE)]]
FOUND = [
    [ScoredBox('cat', WHOLE, 0.9), ScoredBox('dog', WHOLE, 0.9)],
    [ScoredBox('dog', WHOLE, 0.5)],
]


@pytest.mark.parametrize(('absent', 'dog'), [([], 1), (['dog'], 0.5)])
def test_lvis_counts_only_what_is_known_of_an_image(absent, dog):
    assert lvis_ap(TRUTHS, FOUND, [absent, []], [[], []], FREQUENCIES) == {
        'lvis_ap': pytest.approx((1 + dog) / 2),
        'lvis_ap_rare': pytest.approx(dog),
        'lvis_ap_common': -1,
        'lvis_ap_frequent': 1,
    }


@pytest.mark.parametrize(('incomplete', 'cat'), [([], 0.5), (['cat'], 1)])
def test_lvis_forgives_too_much_where_not_all_is_marked(incomplete, cat):
    truths = [[TrueBox('cat', WHOLE)], []]
    found = [[ScoredBox('cat', (0, 0, 1, 0.3), 0.95), ScoredBox('cat', WHOLE, 0.9)], []]
    result = lvis_ap(truths, found, [[], []], [incomplete, []], FREQUENCIES)
    assert result['lvis_ap_frequent'] == pytest.approx(cat)


def test_lvis_frequencies_are_checked():
    with pytest.raises(UserError, match="'r', 'c' or 'f'"):
        lvis_ap(TRUTHS, FOUND, [[], []], [[], []], {'cat': 'often', 'dog': 'r'})
    with pytest.raises(UserError, match='dog'):
        lvis_ap(TRUTHS, FOUND, [[], []], [[], []], {'cat': 'f'})


# --- written boxes ---------------------------------------------------------------------------


def test_boxes_are_ranked_as_they_were_said():
    right, wrong = f'{CODEC.encode_box(LEFT)} : cat', f'{CODEC.encode_box(RIGHT)} : cat'
    targets = [[('cat', LEFT)]]
    first = ap_as_said(targets, [f'{right} ; {wrong}'], codec=CODEC)
    assert first == {'ap_as_said': 1, 'ap_50_as_said': 1, 'ap_75_as_said': 1}
    assert ap_as_said(targets, [f'{wrong} ; {right}'], codec=CODEC)['ap_as_said'] == 0.5
    assert ap_as_said(targets, [UNANSWERED], codec=CODEC)['ap_as_said'] == 0


@pytest.mark.parametrize(('absent', 'right'), [([], 1), (['dog'], 0.5)])
def test_written_boxes_of_partly_marked_images_are_judged_by_the_rules_of_lvis(absent, right):
    whole, left = CODEC.encode_box(WHOLE), CODEC.encode_box(LEFT)
    targets = [
        PartlyMarked([('cat', WHOLE)], absent, [], {'cat': 'f', 'dog': 'r'}),
        PartlyMarked([('dog', WHOLE)], [], [], {'dog': 'r'}),
    ]
    # The first dog is said where none was looked for, or where it is known that there is none.
    said = [f'{left} : dog ; {whole} : cat', f'{left} : cat ; {whole} : dog']
    result = lvis_ap_as_said(targets, said, codec=CODEC)
    assert result['lvis_ap_rare_as_said'] == pytest.approx(right)
    assert result['lvis_ap_frequent_as_said'] == pytest.approx(1)
    assert result['lvis_ap_as_said'] == pytest.approx((1 + right) / 2)
    nothing = lvis_ap_as_said(targets, [UNANSWERED] * 2, codec=CODEC)
    assert nothing['lvis_ap_as_said'] == 0


def test_the_rules_of_lvis_want_to_know_what_was_looked_for():
    with pytest.raises(UserError, match='target 0 does not say .*use ap_as_said'):
        lvis_ap_as_said([[('cat', WHOLE)]], ['none'])


def test_without_the_package_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'faster_coco_eval', None)
    with pytest.raises(UserError, match=r"pip install 'vlm\[metrics\]'"):
        coco_ap([[TrueBox('cat', WHOLE)]], [[]])
