"""The easy-VQA tasks: the official split, what is asked, and metrics of right and of no answers."""

import functools
import io
import json

import numpy as np
import pytest
import seqio
from PIL import Image

from vlm.data import easy_vqa as pictures
from vlm.data.envelope import untag_image
from vlm.data.frames import Frame
from vlm.data.images import load_image
from vlm.data.views import split_view
from vlm.errors import UNANSWERED
from vlm.tasks.easy_vqa import CODEC

pytest.importorskip('easy_vqa')

LENGTHS = {'inputs': 128, 'targets': 64}
RIGHT = {
    'easy_vqa': {'vqa_accuracy': 1},
    'easy_vqa_caption': {'exact_match': 1},
    'easy_vqa_locca_cap': {'exact_match': 1},
    'easy_vqa_locca_aref': {'acc_at_0.5': 1, 'unreadable_boxes': 0},
    'easy_vqa_locca_gcap': {'acc_at_0.5': 1, 'unreadable_boxes': 0},
}


@pytest.fixture
def examples(dataset):
    """`examples(name, split)`: all, or the first `count`, examples."""

    def make(name: str, split: str, count: int = -1) -> list[dict]:
        return list(dataset(name, split, lengths=LENGTHS).take(count).as_numpy_iterator())

    return make


def meta_of(example: dict) -> dict:
    return json.loads(example['meta'])


@pytest.mark.slow
def test_the_official_test_split_question_by_question(examples, vocabulary, score):
    found = examples('easy_vqa', 'test')
    assert len(found) == 9673
    metas = [meta_of(e) for e in found]
    assert len({meta['id'] for meta in metas}) == 9673
    official = [
        (f'answer en {question}', answer)
        for record in pictures.read_images('test')
        for question, answer in zip(record['questions'], record['answers'], strict=True)
    ]
    assert [(meta['prompt'], *meta['references']) for meta in metas] == official
    # The split asks few different questions, so each is decoded once.
    decoded = functools.cache(lambda ids: vocabulary.decode(np.frombuffer(ids, np.int32)))
    asked = [(decoded(e['inputs'].tobytes()), decoded(e['targets'].tobytes())) for e in found]
    assert asked == official
    assert score('easy_vqa', metas, [answer for _, answer in asked]) == {'vqa_accuracy': 1}
    assert score('easy_vqa', metas[:500], [UNANSWERED] * 500) == {'vqa_accuracy': 0}


@pytest.mark.parametrize('name', list(RIGHT)[1:])
def test_one_example_a_test_picture(name, examples, vocabulary, score):
    found = examples(name, 'test', 200)
    records = list(pictures.read_images('test'))[:200]
    metas = [meta_of(e) for e in found]
    assert [meta['id'] for meta in metas] == [record['id'] for record in records]
    assert [untag_image(e['images'][0]) for e in found] == [
        (record['id'], record['images'][0]) for record in records
    ]
    answers = [vocabulary.decode(e['targets']) for e in found]
    right, lost = score(name, metas, answers), score(name, metas, [UNANSWERED] * len(metas))
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


def test_groups_ask_about_the_picture_as_augmented(dataset, vocabulary):
    records = {record['id']: record for record in pictures.read_images('train')}
    examples = dataset('easy_vqa_all', lengths={'inputs': 512, 'targets': 512}).take(40)
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
        (said,) = CODEC.parse(answer).objects
        seen = pictures.measure(load_image(data, (256, 256))).box
        np.testing.assert_allclose(said.box, seen, atol=1.5 / 64, err_msg=name)
    assert 10 < flips < 30


def test_groups_are_for_training_only():
    assert seqio.get_mixture_or_task('easy_vqa_all').splits == ('train',)
    assert seqio.get_mixture_or_task('easy_vqa_all').metric_fns == []


def test_pictures_reach_the_model_as_stored(dataset, convert):
    examples = dataset('easy_vqa_caption', 'test', lengths=LENGTHS).take(3)
    rows = convert(examples, LENGTHS, frame=Frame((64, 64)))
    for row, record in zip(rows, pictures.read_images('test'), strict=False):
        stored = np.asarray(Image.open(io.BytesIO(record['images'][0])).convert('RGB'))
        np.testing.assert_array_equal(row['images'][0], stored)
