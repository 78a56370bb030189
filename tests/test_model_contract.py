"""What T5X, and this package's runner, call a model by; and the mistakes it refuses."""

import functools
import inspect

import jax
import jax.numpy as jnp
import pytest

from vlm.errors import UserError
from vlm.model import VisionTextModel
from vlm.nn.network import WIRINGS, NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig

SHAPES = {
    'images': (2, 1, 8, 8, 3),
    'image_mask': (2, 1),
    'decoder_input_tokens': (2, 7),
    'decoder_target_tokens': (2, 7),
    'decoder_loss_weights': (2, 7),
}
OWN_SHAPES = {
    'decoder_prefix': {'decoder_prefix_mask': (2, 7), 'decoder_segment_ids': (2, 7)},
    'fusion_encoder': {'encoder_input_tokens': (2, 5)},
    'prefix_lm': {'decoder_prefix_mask': (2, 7), 'decoder_segment_ids': (2, 7)},
}
TYPES = {
    'images': jnp.uint8,
    'image_mask': jnp.bool_,
    'decoder_loss_weights': jnp.float32,
    'decoder_prefix_mask': jnp.bool_,
}


def make_model(wiring: str = 'decoder_prefix', *args, **options) -> VisionTextModel:
    vision = VitConfig((8, 8), 4, width=16, num_layers=1, num_heads=2, mlp_dim=16)
    text = TextConfig(
        9, 16, 1, int(wiring == 'fusion_encoder'), num_heads=2, head_dim=8, mlp_dim=32
    )
    network = VisionTextNetwork(NetworkConfig(vision, text, wiring))
    return VisionTextModel(network, *args, **options)


def names(method) -> list[str]:
    return list(inspect.signature(method).parameters)


def shapes_and_types(tree):
    return jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree)


@pytest.mark.parametrize('wiring', WIRINGS)
def test_initial_variables_from_shapes_alone(wiring):
    model, shapes = make_model(wiring), {**SHAPES, **OWN_SHAPES[wiring]}
    # T5X: a bound method, called by keyword; its eval passes no input_types.
    assert inspect.ismethod(model.get_initial_variables)

    def init(rng, **types):
        return model.get_initial_variables(rng=rng, input_shapes=shapes, **types)

    bare = jax.eval_shape(init, jax.random.key(0))
    assert bare.keys() == {'params', 'params_axes'}
    types = {name: TYPES.get(name, jnp.int32) for name in shapes}
    typed = jax.eval_shape(functools.partial(init, input_types=types), jax.random.key(0))
    assert shapes_and_types(bare['params']) == shapes_and_types(typed['params'])


@pytest.mark.parametrize('wiring', WIRINGS)
def test_every_method_takes_the_arguments_of_t5x(wiring):
    model, shapes = make_model(wiring), {**SHAPES, **OWN_SHAPES[wiring]}
    init = functools.partial(model.get_initial_variables, input_shapes=shapes)
    params = jax.eval_shape(init, jax.random.key(0))['params']
    batch = {
        name: jax.ShapeDtypeStruct(shape, TYPES.get(name, jnp.int32))
        for name, shape in shapes.items()
    }
    loss, metrics = jax.eval_shape(model.loss_fn, params, batch, None)
    assert loss.shape == () and loss.dtype == jnp.float32
    assert metrics.keys() == jax.eval_shape(model.eval_fn, params, batch)[1].keys()
    tokens, aux = jax.eval_shape(model.predict_batch_with_aux, params, batch)
    assert tokens.shape == (2, 7) and tokens.dtype == jnp.int32
    assert {value.shape[0] for value in aux.values()} == {2}
    assert jax.eval_shape(model.score_batch, params, batch).shape == (2,)
    score = functools.partial(model.score_batch, return_intermediates=True)
    scores, intermediates = jax.eval_shape(score, params, batch)
    (token_scores,) = intermediates['decoder']['token_scores']  # T5X: one-tuples
    assert (scores.shape, token_scores.shape) == ((2,), (2, 7))


def test_signatures_are_those_that_t5x_calls():
    model = make_model()
    assert names(model.get_initial_variables) == ['rng', 'input_shapes', 'input_types']
    # Called with three arguments, by place.
    *called, own = inspect.signature(model.loss_fn).parameters.values()
    assert [each.name for each in called] == ['params', 'batch', 'dropout_rng']
    assert own.default is None
    assert names(model.eval_fn) == ['params', 'batch']
    assert names(model.score_batch) == ['params', 'batch', 'return_intermediates']
    predict = names(model.predict_batch_with_aux)
    assert predict[:2] == ['params', 'batch'] == names(model.predict_batch)[:2]
    # T5X passes these only where they are named: sampling needs a key, nothing is mutable.
    assert predict[2] == 'rng' == names(model.predict_batch)[2]
    assert 'flax_mutables' not in {*predict, *names(model.predict_batch)}


def test_attributes_that_t5x_reads_are_what_was_given():
    given = ['inputs', 'outputs', 'optimizer', dict]
    model = make_model('decoder_prefix', *given)
    found = [
        model.input_vocabulary,
        model.output_vocabulary,
        model.optimizer_def,
        model.FEATURE_CONVERTER_CLS,
    ]
    assert found == given


@pytest.mark.parametrize(
    'options, message',
    [
        ({'loss_normalizer': 'tokns'}, r'\(VisionTextModel\.loss_normalizer\)\. Nearest: tokens'),
        ({'label_smoothing': 1.0}, r'VisionTextModel\.label_smoothing = 1\.0 is not in \[0, 1\)'),
        (
            {'first_token_weight': 0.0},
            r'VisionTextModel\.first_token_weight = 0\.0 must be above 0',
        ),
        ({'loss_chunk': 0}, r'VisionTextModel\.loss_chunk = 0 is less than 1'),
        ({'label_smoothing': -0.1}, r'VisionTextModel\.label_smoothing = -0\.1'),
    ],
)
def test_mistakes_name_the_binding(options, message):
    with pytest.raises(UserError, match=message):
        make_model('decoder_prefix', **options)
