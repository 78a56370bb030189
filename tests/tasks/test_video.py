"""Video: frames sampled in order, the prompts and metrics of single images."""

import numpy as np
import pytest

from vlm.data.image_files import encode_png
from vlm.errors import UNANSWERED
from vlm.tasks.video import add_video_captioning_task, add_video_qa_task, sample_frames


def frame(value):
    return encode_png(np.full((4, 4, 3), value, np.uint8))


@pytest.mark.parametrize(
    ('length', 'frames', 'kept'),
    [
        (8, 4, [1, 3, 5, 7]),
        (9, 3, [1, 4, 7]),
        (10, 1, [5]),
        (10, 4, [1, 3, 6, 8]),
        (3, 3, [0, 1, 2]),
        (2, 3, [0, 1]),
        (0, 3, []),
    ],
)
def test_the_middle_of_equal_parts_is_kept(length, frames, kept):
    record = {'id': 'a', 'images': list(range(length))}
    found = sample_frames(record, np.random.default_rng(0), frames=frames)
    assert found == {'id': 'a', 'images': kept}


def test_captions_of_frames(new_task, asked, dataset, convert, score):
    record = {'id': 'a', 'images': [frame(i) for i in range(8)], 'captions': ['a cat', 'one cat']}
    name = new_task(add_video_captioning_task, [record], frames=2)
    ((prompt, answer, meta),) = asked(name)
    assert prompt == 'caption en' and answer in record['captions']
    assert meta['references'] == record['captions']
    [features] = convert(dataset(name, lengths={'images': 4}), {'images': 4})
    assert features['image_mask'].tolist() == [True, True, False, False]
    assert [int(image.max()) for image in features['images']] == [2, 6, 0, 0]
    assert score(name, [meta], [UNANSWERED]) == {'cider': 0}


def test_questions_about_frames(new_task, asked, score):
    record = {'id': 'a', 'images': [frame(0)] * 3, 'question': 'what color?', 'answer': 'red'}
    name = new_task(add_video_qa_task, [record])
    ((prompt, answer, meta),) = asked(name)
    assert (prompt, answer) == ('answer en what color?', 'red')
    assert score(name, [meta], ['red']) == {'exact_match': 1}
    assert score(name, [meta], ['blue']) == {'exact_match': 0}
