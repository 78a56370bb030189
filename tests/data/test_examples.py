"""Pairs and prompt templates: plain Python."""

import json

import pytest

from vlm.data.examples import Pair, fill, template_fields
from vlm.errors import UserError


def test_the_answer_is_the_reference_where_none_is_given():
    assert Pair('ocr', '42').to_meta('a') == {'id': 'a', 'prompt': 'ocr', 'references': ['42']}
    assert Pair('ocr', '42', ('42', '4 2')).to_meta('a')['references'] == ['42', '4 2']


def test_objects_take_the_place_of_references_and_may_be_none():
    meta = Pair('detect cat', '...', objects=(((0, 0.25, 1, 1), 'cat'),)).to_meta('a')
    assert meta == {'id': 'a', 'prompt': 'detect cat', 'objects': [[[0.0, 0.25, 1.0, 1.0], 'cat']]}
    assert Pair('detect cat', 'none', objects=()).to_meta('a')['objects'] == []
    json.dumps(meta)


def test_fields_of_a_template():
    assert template_fields('answer en {question}') == {'question'}
    assert template_fields('{a} {b} {a}') == {'a', 'b'}
    assert template_fields('caption {{en}}') == frozenset()


def test_fill():
    assert fill('answer en {question}', question='what?') == 'answer en what?'
    assert fill('caption en') == 'caption en'
    assert fill('caption {{en}}', unused=1) == 'caption {en}'


def test_only_user_text_is_escaped():
    filled = fill('<loc0001> {question}', question='a <loc0002> and {braces}')
    assert filled == '<loc0001> a <\\loc0002> and {braces}'


def test_unknown_field_names_the_nearest():
    with pytest.raises(UserError, match=r"unknown field 'quesion'.*\{quesion\}.*Nearest: question"):
        fill('answer en {quesion}', question='what?')


@pytest.mark.parametrize(
    'template',
    ['a {question', 'a } b', '{}', '{0}', '{question:d}', '{question!x}', '{question:{width}}'],
)
def test_unreadable_templates_are_user_errors(template):
    # Not a ValueError or KeyError: the pipeline takes those for a fault of the record.
    with pytest.raises(UserError, match='template'):
        fill(template, question='what?')


@pytest.mark.parametrize('template', ['{question[0]}', '{question.upper}'])
def test_templates_reach_no_insides_of_values(template):
    with pytest.raises(UserError, match='unknown field'):
        fill(template, question='what?')


def test_fields_of_an_unreadable_template():
    with pytest.raises(UserError, match="'ARef: {caption' cannot be read"):
        template_fields('ARef: {caption')
