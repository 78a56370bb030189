"""Text spotting: equal text after normalisation at IoU >= 0.5, by hand."""

import pytest

from vlm.boxes import BoxCodec
from vlm.errors import UNANSWERED
from vlm.metrics.spotting import normalise_text, spotting, spotting_per_example

CODEC = BoxCodec(style='integer', bins=11)
LEFT, RIGHT, WHOLE = (0, 0, 1, 0.5), (0, 0.5, 1, 1), (0, 0, 1, 1)


@pytest.mark.parametrize(
    ('text', 'normalised'),
    [
        ('"Café,  BAR!"', 'café bar'),
        ("don't", "don't"),
        ('3.50', '3.50'),
        ('Straße', 'strasse'),
        ('ＳＡＬＥ', 'sale'),
        ('«Öl»', 'öl'),
        ('$ 5.-', '$ 5'),
        ('...', '...'),
        ('- a -', 'a'),
    ],
)
def test_texts_are_normalised(text, normalised):
    assert normalise_text(text) == normalised


def test_counts_over_all_images():
    targets = [[('Café', LEFT), ('BAR', RIGHT)], [('exit', WHOLE)]]
    said = [
        f'{CODEC.encode_box(LEFT)} : CAFÉ! ; {CODEC.encode_box(RIGHT)} : beer',
        f'{CODEC.encode_box(LEFT)} : Exit',  # IoU exactly 0.5
    ]
    assert spotting(targets, said, codec=CODEC) == {
        'spotting_f1': pytest.approx(2 / 3),
        'spotting_precision': pytest.approx(2 / 3),
        'spotting_recall': pytest.approx(2 / 3),
    }
    assert spotting_per_example(targets, said, codec=CODEC) == [0.5, 1]


def test_reading_right_in_the_wrong_place_is_wrong():
    said = f'{CODEC.encode_box(RIGHT)} : exit'
    assert spotting_per_example([[('exit', LEFT)]], [said], codec=CODEC) == [0]


def test_no_answer_is_wrong():
    assert spotting([[('exit', LEFT)], []], [UNANSWERED] * 2, codec=CODEC)['spotting_f1'] == 0
