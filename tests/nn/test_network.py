"""The wirings: what reaches what, packed rows, frozen vision, axes, sizes and mistakes."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn import masks
from vlm.nn.network import WIRINGS, NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig

import miniature
from miniature import GEMMA, random_params

VOCAB, WIDTH = 11, 16
VISION = VitConfig((8, 8), 4, width=8, num_layers=1, num_heads=2, mlp_dim=16)
TEXT = TextConfig(VOCAB, width=WIDTH, num_layers=1, num_heads=2, head_dim=8, mlp_dim=24)
PROMPT, ANSWER = 6, 8

# Three pairs of prompt and answer, each ended by 1, of different lengths.
PAIRS = [([5, 6, 1], [7, 8, 1]), ([4, 1], [9, 1]), ([1], [3, 2, 1])]
OWN_ROWS = [[pair] for pair in PAIRS]


def config(wiring: str = 'decoder_prefix', **options) -> NetworkConfig:
    layers = 1 if wiring == 'fusion_encoder' else 0
    text = dataclasses.replace(TEXT, num_encoder_layers=layers)
    return NetworkConfig(**{'vision': VISION, 'text': text, 'wiring': wiring, **options})


make_batch = functools.partial(miniature.make_batch, prompt=PROMPT, answer=ANSWER, images=2)


@functools.partial(jax.jit, static_argnums=0)
def forward(network, params, batch, positions=None):
    return network.apply({'params': params}, batch, positions=positions)


@pytest.fixture(params=WIRINGS)
def setting(request):
    """A wiring's network, parameters and a batch of the three pairs."""
    network, batch = (
        VisionTextNetwork(config(request.param)),
        make_batch(request.param, OWN_ROWS),
    )
    return network, random_params(network, batch, spread=0.3), batch


def changed(logits, others) -> np.ndarray:
    """bool[B, L]: where the logits differ."""
    return np.abs(np.asarray(logits) - np.asarray(others)).max(-1) > 1e-4


def test_images_are_scaled_encoded_apart_and_joined_in_order():
    network, batch = VisionTextNetwork(config()), make_batch('decoder_prefix', OWN_ROWS[:1])
    params = random_params(network, batch)
    images = batch['images'].at[0, 1].set(jnp.array([0, 51, 255], jnp.uint8))

    def parts(module, images):
        # 0 is -1, 255 is 1, and 51, a fifth of the way, -0.6.
        by_hand = jnp.broadcast_to(jnp.array([-1.0, -0.6, 1.0]), (1, 8, 8, 3))
        alone = [module.visual_tokens(images[:, i : i + 1]) for i in range(2)]
        return module.visual_tokens(images), alone, module.connector(module.vision(by_hand))

    apply = jax.jit(functools.partial(network.apply, method=parts))
    both, alone, by_hand = apply({'params': params}, images)
    assert both.shape == (1, 2 * 4, WIDTH)
    np.testing.assert_allclose(both, jnp.concatenate(alone, axis=1), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(alone[1], by_hand, rtol=1e-4, atol=1e-5)
    assert not np.allclose(alone[0], alone[1], atol=0.1)


def test_memory_positions_are_added_for_each_image():
    plain = VisionTextNetwork(config())
    batch = make_batch('decoder_prefix', OWN_ROWS[:1])
    params, images = random_params(plain, batch), batch['images']
    placed = VisionTextNetwork(config(memory_positions=True))

    def tokens(network):
        run = functools.partial(network.apply, method=VisionTextNetwork.visual_tokens)
        return jax.jit(run)({'params': params}, images)

    # Row and column of the four patches of each of the two images, 16 / 4 = 4 frequencies an axis.
    frequency = 10_000.0 ** -(np.arange(4) / 3)
    row, column = np.array([[0, 0, 1, 1] * 2, [0, 1, 0, 1] * 2])[..., None] * frequency
    grid = np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], 1)
    np.testing.assert_allclose(tokens(placed) - tokens(plain), grid[None], atol=1e-5)


def test_masked_images_are_never_seen(setting):
    network, params, batch = setting
    batch['image_mask'] = jnp.array([[True, False], [False, True], [True, True]])
    logits = forward(network, params, batch)
    other = {**batch, 'images': batch['images'].at[0, 1].set(0).at[1, 0].set(255)}
    np.testing.assert_allclose(forward(network, params, other), logits, atol=1e-6)
    seen = {**batch, 'images': batch['images'].at[0, 0].set(0)}
    moved = changed(forward(network, params, seen), logits)
    assert moved[0].all() and not moved[1:].any()


def test_later_answer_tokens_are_never_seen(setting):
    network, params, batch = setting
    logits = forward(network, params, batch)
    at = 4 if 'decoder_prefix_mask' in batch else 1  # the first answer token of the first row
    tokens = batch['decoder_input_tokens'].at[0, at].set(2)
    other = forward(network, params, {**batch, 'decoder_input_tokens': tokens})
    moved = changed(other, logits)
    assert not moved[0, :at].any() and moved[0, at] and not moved[1:].any()


def test_the_prompt_is_seen_from_everywhere(setting):
    network, params, batch = setting
    logits = forward(network, params, batch)
    name = 'encoder_input_tokens' if 'encoder_input_tokens' in batch else 'decoder_input_tokens'
    # Token 6 of the first prompt; position 0 of the decoder's row holds BOS, before the prompt.
    place = int(jnp.argmax(batch[name][0] == 6))
    other = {**batch, name: batch[name].at[0, place].set(2)}
    moved = changed(forward(network, params, other), logits)
    answer = batch['decoder_loss_weights'][0] > 0
    assert moved[0, 0] and moved[0][answer].all() and not moved[1:].any()


def test_targets_and_weights_are_no_inputs(setting):
    network, params, batch = setting
    logits = forward(network, params, batch)
    other = {
        **batch,
        'decoder_target_tokens': jnp.full_like(batch['decoder_target_tokens'], 3),
        'decoder_loss_weights': jnp.zeros_like(batch['decoder_loss_weights']),
    }
    np.testing.assert_array_equal(forward(network, params, other), logits)


def test_padding_of_a_prompt_changes_nothing():
    network, batch = (
        VisionTextNetwork(config('fusion_encoder')),
        make_batch('fusion_encoder', OWN_ROWS),
    )
    params = random_params(network, batch, spread=0.3)
    longest = max(len(prompt) for prompt, _ in PAIRS)
    short = {**batch, 'encoder_input_tokens': batch['encoder_input_tokens'][:, :longest]}
    wanted = forward(network, params, batch)
    np.testing.assert_allclose(forward(network, params, short), wanted, rtol=1e-5, atol=1e-5)


LEARNED = {'positions': 'learned', 'max_positions': PROMPT + ANSWER}


@pytest.mark.parametrize(
    'options',
    [
        {},
        {'text': dataclasses.replace(TEXT, **LEARNED)},
        {'wiring': 'prefix_lm', 'pairs_share_row': True},
        {
            'wiring': 'prefix_lm',
            'pairs_share_row': True,
            'text': dataclasses.replace(TEXT, **GEMMA),
        },
    ],
)
def test_packed_pairs_have_the_logits_of_rows_of_their_own(options):
    network = VisionTextNetwork(config(**options))
    own = make_batch('decoder_prefix', OWN_ROWS)
    packed = make_batch('decoder_prefix', [PAIRS] * 3)  # the same shapes: compiled once
    own['images'] = packed['images'] = jnp.repeat(own['images'][:1], 3, axis=0)
    params = random_params(network, own, spread=0.3)
    wanted, found = forward(network, params, own), forward(network, params, packed)
    start = 0
    for row, (prompt, answer) in enumerate(PAIRS):
        length = len(prompt) + len(answer)
        piece = found[0, start : start + length]
        np.testing.assert_allclose(piece, wanted[row, :length], rtol=1e-5, atol=1e-5)
        start += length


@pytest.mark.parametrize('text', [{}, GEMMA, LEARNED])
def test_padding_frames_of_the_prefix_lm_are_as_if_absent(text):
    network = VisionTextNetwork(config('prefix_lm', text=dataclasses.replace(TEXT, **text)))
    batch = make_batch('prefix_lm', OWN_ROWS)
    params = random_params(network, batch, spread=0.3)
    batch['image_mask'] = jnp.array([[False, True]] * 3)
    alone = {**batch, 'images': batch['images'][:, 1:], 'image_mask': jnp.ones((3, 1), bool)}
    wanted = forward(network, params, alone)
    np.testing.assert_allclose(forward(network, params, batch), wanted, rtol=1e-4, atol=1e-4)


def test_the_image_sees_the_prompt_unless_pairs_share_a_row():
    deep = dataclasses.replace(TEXT, num_layers=2)
    plain, sharing = (
        VisionTextNetwork(config('prefix_lm', text=deep, pairs_share_row=sharing))
        for sharing in (False, True)
    )
    batch = make_batch('prefix_lm', OWN_ROWS)
    params = random_params(plain, batch, spread=0.3)

    def visual_keys(module, batch):
        memory = module.encode(batch['images'], batch['image_mask'])
        prompt = batch['decoder_prefix_mask']
        mask = masks.decoder_mask(PROMPT + ANSWER, prompt, batch['decoder_segment_ids'])
        tokens = batch['decoder_input_tokens']
        _, caches = module.decode_step(tokens, memory, mask, prompt=prompt)
        return caches[-1].key[..., : memory.mask.shape[-1]]  # of the second layer

    other = {**batch, 'decoder_input_tokens': batch['decoder_input_tokens'].at[:, 1].set(2)}
    for network, moves in ((plain, True), (sharing, False)):
        found = [network.apply({'params': params}, b, method=visual_keys) for b in (batch, other)]
        assert np.allclose(*found, atol=1e-5) != moves


def test_learned_positions_that_a_row_outgrows_name_the_binding():
    text = dataclasses.replace(TEXT, positions='learned', max_positions=13)
    network = VisionTextNetwork(config(text=text))
    with pytest.raises(UserError, match=r'14 tokens, TextConfig\.max_positions is 13'):
        random_params(network, make_batch('decoder_prefix', OWN_ROWS))


def test_positions_choose_logits():
    network, batch = VisionTextNetwork(config()), make_batch('decoder_prefix', OWN_ROWS)
    params = random_params(network, batch, spread=0.3)
    positions = jnp.array([[3, 0], [1, 2], [5, 5]])
    found = forward(network, params, batch, positions)
    rows = np.asarray(forward(network, params, batch))
    wanted = [[rows[0, 3], rows[0, 0]], [rows[1, 1], rows[1, 2]], [rows[2, 5], rows[2, 5]]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_frozen_vision_has_no_gradient():
    batch = make_batch('decoder_prefix', OWN_ROWS)
    network = VisionTextNetwork(config(freeze_vision=True))
    params = random_params(network, batch, spread=0.3)

    def total(part):
        return jnp.sum(jnp.sin(network.apply({'params': {**params, **part}}, batch)))

    part = {name: params[name] for name in ('vision', 'connector')}
    gradient = jax.jit(jax.grad(total))(part)
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(gradient['vision']))
    assert all((leaf != 0).any() for leaf in jax.tree.leaves(gradient['connector']))


# The names that T5X's partition rules and its Adafactor both know.
AXES = {'vocab', 'embed', 'mlp', 'heads', 'kv', 'joined_kv', 'relpos_buckets', 'layers', None}


@pytest.mark.parametrize('scan_layers', [False, True])
@pytest.mark.parametrize('wiring', WIRINGS)
def test_every_parameter_names_its_axes(wiring, scan_layers):
    vision = dataclasses.replace(VISION, scan_layers=scan_layers)
    network = VisionTextNetwork(config(wiring, vision=vision))
    variables = jax.eval_shape(network.init, jax.random.key(0), make_batch(wiring, [[PAIRS[0]]]))
    assert variables.keys() == {'params', 'params_axes'}
    params = dict(jax.tree_util.tree_leaves_with_path(variables['params']))
    ranks = {tuple(key.key for key in path): len(leaf.shape) for path, leaf in params.items()}
    axes = {}
    is_axes = lambda node: hasattr(node, 'names')  # noqa: E731
    found = jax.tree_util.tree_leaves_with_path(variables['params_axes'], is_leaf=is_axes)
    for path, leaf in found:
        *folders, name = (key.key for key in path)
        assert name.endswith('_axes')
        axes[(*folders, name.removesuffix('_axes'))] = leaf.names
    assert {path: len(names) for path, names in axes.items()} == ranks
    assert {name for names in axes.values() for name in names} <= AXES
    assert {'vocab', 'embed', 'mlp', 'joined_kv', 'heads'} <= {n for a in axes.values() for n in a}


def text_formula(text: TextConfig, wiring: str) -> int:
    inner, mlp = text.num_heads * text.head_dim, 3 * text.width * text.mlp_dim
    attention, bias = 4 * text.width * inner, text.num_heads * text.relative_buckets
    cross = 0 if wiring == 'prefix_lm' else attention + text.width
    decoder = text.num_layers * (attention + cross + mlp + 2 * text.width)
    total = 2 * text.vocab_size * text.width + decoder + bias + text.width
    if wiring == 'fusion_encoder':
        total += text.num_encoder_layers * (attention + mlp + 2 * text.width) + bias + text.width
    return total


@pytest.mark.parametrize('wiring', WIRINGS)
def test_parameter_counts(wiring):
    network = VisionTextNetwork(config(wiring))
    params = random_params(network, make_batch(wiring, [[PAIRS[0]]]))
    counts = {
        name: sum(leaf.size for leaf in jax.tree.leaves(part)) for name, part in params.items()
    }
    assert counts.pop('connector') == VISION.width * WIDTH + WIDTH
    # Patches, positions, one block with biases, last norm: worked out for width 8 and MLP 16.
    assert counts.pop('vision') == (48 * 8 + 8) + 4 * 8 + (4 * 72 + 144 + 136 + 32) + 16
    text = network.config.text
    assert sum(counts.values()) == text_formula(text, wiring)


def test_eval_shape_of_a_large_one():
    # ViT-B/16 with the decoder of T5 1.1 base, whose public parts add up to this: vision without
    # class token, connector, token table, decoder and output layer.
    network = VisionTextNetwork(NetworkConfig(VitConfig(), TextConfig()))
    batch = make_batch('decoder_prefix', [[PAIRS[0]]], images=1)
    batch['images'] = jax.ShapeDtypeStruct((1, 1, 224, 224, 3), jnp.uint8)
    params = jax.eval_shape(network.init, jax.random.key(0), batch)['params']
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    vision, connector, text = 85_797_120, 768 * 769, 113_275_008 + 2 * 32_128 * 768
    assert count == vision + connector + text


def test_bfloat16_activations_keep_float32_parameters_and_logits():
    half = {'dtype': jnp.bfloat16}
    network = VisionTextNetwork(
        config(vision=dataclasses.replace(VISION, **half), text=dataclasses.replace(TEXT, **half))
    )
    batch = make_batch('decoder_prefix', OWN_ROWS)
    params = random_params(network, batch, spread=0.2)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype('float32')}

    def parts(module, batch):
        memory = module.encode(batch['images'], batch['image_mask'])
        mask = jnp.ones((1, 1, PROMPT + ANSWER, PROMPT + ANSWER), bool)
        states, caches = module.decode_step(batch['decoder_input_tokens'], memory, mask)
        return memory.keys_values, states, caches

    shapes = jax.eval_shape(lambda p: network.apply({'params': p}, batch, method=parts), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype('bfloat16')}
    found = forward(network, params, batch)
    assert found.dtype == jnp.float32
    exact = forward(VisionTextNetwork(config()), params, batch)
    # bfloat16 keeps 8 bits, one part in 256, through two blocks.
    np.testing.assert_allclose(found, exact, atol=0.02 * np.abs(exact).max())


@pytest.mark.parametrize(
    'options, message',
    [
        ({'wiring': 'fusion'}, r"'fusion' \(NetworkConfig\.wiring\)\. Nearest: fusion_encoder"),
        ({'wiring': 'fusion_encoder', 'text': TEXT}, r'bind TextConfig\.num_encoder_layers'),
        (
            {'text': dataclasses.replace(TEXT, num_encoder_layers=3)},
            r"TextConfig\.num_encoder_layers = 3 .*NetworkConfig\.wiring = 'decoder_prefix'",
        ),
        (
            {'text': dataclasses.replace(TEXT, width=18), 'memory_positions': True},
            r'width = 18 is no multiple of 4, which NetworkConfig\.memory_positions needs',
        ),
        (
            {
                'vision': dataclasses.replace(VISION, patch_merger_tokens=2, patch_merger_after=1),
                'memory_positions': True,
            },
            r'NetworkConfig\.memory_positions .*VitConfig\.patch_merger_tokens = 2 .*no place',
        ),
    ],
)
def test_mistakes_name_the_binding(options, message):
    with pytest.raises(UserError, match=message):
        config(**options)
