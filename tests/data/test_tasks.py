"""Declaring tasks and what a metric gets to see."""

import functools
import json

import gin
import numpy as np
import pytest
import seqio

from vlm.data.converter import ImageTextFeatureConverter
from vlm.data.examples import Pair
from vlm.data.features import output_features
from vlm.data.frames import Frame
from vlm.data.image_files import encode_png
from vlm.data.tasks import add_group, add_task, declared, postprocess, spec_of
from vlm.data.vocabularies import ByteVocabulary, task_vocabulary
from vlm.errors import UNANSWERED, UserError
from vlm.metrics.detection import labelled_boxes
from vlm.metrics.text import exact_match, exact_match_per_example

RECORD = {'id': 'a', 'images': [encode_png(np.zeros((4, 4, 3), np.uint8))]}


def read(record, prompt, rng):
    return [Pair(prompt, 'red', ('red', 'dark red'))]


def test_output_features_are_those_of_the_contract(vocabulary):
    features = output_features()
    assert list(features) == ['images', 'inputs', 'targets']
    assert (features['images'].dtype.name, features['images'].rank) == ('string', 1)
    for name in ('inputs', 'targets'):
        feature = features[name]
        assert (feature.dtype.name, feature.rank, feature.add_eos) == ('int32', 1, True)
        assert feature.vocabulary == task_vocabulary()
    named = output_features(ByteVocabulary())
    assert named['targets'].vocabulary == ByteVocabulary()


def test_a_task_is_registered_with_its_declaration(new_task):
    name = new_task(add_task, [RECORD], read, 'what color?', [exact_match], exact_match_per_example)
    spec = spec_of(name)
    assert (spec.name, spec.prompt, spec.codec) == (name, 'what color?', None)
    assert spec.read is read
    assert spec.metrics == (exact_match,)
    assert spec.score([['red']], ['red']) == [1.0]
    assert name in declared() == sorted(declared())
    task = seqio.TaskRegistry.get(name)
    assert task.splits == ('train',)
    assert len(task.predict_metric_fns) == 1


def test_unknown_declaration_names_the_nearest(new_task):
    name = new_task(add_task, [RECORD], read, 'what?')
    with pytest.raises(UserError, match=f'unknown task.*{name}'):
        spec_of(name + 'x')


def test_groups_are_no_tasks_of_their_own(new_task):
    spec = spec_of(new_task(add_task, [RECORD], read, 'what?', [exact_match]))
    group = new_task(add_group, [RECORD], [spec])
    assert group not in declared()
    assert seqio.TaskRegistry.get(group).metric_fns == []
    with pytest.raises(UserError, match='unknown task'):
        spec_of(group)


def test_names_are_unique(new_task):
    name = new_task(add_task, [RECORD], read, 'what?')
    with pytest.raises(ValueError, match='duplicate'):
        add_task(name, seqio.TaskRegistry.get(name).source, read, 'another?')
    assert spec_of(name).prompt == 'what?'


@pytest.mark.parametrize('random_order', [False, True])
def test_records_in_random_order_are_drawn_from_no_buffer(new_task, random_order):
    records = [{**RECORD, 'id': str(number)} for number in range(50)]
    name = new_task(add_task, records, read, 'what?', random_order=random_order)
    lengths = {'images': 1, 'inputs': 8, 'targets': 8}
    data = seqio.TaskRegistry.get(name).get_dataset(lengths, 'train', seed=0, num_epochs=2)
    found = [json.loads(each['meta'])['id'] for each in data.as_numpy_iterator()]
    as_they_come = [record['id'] for record in records] * 2
    assert sorted(found) == sorted(as_they_come)
    assert (found == as_they_come) == random_order


def test_a_group_asks_what_its_members_ask_in_their_words(new_task, dataset, vocabulary):
    def read_blue(record, prompt, rng):
        return [Pair(prompt, 'blue')]

    red = new_task(add_task, [RECORD], read, 'red?')
    blue = new_task(add_task, [RECORD], read_blue, 'blue?')
    group = new_task(add_group, [RECORD], [spec_of(red), spec_of(blue)])
    gin.parse_config(f'vlm.data.prompts.prompt_overrides.templates = {{{blue!r}: "yes?"}}')
    (example,) = dataset(group).as_numpy_iterator()
    asked, said = (
        [[*vocabulary.encode(text), 1] for text in pair]
        for pair in (('red?', 'yes?'), ('red', 'blue'))
    )
    drawn = example['inputs'].tolist(), example['targets'].tolist()
    assert drawn in (
        (asked[0] + asked[1], said[0] + said[1]),
        (asked[1] + asked[0], said[1] + said[0]),
    )


def test_targets_after_postprocessing():
    texts = {'meta': json.dumps({'id': 'a', 'prompt': 'p', 'references': ['x', 'y']})}
    assert postprocess('ignored', texts, is_target=True) == ['x', 'y']
    boxes = {'meta': json.dumps({'id': 'a', 'objects': [[[0.0, 0.5, 1.0, 1.0], 'cat']]}).encode()}
    assert postprocess('ignored', boxes, is_target=True) == [('cat', [0.0, 0.5, 1.0, 1.0])]
    assert postprocess('', {'meta': json.dumps({'objects': []})}, is_target=True) == []


def test_predictions_after_postprocessing():
    assert postprocess(' red \n', {}, is_target=False) == 'red'
    assert postprocess('<\\loc0001> is text', {}, is_target=False) == '<loc0001> is text'
    assert postprocess('<loc0001>', {}, is_target=False) == '<loc0001>'
    assert postprocess(UNANSWERED, {}, is_target=False) == UNANSWERED


def test_seqio_evaluates_a_task(new_task):
    """SeqIO's own Evaluator pairs answers with references; partials serve as metrics, too."""
    records = [{**RECORD, 'id': str(i)} for i in range(3)]

    def read_box(record, prompt, rng):
        return [Pair(prompt, 'none', objects=())]

    names = [
        new_task(add_task, records, read, 'what color?', [exact_match]),
        new_task(add_task, records, read_box, 'where?', [functools.partial(labelled_boxes)]),
    ]
    values = {}
    for name, answers in zip(names, (['dark red', 'blue', UNANSWERED], ['none'] * 3), strict=True):
        values[name] = _evaluate(name, answers)
    assert values[names[0]] == {'exact_match': pytest.approx(1 / 3)}
    assert values[names[1]]['f1_at_0.5'] == 1


def _evaluate(name: str, answers: list[str]) -> dict[str, float]:
    evaluator = seqio.Evaluator(
        name,
        feature_converter=ImageTextFeatureConverter(frame=Frame((8, 8))),
        eval_split='train',
        sequence_length={'images': 1, 'inputs': 16, 'targets': 16},
    )
    ids = np.zeros((len(answers), 64), np.int32)
    for row, answer in zip(ids, answers, strict=True):
        encoded = task_vocabulary().encode(answer)
        row[: len(encoded)] = encoded
    metrics, _ = evaluator.evaluate(
        compute_metrics=True,
        predict_fn=lambda examples: list(enumerate(ids)),
        predict_with_aux_fn=None,
        score_fn=None,
    )
    return metrics.result()[name]
