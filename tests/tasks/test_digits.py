"""The digit tasks: what is asked, and metrics of right and of no answers."""

import json

import numpy as np
import pytest
import seqio

from vlm.data import digits as scenes
from vlm.data.envelope import untag_image
from vlm.errors import UNANSWERED
from vlm.tasks.digits import CODEC

pytest.importorskip('sklearn')

# Half a level of the codec and half a bin of the tokens.
OFF = 0.5 / 32 + 0.5 / 1023
RATES = ('f1_at_0.5', 'precision_at_0.5', 'recall_at_0.5')
RIGHT = {
    'digits_ocr': {'exact_match': 1, 'character_error_rate': 0},
    'digits_scattered_ocr': {'exact_match': 1, 'character_error_rate': 0},
    'digits_detect': {**dict.fromkeys(RATES, 1), 'unreadable_boxes': 0},
    'digits_strip_spot': {**dict.fromkeys(RATES, 1), 'unreadable_boxes': 0},
    'digits_count': {'exact_match': 1},
}
LOST = {
    'digits_ocr': {'exact_match': 0, 'character_error_rate': 1},
    'digits_scattered_ocr': {'exact_match': 0, 'character_error_rate': 1},
    'digits_detect': {**dict.fromkeys(RATES, 0), 'unreadable_boxes': 0},
    'digits_strip_spot': {**dict.fromkeys(RATES, 0), 'unreadable_boxes': 0},
    'digits_count': {'exact_match': 0},
}


@pytest.mark.parametrize('name', RIGHT)
def test_metrics_on_the_test_split(name, dataset, vocabulary, score):
    found = list(dataset(name, 'test').take(300).as_numpy_iterator())
    metas = [json.loads(e['meta']) for e in found]
    assert len({meta['id'] for meta in metas}) == len(metas)
    kind = 'strip' if name in ('digits_ocr', 'digits_strip_spot') else 'scattered'
    pictures = list(dict.fromkeys(untag_image(e['images'][0])[0] for e in found))
    assert pictures == [f'digits/{kind}/test/{i:06d}' for i in range(len(pictures))]
    answers = [vocabulary.decode(e['targets']) for e in found]
    assert score(name, metas, answers) == RIGHT[name]
    assert score(name, metas, [UNANSWERED] * len(metas)) == LOST[name]


def test_what_is_asked_of_a_strip(dataset, vocabulary):
    (example,) = dataset('digits_ocr', 'test').take(1).as_numpy_iterator()
    record = next(scenes.read_scenes('test', 1, 'strip'))
    assert vocabulary.decode(example['inputs']) == 'ocr'
    assert vocabulary.decode(example['targets']) == record['text']
    assert untag_image(example['images'][0]) == (record['id'], record['images'][0])


def test_what_is_asked_of_a_scene(dataset, vocabulary):
    record = next(scenes.read_scenes('test', 1, 'scattered'))
    labels = list(dict.fromkeys(entry['label'] for entry in record['objects']))
    examples = dataset('digits_detect', 'test').take(len(labels) + 1)
    said = [
        (vocabulary.decode(e['inputs']), vocabulary.decode(e['targets']))
        for e in examples.as_numpy_iterator()
    ]
    for label, (prompt, answer) in zip(labels, said, strict=False):
        boxes = [entry['box'] for entry in record['objects'] if entry['label'] == label]
        assert prompt == f'detect {label}'
        found = CODEC.parse_strict(answer)
        assert [entry.label for entry in found] == [''] * len(boxes)
        np.testing.assert_allclose([entry.box for entry in found], boxes, atol=OFF)
    prompt, answer = said[-1]
    assert prompt.removeprefix('detect ') in set('0123456789') - set(labels)
    assert answer == 'none'
    (example,) = dataset('digits_count', 'test').take(1).as_numpy_iterator()
    assert vocabulary.decode(example['inputs']) == 'answer en how many digits are in the image?'
    assert vocabulary.decode(example['targets']) == str(len(record['objects']))


def asked_in_group(group, kind, dataset, vocabulary, targets=512):
    """Yields (record, {prompt: answer}) of 20 training scenes, with `targets` tokens of room."""
    assert seqio.get_mixture_or_task(group).splits == ('train',)
    records = {record['id']: record for record in scenes.read_scenes('train', 20, kind)}
    examples = dataset(group, lengths={'inputs': 256, 'targets': targets}).take(20)
    for example in examples.as_numpy_iterator():
        prompts, answers = (
            [vocabulary.decode(row) for row in np.split(ids, np.flatnonzero(ids == 1) + 1)[:-1]]
            for ids in (example['inputs'], example['targets'])
        )
        yield (
            records[untag_image(example['images'][0])[0]],
            dict(zip(prompts, answers, strict=True)),
        )


# 36 is what demo.gin has room for.
@pytest.mark.parametrize('targets', [36, 512])
def test_a_training_strip_is_read_and_with_boxes_where_there_is_room(dataset, vocabulary, targets):
    spotted = set()
    for record, asked in asked_in_group('digits_strip_all', 'strip', dataset, vocabulary, targets):
        assert asked['ocr'] == record['text']
        few = len(record['text']) <= 4
        assert set(asked) == ({'ocr', 'spot text'} if few else {'ocr'})
        spotted.add(few)
        if not few:
            continue
        found = CODEC.parse_strict(asked['spot text'])
        assert ''.join(entry.label for entry in found) == record['text']
        boxes = [entry['box'] for entry in record['objects']]
        np.testing.assert_allclose([entry.box for entry in found], boxes, atol=OFF)
    assert spotted == {True, False}


def test_groups_ask_all_they_know_of_a_training_scene(dataset, vocabulary):
    absent = []
    for record, asked in asked_in_group('digits_scattered_all', 'scattered', dataset, vocabulary):
        detected = {p.removeprefix('detect ') for p in asked if p.startswith('detect ')}
        labels = {entry['label'] for entry in record['objects']}
        assert labels <= detected
        absent.append(len(detected) - len(labels))
        assert len(asked) == len(detected) + 2
        assert asked['ocr'] == record['text']
        assert asked['answer en how many digits are in the image?'] == str(len(record['text']))
    # One in four scenes; 20 of them hold 1 to 10, but for a chance of 1 in 300.
    assert set(absent) == {0, 1} and 1 <= sum(absent) <= 10
