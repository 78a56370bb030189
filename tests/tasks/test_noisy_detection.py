"""Detection with noise: a record in, texts and metric out; noise is no answer."""

import numpy as np
import pytest

from vlm.boxes import BoxCodec
from vlm.errors import UNANSWERED
from vlm.tasks.noisy_detection import SMALLEST, NoiseFreeCodec, add_noisy_detection_task, noise_box

CAT, DOG = [0, 0, 0.5, 0.5], [0.5, 0.25, 0.875, 0.75]


@pytest.fixture
def name(new_task, image):
    objects = [{'label': 'cat', 'box': CAT}, {'label': 'dog', 'box': DOG}]
    records = [
        {'id': 'two', 'images': [image], 'objects': objects},
        {'id': 'empty', 'images': [image], 'objects': []},
    ]
    return new_task(add_noisy_detection_task, records, length=5)


def test_every_answer_has_the_same_number_of_objects(name, asked):
    orders = set()
    for prompt, answer, meta in asked(name, num_epochs=8, lengths={'targets': 400}):
        assert prompt == 'detect'
        labels = [entry.label for entry in BoxCodec().parse_strict(answer)]
        real = len(meta['objects'])
        assert labels[real:] == ['noise'] * (5 - real)
        if meta['id'] == 'two':
            orders.add(tuple(labels[:2]))
            assert sorted(labels[:2]) == ['cat', 'dog']
    assert orders == {('cat', 'dog'), ('dog', 'cat')}


def test_of_too_many_objects_some_are_written_and_all_are_wanted(new_task, image, asked):
    objects = [{'label': 'cat', 'box': CAT}] * 4
    record = {'id': 'a', 'images': [image], 'objects': objects}
    ((_, answer, meta),) = asked(new_task(add_noisy_detection_task, [record], length=3))
    assert len(BoxCodec().parse(answer).objects) == 3 and len(meta['objects']) == 4


def test_noise_counts_neither_for_nor_against(name, asked, score):
    found = asked(name, lengths={'targets': 400})
    metas = [meta for _, _, meta in found]
    answers = [answer for _, answer, _ in found]
    right = score(name, metas, answers)
    assert (right['f1_at_0.5'], right['unreadable_boxes']) == (1, 0)
    wrong = score(name, metas, [answers[0].replace('noise', 'cow'), answers[1]])
    assert wrong['precision_at_0.5'] == 2 / 5
    assert score(name, metas, [UNANSWERED] * 2)['f1_at_0.5'] == 0


def test_noise_boxes_can_be_written():
    rng = np.random.default_rng(0)
    codec = BoxCodec(levels=65)
    drawn = [noise_box([CAT, DOG], rng) for _ in range(500)]
    for box in drawn:
        codec.encode_box(box)
        assert min(box[2] - box[0], box[3] - box[1]) >= SMALLEST - 1e-9
    near = [box for box in drawn if np.abs(np.subtract(box, DOG)).max() <= 0.3 * 0.5]
    assert 60 < len(near) < 200  # about a quarter is a moved dog


def test_an_object_called_noise_is_a_bad_record(new_task, image, asked, bad):
    objects = [{'label': 'noise', 'box': CAT}]
    record = {'id': 'a', 'images': [image], 'objects': objects}
    assert asked(new_task(add_noisy_detection_task, [record])) == []
    assert list(bad.named('unusable_records')) == ['a']


def test_the_reading_codec_keeps_the_rest():
    codec = NoiseFreeCodec(style='integer', bins=11)
    read = codec.parse('0 0 5 5 : cat ; 0 0 9 9 : noise ; 1 2 3')
    assert [entry.label for entry in read.objects] == ['cat']
    assert read.unreadable == ['1 2 3']
