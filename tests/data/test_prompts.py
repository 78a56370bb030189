"""Prompt templates replaced through gin."""

import json

import gin
import numpy as np
import pytest

from vlm.data import prompts
from vlm.data.image_files import encode_png
from vlm.errors import UserError
from vlm.tasks.vqa import add_vqa_task

IMAGE = encode_png(np.zeros((4, 4, 3), np.uint8))


pytestmark = pytest.mark.usefixtures('clean_gin')


def override(**templates: str) -> None:
    gin.parse_config(f'vlm.data.prompts.prompt_overrides.templates = {templates!r}')


def test_declared_template_without_gin():
    assert prompts.template('vqa', 'answer en {question}') == 'answer en {question}'
    prompts.check_overrides([])


def test_gin_replaces_the_template_of_one_task():
    override(vqa='Q: {question}')
    assert prompts.template('vqa', 'answer en {question}') == 'Q: {question}'
    assert prompts.template('other', 'caption en') == 'caption en'
    prompts.check_overrides(['vqa', 'other'])


def test_published_prompts_by_name():
    override(vqa='@blip2/vqa', caption='@lava/vqa')
    assert prompts.template('vqa', '{question}') == 'Question: {question} Short answer:'
    with pytest.raises(UserError, match=r"'lava/vqa' \(PROMPTS, of caption\). Nearest: llava/vqa"):
        prompts.check_overrides(['vqa', 'caption'])


def test_unknown_task_names_the_nearest():
    override(easy_vqq='Q: {question}')
    with pytest.raises(UserError, match=r"task 'easy_vqq' \(PROMPTS\). Nearest: easy_vqa"):
        prompts.check_overrides(['digits_ocr', 'easy_vqa'])


def test_a_prompt_longer_than_its_room_is_told(vocabulary):
    declared, words = {'vqa': 'answer en {question}'}, len(vocabulary.encode('answer en'))
    prompts.check_room(declared, words + 1, 'INPUTS')
    message = rf'of vqa takes {words + 1} tokens .*INPUTS leaves {words}:'
    with pytest.raises(UserError, match=message):
        prompts.check_room(declared, words, 'INPUTS')
    override(vqa='{question}')
    prompts.check_room(declared, 1, 'INPUTS')  # a question may be empty


def test_the_prompt_of_gin_is_what_the_task_asks(new_task, dataset, vocabulary):
    record = {'id': 'a', 'images': [IMAGE], 'questions': ['what?'], 'answers': ['red']}
    name = new_task(add_vqa_task, [record])
    override(**{name: 'Q: {question} A:'})
    (example,) = dataset(name).as_numpy_iterator()
    assert vocabulary.decode(example['inputs']) == 'Q: what? A:'
    assert json.loads(example['meta'])['prompt'] == 'Q: what? A:'


@pytest.mark.parametrize('template', ['Q: {quesion}', 'Q: {question'])
def test_a_wrong_template_stops_the_data_and_says_why(new_task, dataset, bad, template):
    record = {'id': 'a', 'images': [IMAGE], 'questions': ['what?'], 'answers': ['red']}
    name = new_task(add_vqa_task, [record])
    override(**{name: template})
    with pytest.raises(Exception, match='UserError: .*' + template.replace('{', r'\{')):
        list(dataset(name).as_numpy_iterator())
    assert bad.counts() == {}
