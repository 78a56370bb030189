"""V-MoE's router and experts: published examples, hand-computed losses and a loop over tokens."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.nn import moe
from vlm.nn.layers import Mlp
from vlm.nn.moe import MoeMlp
from vlm.nn.vit_config import VitConfig

from miniature import random_params

EXPERTS = 3
CONFIG = VitConfig(
    (8, 8), 4, width=4, num_layers=1, num_heads=1, mlp_dim=5, moe_blocks=(0,), moe_experts=EXPERTS
)


@pytest.mark.parametrize(
    'tokens, experts, selected, factor, wanted',
    [
        (196, 8, 2, 1.05, 52),  # 51.45: the published example
        (196, 8, 2, 4.0, 196),
        (60, 4, 1, 1.0, 16),  # 15
        (100, 2, 2, 4.0, 100),  # 400 is more than there are
        (3, 8, 1, 1.0, 3),
    ],
)
def test_capacity(tokens, experts, selected, factor, wanted):
    assert moe.expert_capacity(tokens, experts, selected, factor) == wanted


@pytest.mark.parametrize('priority, kept', [(False, {0: 0, 1: 1}), (True, {2: 0, 1: 1})])
def test_priority_decides_who_finds_no_room(priority, kept):
    gates = jnp.array([[0.6, 0.4], [0.7, 0.3], [0.9, 0.1]])
    routes = moe.route(gates, 1, 2, priority)
    assert routes.shape == (3, 2, 2) and not routes[:, 1].any()
    found = {int(token): int(place) for token, place in np.argwhere(routes[:, 0])}
    assert found == kept


@pytest.mark.parametrize(
    'order, wanted',
    [
        # Expert 0 is the first choice of tokens 0 and 2, and only then the second of token 1.
        ([0, 1, 2], [[0, 1], [0, 2], [1, 2]]),
        ([2, 1, 0], [[1, 2], [0, 2], [0, 1]]),
    ],
)
def test_first_choices_stand_before_second_ones(order, wanted):
    experts = jnp.array([[0, 1], [1, 0], [0, 1]])
    assert moe.queue_places(experts, jnp.array(order), 2).tolist() == wanted


def test_importance_loss_by_hand():
    uneven = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
    even = jnp.log(jnp.array([[0.5, 0.25, 0.25], [1 / 6, 5 / 12, 5 / 12]]))
    # Sums 1, 1/2, 1/2: variance 1/18 and mean 2/3. The other group is even; their mean is a half.
    loss = moe.importance_loss(jnp.stack([uneven, even]))
    assert float(loss) == pytest.approx(0.125 / 2, rel=1e-5)


def test_load_loss_by_hand():
    logits = np.array([[[0.0, 1.0, 0.5], [0.2, -0.4, 0.3]]], np.float32)
    noisy = np.array([[[0.3, 1.2, 0.4], [-0.1, -0.2, 0.6]]], np.float32)
    noise = 0.5
    # The second best: 0.4 of token 0 and -0.1 of token 1. P(normal > z) is erfc(z / sqrt 2) / 2.
    loads = [
        sum(
            math.erfc((threshold - logits[0, t, e]) / noise / math.sqrt(2)) / 2
            for t, threshold in enumerate([0.4, -0.1])
        )
        for e in range(3)
    ]
    wanted = np.var(loads) / np.mean(loads) ** 2
    found = moe.load_loss(jnp.asarray(logits), jnp.asarray(noisy), noise, 2)
    assert float(found) == pytest.approx(wanted, rel=1e-5)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def reference(params, group, selected: int, capacity: int, priority: bool) -> np.ndarray:
    """One group [T, D], token by token: first choices of all, then second choices."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    logits = group @ p['router']['kernel']
    gates = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    tokens = range(len(group))
    if priority:
        tokens = sorted(tokens, key=lambda t: -gates[t].max())
    room, y = [capacity] * gates.shape[1], np.zeros_like(group)
    for choice in range(selected):
        for t in tokens:
            e = np.argsort(-gates[t])[choice]
            if room[e]:
                room[e] -= 1
                hidden = gelu(group[t] @ p['wi']['kernel'][e] + p['wi']['bias'][e])
                y[t] += gates[t, e] * (hidden @ p['wo']['kernel'][e] + p['wo']['bias'][e])
    return y


@pytest.mark.parametrize('priority', [False, True])
@pytest.mark.parametrize('factor, capacity', [(4.0, 12), (0.5, 4)])
@pytest.mark.parametrize('batch, images, groups', [(4, 2, 2), (3, 2, 3)])
def test_experts_equal_a_loop_over_tokens(priority, factor, capacity, batch, images, groups):
    config = dataclasses.replace(
        CONFIG,
        moe_eval_capacity_factor=factor,
        moe_batch_priority=priority,
        moe_group_images=images,
    )
    # Of six tokens 6 * 2 / 3 go to an expert; half of that, of two images too, makes 4 places.
    x = np.random.default_rng(2).normal(size=(batch, 6, 4))
    params = random_params(MoeMlp(config), jnp.asarray(x, jnp.float32), spread=1.0)
    capacity = min(capacity, 6 * batch // groups)
    wanted = [reference(params, g, 2, capacity, priority) for g in x.reshape(groups, -1, 4)]
    found = MoeMlp(config).apply({'params': params}, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, np.reshape(wanted, x.shape), rtol=1e-4, atol=1e-5)


def test_one_expert_is_a_plain_mlp():
    config = dataclasses.replace(CONFIG, moe_experts=1, moe_selected=1)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 4)), jnp.float32)
    params = random_params(MoeMlp(config), x)
    plain = jax.tree.map(lambda leaf: leaf[0], {name: params[name] for name in ('wi', 'wo')})
    wanted = Mlp(5, use_bias=True).apply({'params': plain}, x)
    found = MoeMlp(config).apply({'params': params}, x)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def constant_experts(x) -> dict:
    """Parameters with which expert e answers with unit vector e, and the router has no opinion."""
    config = dataclasses.replace(CONFIG, moe_experts=4)
    params = jax.tree.map(jnp.zeros_like, random_params(MoeMlp(config), x))
    return {**params, 'wo': {**params['wo'], 'bias': jnp.eye(4)}}


def train(config, params, x, seed: int = 0):
    module = MoeMlp(config)
    rngs = {'dropout': jax.random.key(seed)}
    return module.apply({'params': params}, x, deterministic=False, rngs=rngs, mutable=['losses'])


def test_noise_of_the_router_has_its_deviation():
    # With all four experts chosen the output is the softmax of the noise itself.
    x = jnp.ones((1, 1500, 4))
    options = {'moe_experts': 4, 'moe_selected': 4, 'moe_noise': 2.0}
    gates, _ = train(dataclasses.replace(CONFIG, **options), constant_experts(x), x)
    np.testing.assert_allclose(gates.sum(-1), 1, rtol=1e-5)
    log_gates = np.log(gates[0])
    centred = log_gates - log_gates.mean(-1, keepdims=True)
    # 2 / 4, of which the mean over four takes a quarter of the variance; 4,500 free numbers.
    assert centred.std() == pytest.approx(0.5 * math.sqrt(0.75), rel=0.05)


def test_weights_of_the_chosen_are_not_renormalised():
    x = jnp.ones((1, 3, 4))
    config = dataclasses.replace(CONFIG, moe_experts=4, moe_selected=2)
    found = MoeMlp(config).apply({'params': constant_experts(x)}, x)
    np.testing.assert_allclose(found[0], [[0.25, 0.25, 0, 0]] * 3, rtol=1e-6)


def test_losses_are_sown_in_training_only():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 4)), jnp.float32)
    config = dataclasses.replace(CONFIG, moe_importance_loss=0.5, moe_load_loss=0.25)
    params = random_params(MoeMlp(config), x)
    _, sown = train(config, params, x)
    assert sown['losses'].keys() == {'moe_importance_loss', 'moe_load_loss'}
    logits = x @ params['router']['kernel']
    (importance,), (load,) = (sown['losses'][f'moe_{name}_loss'] for name in ('importance', 'load'))
    assert float(importance) == pytest.approx(0.5 * float(moe.importance_loss(logits)), rel=1e-5)
    doubled = dataclasses.replace(config, moe_load_loss=0.5)
    (twice,) = train(doubled, params, x)[1]['losses']['moe_load_loss']
    assert float(twice) == pytest.approx(2 * float(load)) and load > 0
    assert train(config, params, x, seed=1)[1]['losses']['moe_load_loss'][0] != load
    _, sown = MoeMlp(config).apply({'params': params}, x, mutable=['losses'])
    assert not sown


def test_without_noise_training_differs_from_evaluation_by_the_room_alone():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 4)), jnp.float32)
    config = dataclasses.replace(CONFIG, moe_noise=0.0, moe_load_loss=0.0, moe_capacity_factor=0.5)
    params = random_params(MoeMlp(config), x, spread=1.0)
    found, sown = train(config, params, x)
    assert sown['losses'].keys() == {'moe_importance_loss'}
    tight = dataclasses.replace(config, moe_eval_capacity_factor=0.5)
    np.testing.assert_array_equal(found, MoeMlp(tight).apply({'params': params}, x))
    assert not np.allclose(found, MoeMlp(config).apply({'params': params}, x))


def test_experts_name_their_axis():
    axes = jax.eval_shape(MoeMlp(CONFIG).init, jax.random.key(0), jnp.ones((1, 6, 4)))[
        'params_axes'
    ]
    names = {
        (layer, kind): part.names for layer, parts in axes.items() for kind, part in parts.items()
    }
    assert names == {
        ('router', 'kernel_axes'): ('embed', None),
        ('wi', 'kernel_axes'): ('expert', 'embed', 'mlp'),
        ('wi', 'bias_axes'): ('expert', 'mlp'),
        ('wo', 'kernel_axes'): ('expert', 'mlp', 'embed'),
        ('wo', 'bias_axes'): ('expert', 'embed'),
    }


def test_experts_start_like_layers_of_their_own():
    config = dataclasses.replace(CONFIG, width=64, mlp_dim=64, moe_experts=8)
    params = MoeMlp(config).init(jax.random.key(0), jnp.ones((1, 4, 64)))['params']
    kernel = params['wi']['kernel']
    assert kernel.shape == (8, 64, 64)
    # Variance 1 / fan-in, the experts not counted among the inputs: 32,768 numbers.
    assert float(kernel.std()) == pytest.approx(1 / 8, rel=0.05)
    assert not np.allclose(kernel[0], kernel[1])
