"""Multiple choice in both forms: a record in, texts and metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.multiple_choice import add_lettered_choice_task, add_multiple_choice_task

CHOICES = ['red', 'blue', 'green', 'yellow']


@pytest.fixture
def record(image):
    return {
        'id': 'a',
        'images': [image],
        'question': 'what color?',
        'choices': CHOICES,
        'answer': 'blue',
    }


def test_the_text_of_a_choice_is_wanted(new_task, record, asked, score):
    name = new_task(add_multiple_choice_task, [record])
    ((prompt, answer, meta),) = asked(name)
    start = 'answer en what color? choose from: '
    assert prompt.startswith(start)
    assert sorted(prompt.removeprefix(start).split(' \t ')) == sorted(CHOICES)
    assert answer == 'blue'
    assert score(name, [meta], ['blue']) == {'exact_match': 1}
    assert score(name, [meta], ['red']) == score(name, [meta], [UNANSWERED]) == {'exact_match': 0}


def test_the_letter_follows_the_shuffled_order(new_task, record, asked, score):
    name = new_task(add_lettered_choice_task, [{**record, 'hint': 'it is 1 shape'}])
    letters = set()
    for prompt, answer, meta in asked(name, num_epochs=20):
        question, hint, options, end = prompt.split('\n')
        assert (question, hint) == ('Question: what color?', 'Context: it is 1 shape')
        assert end == 'Answer:'
        letter = answer.removeprefix('The answer is ').removesuffix('.')
        assert f'({letter}) blue' in options
        assert [word in options for word in CHOICES] == [True] * 4
        letters.add(letter)
        assert score(name, [meta], [f'the answer is {letter.lower()}.']) == {'choice_letter': 1}
        assert score(name, [meta], ['The answer is E.']) == {'choice_letter': 0}
    assert letters == set('ABCD')


@pytest.mark.parametrize('add', [add_multiple_choice_task, add_lettered_choice_task])
def test_an_answer_that_is_no_choice_is_a_bad_record(new_task, record, asked, bad, add):
    assert asked(new_task(add, [{**record, 'answer': 'teal'}])) == []
    assert list(bad.named('unusable_records')) == ['a']
