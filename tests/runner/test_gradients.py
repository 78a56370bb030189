"""Microbatches, frozen parameters and rates by part: what a training step does to parameters."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vlm.errors import UserError
from vlm.model import VisionTextModel
from vlm.nn.flops import program_flops
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.gradients import make_gradient, microbatches
from vlm.runner.optimizers import Optimizer
from vlm.runner.parts import frozen_parameters, part_of
from vlm.runner.state import TrainState, flat_names
from vlm.runner.train_step import make_train_step

import miniature
from miniature import random_params

VISION = VitConfig((8, 8), 4, width=8, num_layers=3, num_heads=2, mlp_dim=16)
TEXT = TextConfig(9, 8, 1, num_heads=2, head_dim=4, mlp_dim=16)
# Answers of 3, 2, 1 and 4 tokens: no two microbatches have as many.
ROWS = [
    [([5, 6, 1], [7, 8, 1])],
    [([4, 1], [6, 1]), ([3, 1], [1])],
    [([1], [1])],
    [([1], [3, 4, 5, 1])],
]
make_batch = functools.partial(miniature.make_batch, prompt=4, answer=4)


def make_model(freeze: bool = False, options: dict | None = None, **vision) -> VisionTextModel:
    config = NetworkConfig(dataclasses.replace(VISION, **vision), TEXT, freeze_vision=freeze)
    return VisionTextModel(VisionTextNetwork(config), **options or {})


@pytest.fixture(scope='module')
def batch():
    return make_batch('decoder_prefix', ROWS)


@pytest.fixture(scope='module')
def params(batch):
    return random_params(make_model().module, batch, spread=0.3)


@pytest.mark.parametrize(
    ('options', 'count'),
    [
        ({'first_token_weight': 3.0}, 2),
        pytest.param({'loss_normalizer': 'sequence'}, 4, marks=pytest.mark.slow),
    ],
    ids=['tokens', 'sequence'],
)
def test_microbatches_add_up_to_the_batch(options, count, batch):
    # Some microbatches have no row of one of the two tasks.
    batch = batch | {'task_rows': jnp.eye(2)[jnp.array([0, 1, 1, 1])]}
    model = make_model(options=options, num_layers=1)
    params = random_params(model.module, batch, spread=0.3)
    whole, parts = (
        jax.jit(make_gradient(model, n))(params, batch, jax.random.key(0)) for n in (1, count)
    )
    for a, b in zip(jax.tree.leaves(whole[0]), jax.tree.leaves(parts[0]), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-6)
    values = [{name: metric.compute() for name, metric in m.items()} for _, m in (whole, parts)]
    assert values[1]['answer_tokens'] == 11 and values[1]['task_loss'].shape == (2,)
    for name, value in values[0].items():
        np.testing.assert_allclose(values[1][name], value, rtol=1e-5, err_msg=name)


def test_losses_of_routers_are_means_over_microbatches(batch):
    experts = {'moe_blocks': (0,), 'moe_experts': 3, 'moe_noise': 0.0, 'moe_load_loss': 0.0}
    model = make_model(**experts, moe_importance_loss=0.5, num_layers=1)
    params = random_params(model.module, batch, spread=0.3)
    gradients = [
        jax.jit(make_gradient(model, count))(params, batch, jax.random.key(0, impl='rbg'))
        for count in (1, 2)
    ]
    values = [float(metrics['moe_importance_loss'].compute()) for _, metrics in gradients]
    assert values[0] > 1e-4 and values[1] == pytest.approx(values[0], rel=1e-5)
    router = [g['vision']['layers_0']['moe']['router']['kernel'] for g, _ in gradients]
    np.testing.assert_allclose(router[1], router[0], rtol=1e-4, atol=1e-7)


def test_a_microbatch_takes_every_nth_row():
    cut = microbatches({'x': jnp.arange(6)}, 2)['x']
    assert cut.tolist() == [[0, 2, 4], [1, 3, 5]]


# Weights and biases of the vision encoder that are not trained, by number of frozen blocks.
BEFORE = {'vision/patch_embed/bias', 'vision/patch_embed/kernel', 'vision/position_embedding'}


def names_frozen(model, params) -> set[str]:
    return {name for name in flat_names(params) if frozen_parameters(model)(name)}


def test_which_parameters_are_frozen(params):
    vision = {name for name in flat_names(params) if part_of(name) == 'vision'}
    assert names_frozen(make_model(), params) == set()
    assert names_frozen(make_model(freeze=True), params) == vision
    two = names_frozen(make_model(frozen_blocks=2), params)
    blocks = {n for n in vision if n.startswith(('vision/layers_0/', 'vision/layers_1/'))}
    assert len(blocks) == 2 * 16 and two == BEFORE | blocks


def test_frozen_blocks_must_be_single_blocks():
    with pytest.raises(UserError, match='frozen_blocks = 1 makes blocks differ'):
        VitConfig(scan_layers=True, frozen_blocks=1)
    with pytest.raises(UserError, match='frozen_blocks = 13 is not between 0 and num_layers = 12'):
        VitConfig(frozen_blocks=13)


@pytest.mark.parametrize('how', [{'freeze': True}, {'frozen_blocks': 2}])
def test_frozen_parameters_keep_every_bit_and_have_no_state(how, batch, params):
    model = make_model(**how)
    config = Optimizer(functools.partial(optax.adamw, weight_decay=0.1), lambda s: 0.1, None, 0.9)
    optimizer = config.transformation(frozen_parameters(model))
    # Adding 0 would make a 0 of -0; a weighted mean of x and x need not be x.
    params = params | {'vision': jax.tree.map(lambda x: x.at[..., 0].set(-0.0), params['vision'])}
    before = {name: np.asarray(leaf) for name, leaf in flat_names(params).items()}
    state = TrainState.create(jax.tree.map(jnp.copy, params), optimizer, ema=True)
    frozen = names_frozen(model, params)
    moments = [name for name in flat_names(state.opt_state) if '/mu/' in name]
    assert len(moments) == len(before) - len(frozen)
    step = make_train_step(model, optimizer, config, num_microbatches=2)
    for _ in range(2):
        state, _ = step(state, batch, jax.random.key(0))
    for tree in (state.params, state.ema_params):
        for name, leaf in flat_names(tree).items():
            same = np.asarray(leaf).tobytes() == before[name].tobytes()
            assert same == (name in frozen), name


def test_frozen_blocks_change_no_other_gradient(batch, params):
    full = jax.jit(make_gradient(make_model()))(params, batch, jax.random.key(0))[0]
    part = jax.jit(make_gradient(make_model(frozen_blocks=2)))(params, batch, jax.random.key(0))[0]
    full, part = flat_names(full), flat_names(part)
    assert set(full) - set(part) == names_frozen(make_model(frozen_blocks=2), params)
    for name, leaf in part.items():
        np.testing.assert_allclose(leaf, full[name], rtol=1e-4, atol=1e-6)


def test_what_is_frozen_costs_no_gradient_no_memory_and_no_backward_pass(batch, params):
    measured = []
    for model in (make_model(), make_model(frozen_blocks=2), make_model(freeze=True)):
        traced = jax.jit(make_gradient(model)).trace(params, batch, jax.random.key(0))
        memory = traced.lower().compile().memory_analysis()
        gradients = jax.tree.leaves(jax.eval_shape(make_gradient(model), params, batch,
                                                   jax.random.key(0))[0])  # fmt: skip
        held = sum(leaf.size for leaf in gradients)
        frozen = sum(flat_names(params)[name].size for name in names_frozen(model, params))
        assert held + frozen == sum(leaf.size for leaf in jax.tree.leaves(params))
        measured.append(
            (program_flops(traced.jaxpr), memory.output_size_in_bytes, memory.temp_size_in_bytes)
        )
    for all_trained, partly, frozen in zip(*measured, strict=True):
        assert all_trained > partly > frozen


def test_a_multiplier_is_the_learning_rate_of_a_part(batch, params):
    def moved(make, multipliers) -> dict[str, np.ndarray]:
        config = Optimizer(make, lambda step: 0.1, 1.0, multipliers=multipliers)
        optimizer = config.transformation(lambda name: False)
        gradients = jax.tree.map(lambda leaf: jnp.sin(50 * leaf), params)
        init_and_update = jax.jit(lambda g, p: optimizer.update(g, optimizer.init(p), p)[0])
        updates = init_and_update(gradients, params)
        return {name: np.asarray(leaf) for name, leaf in flat_names(updates).items()}

    factors = {'vision': 0.1, 'connector': 2.0, 'text': 1.0}
    decayed = functools.partial(optax.adamw, weight_decay=0.1)
    plain, scaled = moved(decayed, {}), moved(decayed, {'vision': 0.1, 'connector': 2.0})
    assert {part_of(name) for name in plain} == set(factors)
    for name, update in plain.items():
        np.testing.assert_allclose(scaled[name], factors[part_of(name)] * update, rtol=1e-6)


def test_wrong_multipliers_are_told():
    with pytest.raises(UserError, match="unknown part 'visoin'.*Nearest: vision"):
        Optimizer(optax.sgd, lambda step: 1.0, multipliers={'visoin': 0.1})
    with pytest.raises(UserError, match='vision = 0.0 is not above 0.*FREEZE_VISION'):
        Optimizer(optax.sgd, lambda step: 1.0, multipliers={'vision': 0.0})
