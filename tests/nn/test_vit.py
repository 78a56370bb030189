"""The vision encoder against a convolution, a numpy reference and a published size."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.patches import PatchEmbed, Stem, StemConv
from vlm.nn.vit import Connector, Vit
from vlm.nn.vit_config import VitConfig

from miniature import random_params

# Two rows and three columns of patches: height and width cannot be confused.
CONFIG = VitConfig((8, 12), 4, width=8, num_layers=2, num_heads=2, mlp_dim=12)


@functools.partial(jax.jit, static_argnums=(0, 3))
def run(module, params, images, deterministic=True, rngs=None):
    return module.apply({'params': params}, images, deterministic, rngs=rngs)


def some_images(count: int = 2) -> jnp.ndarray:
    rng = np.random.default_rng(3)
    return jnp.asarray(rng.uniform(-1, 1, (count, 8, 12, 3)), jnp.float32)


def test_patch_embedding_equals_a_strided_convolution():
    module, images = PatchEmbed(CONFIG), some_images()
    params = random_params(module, images)
    found = module.apply({'params': params}, images)
    convolved = jax.lax.conv_general_dilated(
        images,
        params['kernel'],
        window_strides=(4, 4),
        padding='VALID',
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    wanted = convolved.reshape(2, 6, 8) + params['bias']
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('stride', [1, 2])
def test_stem_convolution_equals_the_library_s(stride):
    images = jnp.asarray(np.random.default_rng(1).normal(size=(2, 6, 10, 5)), jnp.float32)
    module = StemConv(7, stride)
    params = random_params(module, images)
    convolved = jax.lax.conv_general_dilated(
        images,
        params['kernel'],
        window_strides=(stride, stride),
        padding=((1, 1), (1, 1)),
        dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
    )
    wanted = np.maximum(layer_norm(params['norm'], np.asarray(convolved + params['bias'])), 0)
    found = module.apply({'params': params}, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_stem_keeps_one_token_a_patch_and_sees_across_patches():
    config = dataclasses.replace(CONFIG, stem_widths=(4,), num_layers=0)
    images = some_images(1)
    params = random_params(Vit(config), images)
    assert params['stem']['halve_0']['kernel'].shape == (3, 3, 3, 4)
    assert params['patch_embed']['kernel'].shape == (2, 2, 4, 8)
    before = run(Vit(config), params, images)
    assert before.shape == (1, 6, 8)
    # Column 3 is the last of the first patch; an even position's window reaches one to its left.
    after = run(Vit(config), params, images.at[0, 0, 3].add(1.0))
    changed = np.abs(np.asarray(after - before)).max(-1)[0] > 1e-6
    assert changed.tolist() == [True, True, False, False, False, False]


def test_stem_blocks_are_added_to_what_they_read():
    config = dataclasses.replace(CONFIG, stem_widths=(4,), stem_blocks=2, num_layers=0)
    images = some_images()
    params = random_params(Stem(config), images)
    x = StemConv(4).apply({'params': params['halve_0']}, images)
    for i in range(2):
        x = x + StemConv(4, 1).apply({'params': params[f'block_{i}']}, x)
    found = Stem(config).apply({'params': params}, images)
    np.testing.assert_allclose(found, x, rtol=1e-5, atol=1e-5)


def layer_norm(p, x):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p['scale'] + p['bias']


def dense(p, x):
    return x @ p['kernel'] + p['bias']


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def attention(p, x):
    query, key, value = (
        dense(p[n], x).reshape(*x.shape[:2], 2, 4) for n in ('query', 'key', 'value')
    )
    logits = np.einsum('BTAK,BSAK->BATS', query, key) / math.sqrt(4)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return dense(p['out'], np.einsum('BATS,BSAK->BTAK', weights, value).reshape(x.shape))


def reference(params, images) -> np.ndarray:
    """Pre-norm ViT (2010.11929, eq. 1-4) without class token, in float64."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    patches = [
        np.asarray(images)[:, y : y + 4, x : x + 4].reshape(len(images), -1)
        for y in (0, 4)
        for x in (0, 4, 8)
    ]
    kernel = p['patch_embed']['kernel'].reshape(-1, 8)
    x = np.stack(patches, 1) @ kernel + p['patch_embed']['bias'] + p['position_embedding']
    for name in ('layers_0', 'layers_1'):
        block = p[name]
        x = x + attention(block['attention'], layer_norm(block['attention_norm'], x))
        y = dense(block['mlp']['wi'], layer_norm(block['mlp_norm'], x))
        x = x + dense(block['mlp']['wo'], gelu(y))
    return layer_norm(p['norm'], x)


def test_vit_equals_its_formulas():
    images = some_images()
    params = random_params(Vit(CONFIG), images)
    found = run(Vit(CONFIG), params, images)
    assert found.shape == (2, 6, 8)
    np.testing.assert_allclose(found, reference(params, images), rtol=1e-4, atol=1e-5)


def test_images_of_a_batch_do_not_meet():
    images = some_images()
    params = random_params(Vit(CONFIG), images)
    both = run(Vit(CONFIG), params, images)
    np.testing.assert_allclose(both[1:], run(Vit(CONFIG), params, images[1:]), atol=1e-5)


def stacked(params):
    """The parameters of unrolled blocks as `scan_layers` keeps them."""
    rest = {name: p for name, p in params.items() if not name.startswith('layers_')}
    blocks = [params[f'layers_{i}'] for i in range(len(params) - len(rest))]
    return {**rest, 'layers': jax.tree.map(lambda *leaves: jnp.stack(leaves), *blocks)}


def test_scanned_blocks_equal_unrolled_blocks():
    scanned, images = Vit(dataclasses.replace(CONFIG, scan_layers=True)), some_images()
    params = random_params(Vit(CONFIG), images)
    declared = jax.eval_shape(scanned.init, jax.random.key(0), images)['params']
    assert jax.tree.map(jnp.shape, declared) == jax.tree.map(jnp.shape, stacked(params))
    found = run(scanned, stacked(params), images)
    np.testing.assert_allclose(found, run(Vit(CONFIG), params, images), rtol=1e-5, atol=1e-5)


def test_scanned_blocks_start_differently_and_drop_by_the_key_given():
    module = Vit(dataclasses.replace(CONFIG, scan_layers=True, dropout=0.5))
    # This generator compiles in a fraction of the default one's time.
    keys = [jax.random.key(seed, impl='rbg') for seed in (0, 1, 1, 2)]
    params = jax.jit(module.init)(keys[0], some_images())['params']
    kernel = params['layers']['mlp']['wi']['kernel']
    assert not np.allclose(kernel[0], kernel[1])
    dropped = [run(module, params, some_images(), False, {'dropout': key}) for key in keys[1:]]
    np.testing.assert_array_equal(dropped[0], dropped[1])
    assert not np.allclose(dropped[0], dropped[2])


def test_scanned_parameters_name_their_stacked_axis():
    module = Vit(dataclasses.replace(CONFIG, scan_layers=True))
    axes = jax.eval_shape(module.init, jax.random.key(0), some_images())['params_axes']
    assert axes['layers']['mlp']['wi']['kernel_axes'].names == ('layers', 'embed', 'mlp')
    assert axes['layers']['attention_norm']['scale_axes'].names == ('layers', 'embed')
    assert axes['norm']['scale_axes'].names == ('embed',)


def test_sincos_positions_need_no_parameter():
    config = dataclasses.replace(CONFIG, positions='sincos2d')
    images = some_images()
    params = random_params(Vit(config), images)
    assert 'position_embedding' not in params
    # Rows first, x before y, sine before cosine; the frequencies are 1 and 1 / 10,000.
    table = [
        [
            wave(at * frequency)
            for at in (x, y)
            for wave in (np.sin, np.cos)
            for frequency in (1, 1e-4)
        ]
        for y, x in np.ndindex(2, 3)
    ]
    learned = {**params, 'position_embedding': jnp.asarray(table, jnp.float32)}
    found, wanted = run(Vit(config), params, images), run(Vit(CONFIG), learned, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def formula(config: VitConfig) -> int:
    d, f = config.width, config.mlp_dim
    block = 4 * (d * d + d) + (d * f + f) + (f * d + d) + 2 * 2 * d
    embed = config.patch_size**2 * 3 * d + d
    return embed + config.num_tokens * d + config.num_layers * block + 2 * d


@pytest.mark.parametrize('scan_layers', [False, True])
def test_parameter_count_of_vit_b16(scan_layers):
    # timm's vit_base_patch16_224 without its head has 85,798,656 parameters; two rows of 768 of
    # these are the class token and its position.
    config = VitConfig(scan_layers=scan_layers)
    assert formula(config) == 85_798_656 - 2 * 768
    images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    params = jax.eval_shape(Vit(config).init, jax.random.key(0), images)['params']
    assert count(params) == formula(config)


def test_parameter_count_of_the_tiny_one():
    assert count(random_params(Vit(CONFIG), some_images())) == formula(CONFIG)
    tokens = jnp.ones((1, 6, 8))
    assert count(random_params(Connector(5), tokens)) == 8 * 5 + 5


def test_connector_is_one_linear_layer():
    tokens = some_images().reshape(2, 36, 8)
    params = random_params(Connector(5), tokens)
    wanted = tokens @ params['projection']['kernel'] + params['projection']['bias']
    np.testing.assert_allclose(Connector(5).apply({'params': params}, tokens), wanted, atol=1e-5)


def test_bfloat16_keeps_float32_parameters():
    images = some_images()
    half = Vit(dataclasses.replace(CONFIG, dtype=jnp.bfloat16, scan_layers=True))
    params = random_params(half, images, spread=0.2)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}
    found = run(half, params, images)
    assert found.dtype == jnp.bfloat16
    exact = run(Vit(dataclasses.replace(CONFIG, scan_layers=True)), params, images)
    # bfloat16 has 8 bits: one part in 256, over two blocks.
    np.testing.assert_allclose(found.astype(jnp.float32), exact, atol=0.05)


@pytest.mark.parametrize(
    'options, message',
    [
        ({'patch_size': 5}, r'VitConfig\.patch_size = 5 .* 8 x 12\. .*\[4\]'),
        ({'patch_size': 0}, 'patch_size = 0 does not divide'),
        ({'patch_size': 4, 'stem_widths': (8, 8, 8)}, 'multiple of 8: each of the 3'),
        ({'stem_blocks': 1}, r'VitConfig\.stem_blocks = 1 needs a stem'),
        ({'num_heads': 3}, r'VitConfig\.num_heads = 3 does not divide width = 8'),
        ({'positions': 'sincos'}, r"VitConfig\.positions = 'sincos' .*learned, sincos2d"),
        ({'positions': 'sincos2d', 'width': 6}, r'VitConfig\.width = 6 .*multiple of 4'),
        ({'activation': 'gelo'}, r"VitConfig\.activation = 'gelo' .*gelu, relu, silu"),
    ],
)
def test_mistakes_name_the_binding(options, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **options)


def test_images_of_another_size_are_refused():
    images = jnp.zeros((1, 12, 8, 3))
    with pytest.raises(UserError, match=r'12 x 8 .* 8 x 12 \(VitConfig\.image_size\)'):
        jax.eval_shape(Vit(CONFIG).init, jax.random.key(0), images)
