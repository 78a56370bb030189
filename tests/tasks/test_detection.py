"""Detection: a record in, features and metric out."""

import numpy as np
import pytest

from vlm.boxes import BoxCodec
from vlm.errors import UNANSWERED
from vlm.tasks.detection import add_detection_task, read

CAT, DOG, OTHER = [0.1, 0.2, 0.3, 0.4], [0.5, 0.25, 0.875, 0.75], [0, 0, 1, 1]
CAT_TEXT = '<loc0102><loc0205><loc0307><loc0409>'
DOG_TEXT = '<loc0512><loc0256><loc0895><loc0767>'
WHOLE_TEXT = '<loc0000><loc0000><loc1023><loc1023>'


@pytest.fixture
def records(image):
    labelled = [('cat', CAT), ('dog', DOG), ('cat', OTHER)]
    objects = [{'label': label, 'box': box} for label, box in labelled]
    return [{'id': 'a', 'images': [image], 'objects': objects}]


def test_one_question_a_label_with_all_its_boxes_in_order(new_task, records, asked):
    found = asked(new_task(add_detection_task, records))
    assert [(prompt, answer) for prompt, answer, _ in found] == [
        ('detect cat', f'{CAT_TEXT} cat ; {WHOLE_TEXT} cat'),
        ('detect dog', f'{DOG_TEXT} dog'),
    ]
    assert found[0][2]['objects'] == [[CAT, 'cat'], [OTHER, 'cat']]
    assert [meta['id'] for _, _, meta in found] == ['a#0', 'a#1']


def test_labels_may_be_left_to_the_prompt(new_task, records, asked):
    found = asked(new_task(add_detection_task, records, labelled=False))
    assert [answer for _, answer, _ in found] == [f'{CAT_TEXT} ; {WHOLE_TEXT}', DOG_TEXT]
    assert found[1][2]['objects'] == [[DOG, '']]


def test_absent_labels_are_answered_none(new_task, records, asked):
    labels = ('cat', 'cow', 'dog', 'emu', 'fox')
    name = new_task(add_detection_task, records, labels=labels, absent=2)
    found = asked(name, num_epochs=10)
    seen = set()
    for epoch in (found[i : i + 4] for i in range(0, len(found), 4)):
        prompts = [prompt for prompt, _, _ in epoch]
        assert prompts[:2] == ['detect cat', 'detect dog']
        assert [answer for _, answer, _ in epoch[2:]] == ['none', 'none']
        assert [meta['objects'] for _, _, meta in epoch[2:]] == [[], []]
        assert len(set(prompts)) == 4
        seen |= set(prompts[2:])
    assert seen == {'detect cow', 'detect emu', 'detect fox'}


@pytest.mark.parametrize('absent', [0, 3, 9])
def test_no_more_absent_labels_than_there_are(records, absent):
    labels = ('cat', 'cow', 'dog', 'emu', 'fox')
    rng = np.random.default_rng(0)
    pairs = read(records[0], 'detect {label}', rng, labels=labels, absent=absent)
    assert len(pairs) == 2 + min(absent, 3)
    assert len(read(records[0], 'detect {label}', rng, labels=('cat',), absent=absent)) == 2
    nothing = read({'objects': []}, 'detect {label}', rng, labels=labels, absent=absent)
    assert [pair.answer for pair in nothing] == ['none'] * min(absent, 5)


def test_a_fraction_of_an_absent_label_is_a_chance(records):
    labels, rng = ('cat', 'cow', 'dog', 'emu', 'fox'), np.random.default_rng(0)
    asked = [
        len(read(records[0], 'detect {label}', rng, labels=labels, absent=1.25)) - 2
        for _ in range(1000)
    ]
    assert set(asked) == {1, 2}
    # Three standard deviations of a share of 0.25 among 1,000 are 0.041.
    assert abs(asked.count(2) / 1000 - 0.25) < 0.041


@pytest.mark.parametrize(
    ('labelled', 'codec'), [(True, BoxCodec()), (False, BoxCodec(style='integer', bins=501))]
)
def test_metrics(new_task, records, asked, score, labelled, codec):
    options = {'labels': ('cat', 'cow', 'dog'), 'absent': 1, 'labelled': labelled, 'codec': codec}
    name = new_task(add_detection_task, records, **options)
    _, right, metas = zip(*asked(name), strict=True)
    rates = ('f1_at_0.5', 'precision_at_0.5', 'recall_at_0.5')
    assert score(name, metas, right) == {**dict.fromkeys(rates, 1), 'unreadable_boxes': 0}
    lost = score(name, metas, [UNANSWERED] * 3)
    assert lost == {**dict.fromkeys(rates, 0), 'unreadable_boxes': 0}
    # The dog is missed and a box is seen where none is: 2 matched of 3 said, of 3 wanted.
    found = score(name, metas, [right[0], 'none', right[1]])
    assert found == {**dict.fromkeys(rates, pytest.approx(2 / 3)), 'unreadable_boxes': 0}


def test_labels_that_cannot_be_read_back_are_bad_records(new_task, records, asked, bad):
    bad_records = [
        {**records[0], 'id': label, 'objects': [{'label': label, 'box': CAT}]}
        for label in ('cat ; dog', 'a <loc0001>')
    ]
    assert asked(new_task(add_detection_task, bad_records)) == []
    assert set(bad.named('unusable_records')) == {'cat ; dog', 'a <loc0001>'}
