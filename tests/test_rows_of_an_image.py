"""Several rows of text about the same images: the numbers of single examples, one encoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.nn.flops import count_flops
from vlm.nn.network import WIRINGS
from vlm.runner.gradients import make_gradient
from vlm.runner.utilisation import step_flops

from miniature import random_params
from whole_models import PAIRS, make_batch, make_model

KEY = jax.random.key(0)
OF_EXAMPLES = ('images', 'image_mask', 'task_rows')


def batches(wiring: str) -> tuple[dict, dict]:
    """Four pairs about two images: as four examples, and as two examples of two rows."""
    single = make_batch(wiring, [[pair] for pair in (*PAIRS, ([2, 1], []))])
    single['images'] = jnp.repeat(single['images'][:2], 2, axis=0)
    single['task_rows'] = jnp.eye(2)[jnp.array([0, 0, 1, 1])]
    rows = {
        name: value[::2] if name in OF_EXAMPLES else value.reshape(2, 2, -1)
        for name, value in single.items()
    }
    return single, rows


@pytest.mark.parametrize(
    ('wiring', 'microbatches'), [(wiring, 1) for wiring in WIRINGS] + [('fusion_encoder', 2)]
)
def test_rows_of_an_image_have_the_gradient_of_single_examples(wiring, microbatches):
    model = make_model(wiring, loss_normalizer='sequence')
    single, rows = batches(wiring)
    params = random_params(model.module, single, spread=0.3)
    wanted, found = (
        jax.jit(make_gradient(model, count))(params, batch, jax.random.key(0))
        for count, batch in ((1, single), (microbatches, rows))
    )
    for a, b in zip(jax.tree.leaves(wanted[0]), jax.tree.leaves(found[0]), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
    for name, metric in wanted[1].items():
        value = found[1][name].compute()
        np.testing.assert_allclose(value, metric.compute(), rtol=1e-5, err_msg=name)
    assert np.isfinite(found[1]['task_loss'].compute()).all()


def test_the_image_is_encoded_once():
    model = make_model('fusion_encoder')
    single, rows = batches('fusion_encoder')
    params = random_params(model.module, single)

    def encode(params, images):
        return model.module.apply({'params': params}, images, method='visual_tokens')

    # Of two images less, forward and twice backward.
    saved = step_flops(model, params, single) - step_flops(model, params, rows)
    assert saved == 3 * count_flops(encode, params, rows['images']) > 0


def test_parameters_are_made_from_shapes_of_rows():
    model = make_model('prefix_lm')
    single, rows = (
        {name: value.shape for name, value in batch.items() if name != 'task_rows'}
        for batch in batches('prefix_lm')
    )
    wanted, found = (
        jax.eval_shape(lambda key, s=shapes: model.get_initial_variables(key, s)['params'], KEY)
        for shapes in (single, rows)
    )
    assert jax.tree.map(lambda leaf: leaf.shape, found) == jax.tree.map(
        lambda leaf: leaf.shape, wanted
    )
