"""Object-aware questions: a record in, texts and metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.object_questions import (
    add_object_choice_task,
    add_object_count_task,
    add_object_list_task,
    add_object_presence_task,
)

LABELS = ('cat', 'dog', 'digits', 'circle', 'triangle')


@pytest.fixture
def records(image):
    labels = ['dog', 'cat', 'dog']
    objects = [{'label': label, 'box': [0, 0, 1, 1]} for label in labels]
    return [
        {'id': 'full', 'images': [image], 'objects': objects},
        {'id': 'empty', 'images': [image], 'objects': []},
    ]


def test_listing(new_task, records, asked, score):
    name = new_task(add_object_list_task, records)
    found = asked(name)
    assert [(prompt, answer) for prompt, answer, _ in found] == [
        ('What objects are in the image?', 'cat, dog'),
        ('What objects are in the image?', 'none'),
    ]
    metas = [meta for _, _, meta in found]
    assert score(name, metas, ['cat, dog', 'cat']) == {'exact_match': 0.5}


def test_presence_asks_for_as_many_that_are_not_there(new_task, records, asked, score):
    name = new_task(add_object_presence_task, records, LABELS)
    found = asked(name)
    answers = {prompt: answer for prompt, answer, meta in found if meta['id'].startswith('full')}
    assert answers.pop('Is cat in the image?') == answers.pop('Is dog in the image?') == 'yes'
    assert list(answers.values()) == ['no', 'no']
    assert {p.split()[1] for p in answers} < {'digits', 'circle', 'triangle'}
    assert [answer for _, answer, meta in found if meta['id'] == 'empty'] == ['no']
    metas = [meta for _, _, meta in found]
    assert score(name, metas, ['no'] * 5) == {'exact_match': 3 / 5}
    assert score(name, metas, [UNANSWERED] * 5) == {'exact_match': 0}


def test_choice_names_what_is_there_in_the_order_asked(new_task, records, asked):
    orders = set()
    for prompt, answer, meta in asked(
        new_task(add_object_choice_task, records, LABELS), num_epochs=9
    ):
        start, end = 'Which of ', ' are in the image?'
        named = prompt.removeprefix(start).removesuffix(end).split(', ')
        if meta['id'] == 'full':
            assert len(named) == 4 and {'cat', 'dog'} < set(named)
            assert answer == ', '.join(name for name in named if name in ('cat', 'dog'))
            orders.add(answer)
        else:
            assert len(named) == 2 and answer == 'none'
    assert orders == {'cat, dog', 'dog, cat'}


def test_counting(new_task, records, asked, score):
    name = new_task(add_object_count_task, records, LABELS, absent=1)
    found = asked(name)
    pairs = [(prompt, answer) for prompt, answer, _ in found]
    assert pairs[:2] == [('How many cat?', '1'), ('How many dog?', '2')]
    assert [answer for _, answer in pairs[2:]] == ['0', '0']
    metas = [meta for _, _, meta in found]
    assert score(name, metas, ['one', '3', 'none', 'two']) == {'number_match': 0.5}
