"""Each image of a batch once, and the same answers."""

import jax.numpy as jnp
import numpy as np
import pytest
import tensorflow as tf

from vlm.decoding import DecodingConfig
from vlm.model import VisionTextModel
from vlm.runner.mesh import MeshConfig
from vlm.runner.predict import BatchPredictor
from vlm.runner.shared_images import each_image_once


def batch_of(images: list[int], masks: list[bool] | None = None) -> dict[str, np.ndarray]:
    """Rows whose image is one level of grey each; the last pixel alone tells them apart."""
    pixels = np.zeros((len(images), 1, 2, 2, 3), np.uint8)
    pixels[:, 0, -1, -1, -1] = images
    mask = np.array([True] * len(images) if masks is None else masks)[:, None]
    return {'images': pixels, 'image_mask': mask, 'text': np.arange(len(images))}


def test_repetitions_beside_each_other_are_left_out():
    batch = batch_of([7, 7, 9, 9, 9, 7])
    found = each_image_once(batch, 4)
    assert found['images'][:, 0, -1, -1, -1].tolist() == [7, 9, 7]
    assert found['image_mask'].tolist() == [[True], [True], [True]]
    assert found['image_rows'].tolist() == [0, 0, 1, 1, 1, 2]
    assert found['image_rows'].dtype == np.int32
    assert found['text'].tolist() == [*range(6)]
    np.testing.assert_array_equal(found['images'][found['image_rows']], batch['images'])


def test_what_does_not_fit_stays_as_it_is():
    assert each_image_once(batch_of([7, 7, 9, 9, 9, 7]), 2) is None
    assert each_image_once(batch_of([7, 7]), 1) is not None


def test_an_image_that_is_none_is_another():
    found = each_image_once(batch_of([0, 0, 0], [True, False, False]), 2)
    assert found['image_mask'].tolist() == [[True], [False]]
    assert found['image_rows'].tolist() == [0, 1, 1]


class _Grey(VisionTextModel):
    """A model whose answer is the image's level of grey; knows how many images it was shown."""

    def __init__(self):
        self.shown: list[int] = []

    def predict_batch(self, params, batch, rng, max_decode_length, decoding):
        grey = batch['images'][:, 0, -1, -1, -1:].astype(jnp.int32)
        self.shown.append(len(grey))  # once a program
        return grey[batch['image_rows']] if 'image_rows' in batch else grey


@pytest.mark.parametrize(
    ('greys', 'shown'),
    [
        ([3] * 8 + [5] * 8 + [9] * 5, [2]),
        ([3] * 5 + [5] * 5 + [7] * 6 + [9] * 16, [16]),
        ([3] * 20, [2]),
        # Every image another: nor is a program made for the few rows of the last batch.
        ([*range(16), 16], [16]),
        ([3] * 16 + [*range(16)], [2, 16]),
    ],
)
def test_a_data_set_is_answered_with_few_images_at_a_time_if_its_rows_share_them(greys, shown):
    batch = batch_of(greys)
    count = len(greys)
    rows = {
        **{name: batch[name] for name in ('images', 'image_mask')},
        'decoder_input_tokens': np.zeros((count, 4), np.int32),
        'decoder_prefix_mask': np.zeros((count, 4), bool),
    }
    model = _Grey()
    predictor = BatchPredictor(model, MeshConfig().build(), 16, 1, [2], DecodingConfig())
    dataset = tf.data.Dataset.from_tensor_slices(rows).enumerate()
    assert [row.tolist() for _, row in predictor(None, dataset)] == [[grey] for grey in greys]
    assert model.shown == shown
