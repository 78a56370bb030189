"""The easy-VQA tasks: the official split, what is asked, and metrics of right and of no answers."""

import io
import json

import numpy as np
import pytest
import seqio
from PIL import Image

from vlm.data import easy_vqa as pictures
from vlm.data.envelope import untag_image
from vlm.data.images import load_image, split_view
from vlm.errors import UNANSWERED

pytest.importorskip('easy_vqa')

LENGTHS = {'inputs': 128, 'targets': 64}
RIGHT = {
    'easy_vqa': {'vqa_accuracy': 1},
    'easy_vqa_caption': {'exact_match': 1},
    'easy_vqa_locca_cap': {'exact_match': 1},
    'easy_vqa_locca_aref': {'acc_at_0.5': 1, 'unreadable_boxes': 0},
    'easy_vqa_locca_gcap': {'acc_at_0.5': 1, 'unreadable_boxes': 0},
}


@pytest.fixture(scope='module', autouse=True)
def registered():
    import vlm.tasks.easy_vqa


@pytest.fixture
def examples(dataset):
    """`examples(name, split)`: all examples with their meta read."""

    def make(name: str, split: str, **options) -> list[dict]:
        options = {'lengths': LENGTHS, **options}
        return list(dataset(name, split, **options).as_numpy_iterator())

    return make


def meta_of(example: dict) -> dict:
    return json.loads(example['meta'])


def facts(split: str) -> dict[str, dict]:
    return {record['id']: record for record in pictures.read_images(split)}


def test_the_official_test_split_question_by_question(examples, vocabulary, score):
    found = examples('easy_vqa', 'test')
    assert len(found) == 9673
    assert len({meta_of(e)['id'] for e in found}) == 9673
    official = [
        (f'answer en {question}', answer)
        for record in facts('test').values()
        for question, answer in zip(record['questions'], record['answers'], strict=True)
    ]
    asked = [(vocabulary.decode(e['inputs']), vocabulary.decode(e['targets'])) for e in found]
    assert asked == official
    assert [(meta_of(e)['prompt'], *meta_of(e)['references']) for e in found] == official
    assert score('easy_vqa', found, [answer for _, answer in asked]) == {'vqa_accuracy': 1}
    assert score('easy_vqa', found, [UNANSWERED] * 9673) == {'vqa_accuracy': 0}


@pytest.mark.parametrize('name', list(RIGHT)[1:])
def test_one_example_a_test_picture(name, examples, vocabulary, score):
    found = examples(name, 'test')
    records = facts('test')
    assert [meta_of(e)['id'] for e in found] == list(records)
    assert [untag_image(e['images'][0]) for e in found] == [
        (key, record['images'][0]) for key, record in records.items()
    ]
    answers = [vocabulary.decode(e['targets']) for e in found]
    right, lost = score(name, found, answers), score(name, found, [UNANSWERED] * len(found))
    assert {key: right[key] for key in RIGHT[name]} == RIGHT[name]
    # Boxes are whole pixels and there is a code for each.
    assert right.get('mean_iou', 1) > 0.98
    assert set(lost.values()) == {0}


@pytest.mark.parametrize('name', RIGHT)
def test_what_is_asked_of_a_picture(name, dataset, vocabulary):
    (example,) = dataset(name, 'test', lengths=LENGTHS).take(1).as_numpy_iterator()
    record = next(pictures.read_images('test'))
    y0, x0, y1, x1 = (round(64 * edge) for edge in record['objects'][0]['box'])
    # Pixel 0..64 as one of the 65 levels among 1,024 codes.
    box = ''.join(f'<loc{round(pixel * 1023 / 64):04d}>' for pixel in (y0, x0, y1, x1))
    caption = record['caption']
    wanted = {
        'easy_vqa': (f'answer en {record["questions"][0]}', record['answers'][0]),
        'easy_vqa_caption': ('caption en', caption),
        'easy_vqa_locca_cap': ('Cap:', caption),
        # The object has a label and no caption of its own.
        'easy_vqa_locca_aref': (f'ARef: {record["label"]} :', box),
        'easy_vqa_locca_gcap': ('GCap:', f'{box} : {record["label"]}'),
    }
    said = vocabulary.decode(example['inputs']), vocabulary.decode(example['targets'])
    assert said == wanted[name]


def pairs_of(example: dict, vocabulary) -> list[tuple[str, str]]:
    columns = []
    for name in ('inputs', 'targets'):
        parts = np.split(example[name], np.flatnonzero(example[name] == 1) + 1)
        columns.append([vocabulary.decode(part) for part in parts if len(part)])
    return list(zip(*columns, strict=True))


@pytest.fixture(scope='module')
def boxes_codec():
    from vlm.tasks.easy_vqa import CODEC

    return CODEC


def test_groups_ask_about_the_picture_as_augmented(dataset, vocabulary, boxes_codec):
    records = facts('train')
    examples = dataset('easy_vqa_all', lengths={'inputs': 512, 'targets': 512}).take(60)
    kinds = ('answer en', 'caption en', 'Cap:', 'ARef:', 'GCap:')
    flips = 0
    for example in examples.as_numpy_iterator():
        name, data = untag_image(example['images'][0])
        record, (_, view) = records[name], split_view(data)
        flips += view.flip
        pairs = pairs_of(example, vocabulary)
        assert len(pairs) == len(record['questions']) + 4
        assert all(any(prompt.startswith(kind) for prompt, _ in pairs) for kind in kinds)
        # The box in the answer is where the shape is in the picture as it will be seen.
        answer = next(answer for prompt, answer in pairs if prompt == 'GCap:')
        (said,) = boxes_codec.parse(answer).objects
        seen = pictures.measure(load_image(data, (256, 256))).box
        np.testing.assert_allclose(said.box, seen, atol=1.5 / 64, err_msg=name)
    assert 15 < flips < 45


def test_groups_are_for_training_only():
    assert seqio.get_mixture_or_task('easy_vqa_all').splits == ('train',)
    assert seqio.get_mixture_or_task('easy_vqa_all').metric_fns == []


def test_pictures_reach_the_model_as_stored(dataset, convert):
    from vlm.data.frames import Frame

    examples = dataset('easy_vqa_caption', 'test', lengths=LENGTHS).take(3)
    rows = convert(examples, LENGTHS, frame=Frame((64, 64)))
    for row, record in zip(rows, pictures.read_images('test'), strict=False):
        stored = np.asarray(Image.open(io.BytesIO(record['images'][0])).convert('RGB'))
        np.testing.assert_array_equal(row['images'][0], stored)
