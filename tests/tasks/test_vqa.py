"""Question answering: a record in, features and metric out."""

import pytest

from vlm.errors import UNANSWERED
from vlm.tasks.vqa import add_vqa_task


@pytest.fixture
def name(new_task, image):
    record = {
        'id': 'a',
        'images': [image],
        'questions': ['what color is the shape?', 'is there a circle?'],
        'answers': ['red', 'yes'],
    }
    return new_task(add_vqa_task, [record])


def test_record_in_texts_out(name, asked):
    assert asked(name) == [
        (
            'answer en what color is the shape?',
            'red',
            {'id': 'a#0', 'prompt': 'answer en what color is the shape?', 'references': ['red']},
        ),
        (
            'answer en is there a circle?',
            'yes',
            {'id': 'a#1', 'prompt': 'answer en is there a circle?', 'references': ['yes']},
        ),
    ]


def test_features_of_the_model(name, dataset, convert, vocabulary):
    first, _ = convert(dataset(name))
    prompt = [*vocabulary.encode('answer en what color is the shape?'), 1]
    answer = [*vocabulary.encode('red'), 1]
    tokens = [*prompt, *answer]
    assert first['decoder_target_tokens'][: len(tokens)].tolist() == tokens
    assert not first['decoder_target_tokens'][len(tokens) :].any()
    weights = first['decoder_loss_weights']
    assert weights.nonzero()[0].tolist() == list(range(len(prompt), len(tokens)))
    assert first['image_mask'].tolist() == [True]


def test_metric(name, asked, score):
    metas = [meta for _, _, meta in asked(name)]
    assert score(name, metas, ['red', 'yes']) == {'vqa_accuracy': 1}
    assert score(name, metas, ['The red.', 'no']) == {'vqa_accuracy': 0.5}
    assert score(name, metas, [UNANSWERED] * 2) == {'vqa_accuracy': 0}


def test_lists_of_unequal_length_are_a_bad_record(new_task, asked, bad):
    record = {'id': 'a', 'images': [], 'questions': ['what?', 'where?'], 'answers': ['red']}
    assert asked(new_task(add_vqa_task, [record])) == []
    assert list(bad.named('unusable_records')) == ['a']


RATERS = ['red'] * 6 + ['dark red'] * 3 + ['pink']


@pytest.fixture
def rated(new_task, image):
    records = [
        {'id': 'flat', 'images': [image], 'question': 'what color?', 'answers': RATERS},
        {'id': 'one', 'images': [image], 'question': 'what shape?', 'answer': 'circle'},
        {'id': 'two', 'images': [image], 'questions': ['a?', 'b?'], 'answers': [RATERS, 'yes']},
    ]
    return new_task(add_vqa_task, records)


def test_all_raters_are_references_and_one_is_the_target(rated, asked):
    found = asked(rated)
    assert [meta['id'] for _, _, meta in found] == ['flat', 'one', 'two#0', 'two#1']
    assert [meta['references'] for _, _, meta in found] == [RATERS, ['circle'], RATERS, ['yes']]
    assert all(answer in meta['references'] for _, answer, meta in found)


def test_every_rater_has_a_turn_as_target(rated, asked):
    drawn = [a for _, a, meta in asked(rated, num_epochs=30) if meta['id'] == 'flat']
    assert set(drawn) == set(RATERS)
    assert drawn.count('red') > drawn.count('pink')


def test_the_mark_depends_on_how_many_agree(rated, asked, score):
    metas = [meta for _, _, meta in asked(rated)]
    found = score(rated, metas, ['dark red', 'circle', 'pink', 'no'])
    assert found == {'vqa_accuracy': pytest.approx((0.9 + 1 + 0.3 + 0) / 4)}
