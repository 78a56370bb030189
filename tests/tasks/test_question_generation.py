"""Question generation: a record in, texts and metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.question_generation import add_question_generation_task


@pytest.fixture
def name(new_task, image):
    records = [
        {
            'id': 'a',
            'images': [image],
            'questions': ['is there a circle?', 'what color is it?', 'is it teal?'],
            'answers': ['no', ['red', 'dark red'], 'no'],
        },
        {'id': 'b', 'images': [image], 'question': 'how many digits?', 'answer': 'two'},
    ]
    return new_task(add_question_generation_task, records)


def test_questions_with_the_same_answer_are_references(name, asked):
    found = {
        meta['id']: (prompt, answer, meta['references']) for prompt, answer, meta in asked(name)
    }
    alike = ['is there a circle?', 'is it teal?']
    assert found['a#0'] == ('question en no', alike[0], alike)
    assert found['a#2'] == ('question en no', alike[1], alike)
    assert found['a#1'][0] in ('question en red', 'question en dark red')
    assert found['a#1'][2] == ['what color is it?']
    assert found['b'] == ('question en two', 'how many digits?', ['how many digits?'])


def test_metric(name, asked, score):
    metas = [meta for _, _, meta in asked(name)]
    right = [meta['references'][0] for meta in metas]
    assert score(name, metas, right)['cider'] > 5
    assert score(name, metas, [UNANSWERED] * 4) == {'cider': 0}
