"""Options of the vision encoder in a whole model: a training step, and what they add to it."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cross_section import all_but

from vlm.model import VisionTextModel, sums_by_name
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import Vit, VitConfig
from vlm.runner.model_file import Serving
from vlm.runner.optimizers import Optimizer
from vlm.runner.state import TrainState
from vlm.runner.train_step import make_train_steps

import miniature
from miniature import random_params

VISION = VitConfig((8, 8), 4, width=16, num_layers=2, num_heads=2, mlp_dim=16)
TEXT = TextConfig(9, 16, 1, num_heads=2, head_dim=8, mlp_dim=32)
ROWS = [[([5, 6, 1], [7, 8, 1])], [([4, 1], [6, 5, 1])], [([1], [3, 1])]]

OPTIONS = {
    'vit_22b': {
        'parallel_blocks': True,
        'qk_norm': True,
        'qkv_bias': False,
        'norm': 'rms_norm',
        'scan_layers': True,
    },
    'no_bias': {'use_bias': False, 'qkv_bias': False, 'norm': 'layer_norm_no_bias'},
    'flexible': {'base_patch_size': 8, 'position_grid': (3, 3)},
    'pix2struct': {
        'positions': 'rows_columns',
        'standardize_pixels': True,
        'gated_mlp': True,
        'scaled_attention': False,
        'norm': 'rms_norm',
    },
    'registers': {'num_registers': 2, 'scan_layers': True, 'pre_norm': True},
    'patch_merger': {'patch_merger_tokens': 2, 'patch_merger_after': 1},
    'experts': {'moe_blocks': (1,), 'moe_experts': 3, 'moe_batch_priority': True},
    'drop_path': {'drop_path': 0.3, 'dropout': 0.1, 'scan_layers': True},
    'everything': {
        'parallel_blocks': True,
        'qk_norm': True,
        'base_patch_size': 8,
        'num_registers': 1,
        'patch_merger_tokens': 3,
        'patch_merger_after': 1,
        'moe_blocks': (0, 1),
        'moe_group_images': 3,
        'drop_path': 0.2,
    },
}

# Together these have nearly all that the others have.
COMPILED = all_but(('pix2struct', 'registers', 'everything'), OPTIONS)

make_batch = functools.partial(miniature.make_batch, prompt=4, answer=4)


def make_model(wiring: str = 'decoder_prefix', **options) -> VisionTextModel:
    vision = dataclasses.replace(VISION, **options)
    return VisionTextModel(VisionTextNetwork(NetworkConfig(vision, TEXT, wiring)))


@pytest.mark.parametrize('name', COMPILED)
def test_a_training_step_lowers_the_loss_and_reaches_every_parameter(name):
    model, batch = make_model(**OPTIONS[name]), make_batch('decoder_prefix', ROWS)
    params = random_params(model.module, batch, spread=0.3)

    @jax.jit
    def step(params):
        def loss_of(params):
            return model.loss_fn(params, batch, jax.random.key(3, impl='rbg'))[0]

        loss, gradient = jax.value_and_grad(loss_of)(params)
        after = jax.tree.map(lambda p, g: p - 1e-3 * g, params, gradient)
        return loss, gradient, loss_of(after)

    loss, gradient, after = step(params)
    assert after < loss
    reached = jax.tree.map(lambda g: bool((g != 0).any() and np.isfinite(g).all()), gradient)
    assert all(jax.tree.leaves(reached)), reached


def test_losses_of_the_routers_are_part_of_the_loss_and_of_the_metrics():
    weights = {'moe_importance_loss': 0.5, 'moe_load_loss': 0.25}
    options = {'moe_blocks': (0, 1), 'moe_experts': 3, **weights}
    model, batch = make_model(**options), make_batch('decoder_prefix', ROWS)
    params = random_params(model.module, batch, spread=0.3)
    key = jax.random.key(1, impl='rbg')
    loss, metrics = jax.jit(model.loss_fn)(params, batch, key)
    values = {name: float(metric.compute()) for name, metric in metrics.items()}
    auxiliary = [values[name] for name in weights]
    assert min(auxiliary) > 0
    assert values['loss'] == float(loss) == pytest.approx(values['token_loss'] + sum(auxiliary))
    # Both blocks count, each with its weight.
    apply = functools.partial(model.module.apply, deterministic=False, mutable=['losses'])
    _, sown = jax.jit(apply)({'params': params}, batch, rngs={'dropout': key})
    blocks = sown['losses']['vision']
    assert blocks.keys() == {'layers_0', 'layers_1'}
    for name, value in zip(weights, auxiliary, strict=True):
        parts = [float(block['moe'][name][0]) for block in blocks.values()]
        assert min(parts) > 0 and value == pytest.approx(sum(parts))
    # Without a key there is no noise, no loss of the routers and no such metric.
    loss, metrics = jax.jit(model.eval_fn)(params, batch)
    assert metrics.keys().isdisjoint(weights)
    assert float(loss) == pytest.approx(float(metrics['token_loss'].compute()))


@pytest.mark.parametrize(
    'name',
    ['drop_path', pytest.param('everything', marks=pytest.mark.slow)],  # the latter has experts
)
def test_chunks_and_rematerialisation_change_neither_losses_nor_gradients(name):
    plain, batch = make_model(**OPTIONS[name]), make_batch('decoder_prefix', ROWS)
    lean = VisionTextModel(make_model(**OPTIONS[name], remat='full').module, loss_chunk=3)
    params = random_params(plain.module, batch, spread=0.3)
    key = jax.random.key(1, impl='rbg')

    def evaluate(model):
        return jax.jit(jax.value_and_grad(model.loss_fn, has_aux=True))(params, batch, key)

    wanted, found = evaluate(plain), evaluate(lean)
    assert ('moe_load_loss' in found[0][1]) == ('moe_blocks' in OPTIONS[name])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6), found, wanted)


@pytest.mark.parametrize('name', COMPILED)
def test_prefix_lm_scores_what_it_answers(name):
    model, batch = make_model('prefix_lm', **OPTIONS[name]), make_batch('prefix_lm', ROWS)
    params = random_params(model.module, batch, spread=0.3)
    predict = jax.jit(functools.partial(model.predict_batch_with_aux, max_decode_length=4))
    tokens, aux = predict(params, batch)
    answers = [[token for token in row if token] for row in tokens.tolist()]
    rows = [[(row[0][0], answer)] for row, answer in zip(ROWS, answers, strict=True)]
    scores = jax.jit(model.score_batch)(params, make_batch('prefix_lm', rows))
    np.testing.assert_allclose(scores, aux['scores'], rtol=1e-5)


def test_sown_values_are_summed_by_name():
    sown = {'a': {'x': (1.0,), 'y': (2.0,)}, 'b': {'c': {'x': (3.0, 4.0)}}}
    sown = jax.tree.map(jnp.asarray, sown)
    assert sums_by_name(sown) == {'x': 8.0, 'y': 2.0}
    assert sums_by_name({}) == {}


@pytest.mark.parametrize('name', OPTIONS)
def test_options_come_back_from_model_json(name):
    network = make_model(**OPTIONS[name], dtype='float32').module.config
    network = dataclasses.replace(network, text=dataclasses.replace(TEXT, dtype='float32'))
    serving = Serving(network, {}, {}, {}, {}, {})
    again = Serving.from_json(json.loads(json.dumps(serving.to_json())))
    assert again.network == network and hash(again.network) == hash(network)


@pytest.mark.parametrize('name', OPTIONS)
def test_options_keep_bfloat16_activations_and_float32_parameters(name):
    vision = Vit(make_model(**OPTIONS[name], dtype=jnp.bfloat16).module.config.vision)
    images, key = jnp.zeros((3, 8, 8, 3)), jax.random.key(0)

    def forward(key):
        params = vision.init(key, images)['params']
        return params, vision.apply({'params': params}, images, False, rngs={'dropout': key})

    params, tokens = jax.eval_shape(forward, key)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}
    assert tokens.dtype == jnp.bfloat16
    assert tokens.shape == (3, vision.config.num_tokens, 16)


def test_merged_tokens_of_every_image_reach_the_decoder():
    model, batch = (
        make_model(**OPTIONS['patch_merger']),
        make_batch('decoder_prefix', ROWS, images=2),
    )
    params = random_params(model.module, batch)
    batch['image_mask'] = jnp.array([[True, False], [False, True], [True, True]])
    encode = functools.partial(model.module.apply, method=VisionTextNetwork.encode)
    memory = jax.jit(encode)({'params': params}, batch['images'], batch['image_mask'])
    assert memory.keys_values[0].key.shape[-1] == 2 * 2
    wanted = [[1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 1, 1]]
    np.testing.assert_array_equal(memory.mask[:, 0, 0], wanted)


# ---- A patch size for every step -----------------------------------------------------------------

FLEXIBLE = {'base_patch_size': 8, 'position_grid': (3, 3), 'train_patch_sizes': (2, 4, 8)}


def test_one_set_of_parameters_serves_every_patch_size():
    model, batch = make_model(**FLEXIBLE), make_batch('decoder_prefix', ROWS)
    params = random_params(model.module, batch)
    losses = set()
    for size, tokens in ((2, 16), (4, 4), (8, 1)):
        resized = model.with_patch_size(size)
        assert resized.module.config.vision.num_tokens == tokens
        shapes = jax.eval_shape(resized.module.init, jax.random.key(0), batch)['params']
        assert jax.tree.map(jnp.shape, shapes) == jax.tree.map(jnp.shape, params)
        losses.add(float(jax.jit(resized.eval_fn)(params, batch)[0]))
    assert len(losses) == 3 and np.isfinite(list(losses)).all()
    assert model.module.config.vision.patch_size == 4


def test_every_training_step_draws_its_patch_size():
    model, batch = (
        make_model(**{**FLEXIBLE, 'train_patch_sizes': (2, 8)}),
        make_batch('decoder_prefix', ROWS),
    )
    config = Optimizer(optax.sgd, lambda step: 1e-3)
    optimizer = config.transformation(lambda name: False)
    step_of, again = (make_train_steps(model, optimizer, config, seed=5) for _ in range(2))
    drawn = [step_of(i) for i in range(60)]
    kinds = list(dict.fromkeys(drawn))
    # Each of the two comes 30 times, with a deviation of 3.9.
    assert len(kinds) == 2 and min(drawn.count(kind) for kind in kinds) > 18
    # A restarted run draws the same ones.
    redrawn = [again(i) for i in range(60)]
    order = list(dict.fromkeys(redrawn))
    assert [kinds.index(kind) for kind in drawn] == [order.index(kind) for kind in redrawn]
    params, rng = random_params(model.module, batch), jax.random.key(0, impl='rbg')
    found = []
    for step in kinds:
        state = TrainState.create(jax.tree.map(jnp.copy, params), optimizer, False)
        found.append(float(step(state, batch, rng)[1]['loss']))
    wanted = [jax.jit(model.with_patch_size(p).eval_fn)(params, batch)[0] for p in (2, 8)]
    np.testing.assert_allclose(sorted(found), sorted(map(float, wanted)), rtol=1e-5)


def test_without_a_choice_of_sizes_there_is_one_step():
    config = Optimizer(optax.sgd, lambda step: 1e-3)
    optimizer = config.transformation(lambda name: False)
    step_of = make_train_steps(make_model(), optimizer, config, seed=0)
    assert len({step_of(i) for i in range(20)}) == 1
