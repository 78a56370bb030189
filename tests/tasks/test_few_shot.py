"""Few-shot prompts: support images and answers before the question."""

import pytest

from vlm.data.image_files import encode_png
from vlm.errors import UserError
from vlm.metrics.vqa import vqa_accuracy
from vlm.tasks import captioning, vqa
from vlm.tasks.few_shot import add_few_shot_task, with_shots


def records(split):
    """Records whose images say which they are."""
    for i in range(5):
        yield {
            'id': f'{split}{i}',
            'images': [f'{split} image {i}'.encode()],
            'questions': ['what?', 'is it?'],
            'answers': [f'{split} {i}', ['yes', 'no']],
        }


def test_shots_come_from_the_support_split_without_the_record_itself():
    for support in ('train', 'test'):
        for i, record in enumerate(with_shots(records, 3, support)('test')):
            shown = [shot['id'] for shot in record['shots']]
            assert len(set(shown)) == 3 and record['id'] == f'test{i}'
            assert all(name.startswith(support) for name in shown)
            assert record['id'] not in shown
            images = [f'{name[:-1]} image {name[-1]}'.encode() for name in [*shown, record['id']]]
            assert record['images'] == images
            assert all('images' not in shot for shot in record['shots'])


def test_the_same_shots_every_time_and_others_for_other_records():
    read = with_shots(records, 2, 'test')
    shots = [[shot['id'] for shot in record['shots']] for record in read('test')]
    assert shots == [[shot['id'] for shot in record['shots']] for record in read('test')]
    assert len({tuple(s) for s in shots}) > 1


def test_too_few_to_show_is_told():
    with pytest.raises(UserError, match="5 shots are wanted and 'test' has 4"):
        list(with_shots(records, 5, 'test')('test'))


def test_answered_questions_stand_before_the_one_asked(new_task, asked, score):
    made = list(with_shots(records, 2, 'support')('train'))[:1]
    name = new_task(add_few_shot_task, made, vqa.read, vqa.PROMPT, (vqa_accuracy,))
    found = asked(name, lengths={'inputs': 200})
    assert len(found) == 2
    for (prompt, _, _), question in zip(found, ('what?', 'is it?'), strict=True):
        *shots, last = prompt.split('\n')
        assert last == f'answer en {question}'
        answers = [f'what? {shot["answers"][0]}' for shot in made[0]['shots']]
        for shot, answer in zip(shots, answers, strict=True):
            said = shot.removeprefix('answer en ')
            assert said in (answer, 'is it? yes', 'is it? no')
    assert found[0][2]['references'] == ['train 0']
    assert score(name, [meta for _, _, meta in found], ['train 0', 'no']) == {'vqa_accuracy': 1}


def test_the_model_sees_all_images(new_task, dataset, convert, image):
    import numpy as np

    white = encode_png(np.full((4, 4, 3), 255, np.uint8))
    shots = [{'id': 's', 'caption': 'a red circle'}]
    record = {'id': 'a', 'images': [white, image], 'caption': 'a blue circle', 'shots': shots}
    name = new_task(add_few_shot_task, [record], captioning.read, captioning.PROMPT, ())
    lengths = {'images': 3}
    [features] = convert(dataset(name, lengths=lengths), lengths)
    assert features['image_mask'].tolist() == [True, True, False]
    assert [int(frame.max()) for frame in features['images']] == [255, 0, 0]
