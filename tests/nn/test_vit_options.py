"""Options of the vision encoder's blocks and tokens, each against its formula."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.layers import LayerNorm
from vlm.nn.patch_merger import PatchMerger
from vlm.nn.patches import PatchEmbed
from vlm.nn.vit import DropPath, Vit, VitBlock, VitConfig, standardized

from miniature import random_params

CONFIG = VitConfig((8, 12), 4, width=8, num_layers=2, num_heads=2, mlp_dim=12)
VIT_22B = {'parallel_blocks': True, 'qk_norm': True, 'qkv_bias': False, 'norm': 'rms_norm'}


def option(**changes) -> VitConfig:
    return dataclasses.replace(CONFIG, **changes)


def normal(*shape, seed: int = 0) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def apply(module, params, *args, **kwargs):
    return module.apply({'params': params}, *args, **kwargs)


# ---- ViT-22B -------------------------------------------------------------------------------------


def normed(p, x, kind):
    if kind != 'rms_norm':
        x = x - x.mean(-1, keepdims=True)
    x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p['scale']
    return x + p['bias'] if kind == 'layer_norm' else x


def dense(p, x):
    return x @ p['kernel'] + p.get('bias', 0.0)


def parallel_block(p, x, kind):
    """x + attention(norm(x)) + MLP(norm(x)), queries and keys normalised by head; in float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), p)
    y, attention = normed(p['norm'], x, kind), p['attention']
    query, key, value = (
        dense(attention[n], y).reshape(*x.shape[:2], 2, 4) for n in ('query', 'key', 'value')
    )
    query, key = (
        normed(attention['query_norm'], query, kind),
        normed(attention['key_norm'], key, kind),
    )
    weights = np.exp(np.einsum('BTAK,BSAK->BATS', query, key) / 2)  # sqrt(4)
    weights /= weights.sum(-1, keepdims=True)
    attended = np.einsum('BATS,BSAK->BTAK', weights, value).reshape(x.shape)
    hidden = np.asarray(jax.nn.gelu(dense(p['mlp']['wi'], y)))
    return x + dense(attention['out'], attended) + dense(p['mlp']['wo'], hidden)


@pytest.mark.parametrize('norm', ['layer_norm', 'layer_norm_no_bias', 'rms_norm'])
def test_parallel_block_with_normalised_queries_equals_its_formula(norm):
    block, x = VitBlock(option(**{**VIT_22B, 'norm': norm})), normal(2, 5, 8)
    params = random_params(block, x)
    found, _ = apply(block, params, x)
    wanted = parallel_block(params, np.asarray(x, np.float64), norm)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def biases(config) -> set[str]:
    params = jax.eval_shape(Vit(config).init, jax.random.key(0), normal(1, 8, 12, 3))['params']
    names = {
        '/'.join(key.key for key in path) for path, _ in jax.tree_util.tree_leaves_with_path(params)
    }
    block = {name for name in names if name.startswith(('layers_0/', 'norm/'))}
    return {name.removeprefix('layers_0/') for name in block if name.endswith('/bias')}


def test_biases_of_vit_22b():
    assert biases(option(**VIT_22B)) == {'attention/out/bias', 'mlp/wi/bias', 'mlp/wo/bias'}
    assert biases(option(**VIT_22B, use_bias=False)) == set()
    assert biases(option(norm='layer_norm_no_bias', qkv_bias=False, use_bias=False)) == set()
    of_attention = {f'attention/{name}/bias' for name in ('query', 'key', 'value')}
    norms = {f'{name}/bias' for name in ('attention_norm', 'mlp_norm', 'norm')}
    assert biases(option(use_bias=False)) == of_attention | norms


# ---- Registers and PatchMerger -------------------------------------------------------------------


def block_of(config, params, x, i: int):
    return apply(VitBlock(config), params[f'layers_{i}'], x)[0]


def embedded(params, images):
    """What the first block gets, before registers."""
    return apply(PatchEmbed(CONFIG), params['patch_embed'], images) + params['position_embedding']


def test_registers_take_part_and_leave():
    config, images = option(num_registers=3), normal(2, 8, 12, 3)
    params = random_params(Vit(config), images)
    assert params['registers'].shape == (3, 8)
    x = jnp.concatenate([embedded(params, images), jnp.stack([params['registers']] * 2)], axis=1)
    for i in range(2):
        x = block_of(config, params, x, i)
    wanted = apply(LayerNorm(), params['norm'], x[:, :6])
    found = apply(Vit(config), params, images)
    assert found.shape == (2, config.num_tokens, 8)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('registers', [0, 2])
def test_patch_merger_merges_patches_after_its_block(registers):
    config = option(patch_merger_tokens=4, patch_merger_after=1, num_registers=registers)
    images = normal(2, 8, 12, 3)
    params = random_params(Vit(config), images)
    x, own = embedded(params, images), jnp.zeros((2, 0, 8))
    if registers:
        own = jnp.stack([params['registers']] * 2)
    x = block_of(config, params, jnp.concatenate([x, own], axis=1), 0)
    x = jnp.concatenate([apply(PatchMerger(4), params['patch_merger'], x[:, :6]), x[:, 6:]], axis=1)
    x = block_of(config, params, x, 1)
    wanted = apply(LayerNorm(), params['norm'], x[:, :4])
    found = apply(Vit(config), params, images)
    assert found.shape == (2, 4, 8) and config.num_tokens == 4 and config.num_patches == 6
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


# ---- Stochastic depth ----------------------------------------------------------------------------


def test_drop_path_leaves_out_whole_images():
    rngs = {'dropout': jax.random.key(0)}
    found = np.asarray(DropPath().apply({}, jnp.ones((4000, 2, 3)), 0.25, rngs=rngs))
    assert (found == found[:, :1, :1]).all()
    assert set(np.unique(found)) == {0.0, np.float32(1 / 0.75)}
    # The deviation of a share of 4,000 draws is 0.007.
    assert (found[:, 0, 0] > 0).mean() == pytest.approx(0.75, abs=0.03)


def test_drop_path_grows_linearly_with_depth():
    config, images = option(num_layers=3, drop_path=0.5), normal(800, 8, 12, 3)
    config = dataclasses.replace(config, mlp_dim=4)
    _, seen = Vit(config).apply(
        {'params': random_params(Vit(config), images)},
        images,
        deterministic=False,
        rngs={'dropout': jax.random.key(0)},
        capture_intermediates=lambda module, _: isinstance(module, DropPath),
    )
    blocks = [seen['intermediates'][f'layers_{i}'] for i in range(3)]
    # Two branches a block, each with a draw of its own; 0.018 is the deviation of 800 draws.
    shares = [
        [(block[name]['__call__'][0] == 0).all((1, 2)).mean() for name in sorted(block)]
        for block in blocks
    ]
    np.testing.assert_allclose(shares, [[0, 0], [0.25, 0.25], [0.5, 0.5]], atol=0.06)
    assert shares[1][0] != shares[1][1]


@pytest.mark.parametrize('scan_layers', [False, True])
def test_a_last_block_that_is_always_dropped_is_not_there(scan_layers):
    # A rate of 1 - 1e-6 keeps one branch in a million; what the first block does stays as it is.
    config = option(drop_path=1 - 1e-6)
    images = normal(2, 8, 12, 3)
    params = random_params(Vit(config), images)
    rest = {name: params[name] for name in ('patch_embed', 'position_embedding', 'norm')}
    one = option(num_layers=1)
    wanted = apply(Vit(one), {**rest, 'layers_0': params['layers_0']}, images)
    if scan_layers:
        config = dataclasses.replace(config, scan_layers=True)
        blocks = [params[f'layers_{i}'] for i in range(2)]
        params = {**rest, 'layers': jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}
    rngs = {'dropout': jax.random.key(0)}
    found = apply(Vit(config), params, images, deterministic=False, rngs=rngs)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    both = apply(Vit(config), params, images)
    assert not np.allclose(both, wanted, atol=0.1)


def test_drop_path_keeps_bfloat16():
    rngs = {'dropout': jax.random.key(0)}
    y = jnp.ones((2, 3, 4), jnp.bfloat16)
    assert DropPath().apply({}, y, jnp.float32(0.5), rngs=rngs).dtype == jnp.bfloat16


# ---- Experts and mixtures of options -------------------------------------------------------------


def test_experts_stand_in_the_blocks_named():
    config = option(num_layers=3, moe_blocks=(1,), moe_experts=4)
    params = random_params(Vit(config), normal(1, 8, 12, 3))
    kinds = [params[f'layers_{i}'].keys() - {'attention', 'attention_norm'} for i in range(3)]
    assert kinds == [{'mlp_norm', 'mlp'}, {'mlp_norm', 'moe'}, {'mlp_norm', 'mlp'}]
    assert params['layers_1']['moe']['wi']['kernel'].shape == (4, 8, 12)


def test_scanned_blocks_of_vit_22b_with_registers_equal_unrolled_blocks():
    config, images = option(**VIT_22B, num_registers=2), normal(2, 8, 12, 3)
    params = random_params(Vit(config), images)
    rest = {name: p for name, p in params.items() if not name.startswith('layers_')}
    blocks = [params[f'layers_{i}'] for i in range(2)]
    stacked = {**rest, 'layers': jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}
    found = apply(Vit(dataclasses.replace(config, scan_layers=True)), stacked, images)
    np.testing.assert_allclose(found, apply(Vit(config), params, images), rtol=1e-5, atol=1e-5)


MERGER = {'patch_merger_tokens': 2, 'patch_merger_after': 1}
EXPERTS = {'moe_blocks': (1,)}
FLEXIBLE = {'base_patch_size': 4, 'position_grid': (2, 3)}


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'norm': 'rmsnorm'}, r"'rmsnorm' \(VitConfig\.norm\)\. Nearest: rms_norm"),
        ({'base_patch_size': 0}, r'base_patch_size = 0 is below 1'),
        (
            {'base_patch_size': 3, 'stem_widths': (8,)},
            r'VitConfig\.base_patch_size = 3 must be a multiple of 2',
        ),
        ({'train_patch_sizes': (4, 5), **FLEXIBLE}, r'patch_size = 5 does not divide .* 8 x 12'),
        ({'train_patch_sizes': (2, 4)}, r'bind VitConfig\.base_patch_size and position_grid'),
        (
            {'train_patch_sizes': (2, 4), 'positions': 'sincos2d'},
            r'bind VitConfig\.base_patch_size \(FlexiViT',
        ),
        ({'position_grid': (7, 7), 'positions': 'sincos2d'}, r'position_grid = \(7, 7\) .*learned'),
        ({'drop_path': 1.0}, r'drop_path = 1\.0 is not in \[0, 1\)'),
        ({'num_registers': -1}, 'num_registers = -1 is below 0'),
        ({**MERGER, 'patch_merger_tokens': 7}, 'patch_merger_tokens = 7 .* the 6 patches'),
        ({'patch_merger_after': 1}, 'patch_merger_tokens = 0 is not between 1'),
        ({**MERGER, 'patch_merger_after': 0}, 'patch_merger_after = 0 .*num_layers = 2'),
        ({**MERGER, 'patch_merger_after': 3}, 'patch_merger_after = 3 .*num_layers = 2'),
        ({**MERGER, 'scan_layers': True}, 'patch_merger_tokens = 2 .*bind scan_layers to False'),
        ({**EXPERTS, 'scan_layers': True}, r'moe_blocks = \(1,\) .*bind scan_layers to False'),
        ({'moe_blocks': (1, 2)}, r'moe_blocks = \(1, 2\) .*from 0 to 1 \(num_layers = 2\)'),
        ({'moe_blocks': (1, 0)}, r'moe_blocks = \(1, 0\) must be rising'),
        ({**EXPERTS, 'moe_selected': 9}, 'moe_selected = 9 is not between 1 and moe_experts = 8'),
        ({**EXPERTS, 'moe_capacity_factor': 0.0}, r'moe_capacity_factor = 0\.0 must be above 0'),
        ({**EXPERTS, 'moe_group_images': 0}, 'moe_group_images = 0 must be above 0'),
        ({**EXPERTS, 'moe_noise': -1.0}, r'moe_noise = -1\.0 is below 0'),
        (
            {**EXPERTS, 'moe_noise': 0.0},
            r'moe_load_loss = 0\.005 .*with moe_noise = 0 bind it to 0',
        ),
    ],
)
def test_mistakes_name_the_binding(changes, message):
    with pytest.raises(UserError, match=message):
        option(**changes)


def test_a_norm_before_the_blocks_and_its_epsilon():
    """CLIP's: over the embedded patches and the registers, with the epsilon of all norms."""
    cfg = option(pre_norm=True, norm_epsilon=0.5, num_layers=0, num_registers=1)
    images = normal(1, 8, 12, 3)
    params = random_params(Vit(cfg), images)
    x = apply(PatchEmbed(cfg), params['patch_embed'], images) + params['position_embedding']
    for name in ('pre_norm', 'norm'):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.5) * params[name]['scale']
        x = x + params[name]['bias']
    np.testing.assert_allclose(apply(Vit(cfg), params, images), x, rtol=1e-4, atol=1e-5)


def test_rows_and_columns_have_embeddings_of_their_own():
    cfg = option(positions='rows_columns', num_layers=0)
    images = normal(1, 8, 12, 3)
    params = random_params(Vit(cfg), images)
    assert params['row_embedding'].shape == (2, 8) and params['column_embedding'].shape == (3, 8)
    x = np.array(apply(PatchEmbed(cfg), params['patch_embed'], images))
    for i in range(6):
        x[0, i] += params['row_embedding'][i // 3] + params['column_embedding'][i % 3]
    expected = apply(LayerNorm(), params['norm'], jnp.asarray(x))
    np.testing.assert_allclose(apply(Vit(cfg), params, images), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match='train_patch_sizes'):
        option(positions='rows_columns', train_patch_sizes=(2, 4), base_patch_size=4)


def test_standardized_pixels():
    image = jnp.asarray(np.arange(12.0).reshape(1, 2, 2, 3) / 6 - 1, jnp.float32)
    spread = np.sqrt(143 / 12)  # of 0 .. 11
    expected = (np.arange(12.0).reshape(1, 2, 2, 3) - 5.5) / spread
    np.testing.assert_allclose(standardized(image), expected, rtol=1e-5)
    np.testing.assert_array_equal(standardized(jnp.ones((1, 2, 2, 3))), np.zeros((1, 2, 2, 3)))
