"""The demo's mixtures: what is in them, at which rates, and that one batch can be made of all."""

import collections

import numpy as np
import pytest
import seqio

from vlm.data.converter import ImageTextFeatureConverter
from vlm.data.envelope import untag_image
from vlm.data.frames import Frame
from vlm.data.tasks import declared, spec_of
from vlm.metrics.definitions import definition_of
from vlm.mixtures import demo  # noqa: F401  (registers the mixtures)

pytest.importorskip('easy_vqa')
pytest.importorskip('sklearn')

LENGTHS = {'images': 1, 'inputs': 96, 'targets': 64}
DRAWS = 200


@pytest.fixture
def stream(dataset):
    return dataset('demo', lengths=LENGTHS, num_epochs=None)


def sources(examples) -> list[str]:
    """Where the image of each example comes from: 'easy_vqa/train', 'digits/strip/train', ..."""
    iterator = examples.as_numpy_iterator()
    names = [untag_image(example['images'][0])[0] for example in iterator]
    del iterator
    return [name.rsplit('/', 1)[0] for name in names]


def test_rates_and_training_images_only(stream):
    counts = collections.Counter(sources(stream.take(DRAWS)))
    assert set(counts) == {'easy_vqa/train', 'digits/strip/train', 'digits/scattered/train'}
    # Three standard deviations of a share among 200.
    assert abs(counts['easy_vqa/train'] / DRAWS - 0.37) < 0.102
    assert abs(counts['digits/strip/train'] / DRAWS - 0.18) < 0.081


def test_every_example_fits_and_trains_something(stream):
    converter = ImageTextFeatureConverter(frame=Frame((64, 64)))
    batches = converter(stream, LENGTHS).batch(32)
    iterator = batches.take(2).as_numpy_iterator()
    for batch in iterator:
        assert batch['images'].shape == (32, 1, 64, 64, 3)
        assert batch['image_mask'].all()
        assert batch['decoder_target_tokens'].shape == (32, 160)
        weights = batch['decoder_loss_weights']
        assert (weights.sum(1) >= 2).all()
        assert not weights[batch['decoder_target_tokens'] == 0].any()
        assert (batch['decoder_segment_ids'].max(1) >= 1).all()
        assert batch['decoder_segment_ids'].max() > 3  # questions share their image
        # Where a row has an answer to be learned, a prompt or BOS is read before it.
        assert (batch['decoder_prefix_mask'][:, 0]).all()
    del iterator


def test_the_evaluation_is_of_every_task_but_the_training_aids_on_held_out_images():
    tasks = seqio.get_subtasks(seqio.get_mixture_or_task('demo_eval'))
    known = {name for name in declared() if name.startswith(('easy_vqa', 'digits_'))}
    assert {task.name for task in tasks} == known - {'digits_strip_spot', 'digits_scattered_ocr'}
    for task in tasks:
        assert 'test' in task.splits
        assert task.predict_metric_fns
        assert spec_of(task.name).score is not None


@pytest.mark.parametrize('name', ['easy_vqa', 'digits_ocr'])
def test_held_out_images_are_of_the_test_split(name, dataset):
    found = sources(dataset(name, 'test', lengths=LENGTHS).take(20))
    assert all(source.endswith('/test') for source in found)


def test_every_score_has_its_definition():
    boxes = [('cat', [0.0, 0.0, 1.0, 1.0])]
    for task in seqio.get_subtasks(seqio.get_mixture_or_task('demo_eval')):
        target = boxes if spec_of(task.name).codec else ['x']
        for metric in task.predict_metric_fns:
            for key, value in metric([target], ['x']).items():
                assert definition_of(key).name == key
                assert np.isfinite(value)


def test_scores_of_single_examples_for_the_report():
    boxes = [('cat', [0.0, 0.0, 1.0, 1.0])]
    for name in declared():
        spec = spec_of(name)
        if spec.score is not None:
            assert list(spec.score([boxes if spec.codec else ['x']], ['y'])) == [0]
