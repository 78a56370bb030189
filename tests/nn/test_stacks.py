"""Scanned, unrolled and rematerialised stacks compute the same."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cross_section import all_but

from vlm.errors import UserError
from vlm.nn.network import WIRINGS, NetworkConfig, VisionTextNetwork
from vlm.nn.stacks import to_layout
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig

import miniature
from miniature import random_params

VISION = VitConfig((8, 8), 4, width=8, num_layers=2, num_heads=2, mlp_dim=16)
TEXT = TextConfig(11, width=8, num_layers=2, num_heads=2, head_dim=4, mlp_dim=16)
ROWS = [[([5, 6, 1], [7, 8, 1])], [([4, 1], [9, 1])]]


def network(wiring: str, **options) -> VisionTextNetwork:
    layers = 2 if wiring == 'fusion_encoder' else 0
    text = dataclasses.replace(TEXT, num_encoder_layers=layers, **options)
    return VisionTextNetwork(
        NetworkConfig(dataclasses.replace(VISION, **options), text, wiring=wiring)
    )


def shapes(module, batch):
    return jax.eval_shape(module.init, jax.random.key(0), batch)['params']


@pytest.mark.parametrize('wiring', all_but(('prefix_lm', 'fusion_encoder'), WIRINGS))
def test_scanned_stacks_equal_unrolled_ones(wiring):
    batch = miniature.make_batch(wiring, ROWS, prompt=4, answer=3)
    plain, scanned = network(wiring), network(wiring, scan_layers=True)
    params = random_params(plain, batch, spread=0.3)
    stacked = to_layout(params, shapes(scanned, batch))
    assert stacked['decoder']['layers']['mlp']['wi']['kernel'].shape == (2, 8, 16)
    assert jax.tree.map(jnp.shape, stacked) == jax.tree.map(jnp.shape, shapes(scanned, batch))

    def run(module, batch):
        """Logits of whole rows, and states of a step behind two tokens with their caches."""
        memory = module.encode(
            batch['images'], batch['image_mask'], batch.get('encoder_input_tokens')
        )
        first, mask = batch['decoder_input_tokens'][:, :2], jnp.ones((1, 1, 2, 2), bool)
        _, caches = module.decode_step(first, memory, mask)
        assert caches[0].key.shape[:3] == (2, 2, 4)  # rows, heads, size of a head: slots come last
        caches = [cache.extended_by(1) for cache in caches]
        mask = jnp.ones((2, 1, 1, 3), bool)
        state, _ = module.decode_step(first[:, :1], memory, mask, caches, 2)
        return module(batch), state

    found, wanted = (
        jax.jit(functools.partial(m.apply, method=run))({'params': p}, batch)
        for m, p in ((scanned, stacked), (plain, params))
    )
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, wanted)


def test_layouts_go_back_and_forth_and_mix():
    batch = miniature.make_batch('fusion_encoder', ROWS, prompt=4, answer=3)
    plain, scanned = network('fusion_encoder'), network('fusion_encoder', scan_layers=True)
    params = random_params(plain, batch)
    there = to_layout(params, shapes(scanned, batch))
    back = to_layout(there, shapes(plain, batch))
    jax.tree.map(np.testing.assert_array_equal, back, params)
    mixed = {**shapes(plain, batch), 'vision': shapes(scanned, batch)['vision']}
    found = to_layout(params, mixed)
    assert 'layers' in found['vision'] and 'layers_1' in found['decoder']
    wanted = params['vision']['layers_1']['mlp']['wi']['bias']
    np.testing.assert_array_equal(found['vision']['layers']['mlp']['wi']['bias'][1], wanted)


@functools.cache
def gradient_and_program(scan_layers: bool, remat: str):
    """Of one function of the logits, with dropout drawn from one key."""
    batch = miniature.make_batch('fusion_encoder', ROWS, prompt=4, answer=3)
    module = network('fusion_encoder', scan_layers=scan_layers, dropout=0.5, remat=remat)

    def total(params):
        rngs = {'dropout': jax.random.key(3)}
        logits = module.apply({'params': params}, batch, deterministic=False, rngs=rngs)
        return jnp.sum(jnp.sin(logits))

    params = random_params(module, batch, spread=0.3)
    traced = jax.jit(jax.grad(total)).trace(params)
    return traced.lower().compile()(params), str(traced.jaxpr)


@pytest.mark.parametrize(
    ('scan_layers', 'remat'),
    [
        (True, 'full'),
        pytest.param(False, 'dots', marks=pytest.mark.slow),
        pytest.param(False, 'full', marks=pytest.mark.slow),
        pytest.param(True, 'dots', marks=pytest.mark.slow),
        pytest.param(False, 'dots_no_batch', marks=pytest.mark.slow),
        pytest.param(True, 'dots_no_batch', marks=pytest.mark.slow),
    ],
)
def test_rematerialised_stacks_have_the_same_gradients(scan_layers, remat):
    wanted, before = gradient_and_program(scan_layers, 'none')
    found, after = gradient_and_program(scan_layers, remat)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5), found, wanted)
    assert 'remat' not in before and 'remat' in after


@pytest.mark.parametrize('config', [VISION, TEXT])
def test_unknown_policies_name_the_nearest(config):
    name = f'{type(config).__name__}.remat'
    with pytest.raises(UserError, match=rf"'dot' \({name}\)\. Nearest: dots"):
        dataclasses.replace(config, remat='dot')
