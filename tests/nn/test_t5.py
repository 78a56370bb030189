"""The text stacks against T5 1.1's formulas in numpy, and T5 1.1's published size."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from vlm.errors import UserError
from vlm.nn import masks
from vlm.nn.layers import Embed, make_padding_mask
from vlm.nn.t5 import Decoder, DecoderBlock, Encoder, Positions, TextConfig, token_table

import miniature
from miniature import random_params

HEADS, SIZE, WIDTH = 2, 3, 6
CONFIG = TextConfig(
    vocab_size=7,
    width=WIDTH,
    num_layers=2,
    num_encoder_layers=2,
    num_heads=HEADS,
    head_dim=SIZE,  # HEADS * SIZE is not WIDTH on purpose
    mlp_dim=10,
)


def rms_norm(p, x):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p['scale']


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def mlp(p, x):
    return (gelu(x @ p['wi']['kernel']) * (x @ p['wi_gate']['kernel'])) @ p['wo']['kernel']


def attention(p, x, memory, bias, mask):
    """T5's: no 1 / sqrt(K), no biases in the projections."""

    def heads(name, of):
        return (of @ p[name]['kernel']).reshape(*of.shape[:2], HEADS, SIZE)

    query, key, value = heads('query', x), heads('key', memory), heads('value', memory)
    logits = np.where(mask, np.einsum('BTAK,BSAK->BATS', query, key) + bias, -1e30)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    joined = np.einsum('BATS,BSAK->BTAK', weights, value)
    return joined.reshape(*x.shape[:2], -1) @ p['out']['kernel']


def encoder_reference(p, x, valid):
    at = np.arange(x.shape[1])
    ahead = at[None, :] - at[:, None]
    # Below 8 tokens every distance has a bucket of its own: 0..7 behind, 16 + 1..7 ahead.
    bias = p['relpos_bias']['rel_embedding'][:, np.where(ahead > 0, 16 + ahead, -ahead)]
    mask = valid[:, None, None, :]
    for name in ('layers_0', 'layers_1'):
        y = rms_norm(p[name]['self_attention_norm'], x)
        x = x + attention(p[name]['self_attention'], y, y, bias, mask)
        x = x + mlp(p[name]['mlp'], rms_norm(p[name]['mlp_norm'], x))
    return rms_norm(p['norm'], x)


def decoder_reference(p, x, memory, valid, mask):
    at = np.arange(x.shape[1])
    behind = np.maximum(at[:, None] - at[None, :], 0)  # below 16 tokens: exact buckets
    bias = p['relpos_bias']['rel_embedding'][:, behind]
    for name in ('layers_0', 'layers_1'):
        y = rms_norm(p[name]['self_attention_norm'], x)
        x = x + attention(p[name]['self_attention'], y, y, bias, mask[:, None])
        y = rms_norm(p[name]['cross_attention_norm'], x)
        # The position bias belongs to self-attention alone.
        x = x + attention(p[name]['cross_attention'], y, memory, 0.0, valid[:, None, None, :])
        x = x + mlp(p[name]['mlp'], rms_norm(p[name]['mlp_norm'], x))
    return rms_norm(p['norm'], x)


def double(params):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def normal(*shape, seed: int = 0) -> jnp.ndarray:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_encoder_equals_its_formulas():
    x, valid = normal(2, 7, WIDTH), jnp.array([[1] * 7, [1, 1, 0, 1, 1, 0, 0]], bool)
    encoder = Encoder(CONFIG)
    params = random_params(encoder, x, valid)
    found = jax.jit(encoder.apply)({'params': params}, x, valid)
    wanted = encoder_reference(double(params), np.asarray(x), np.asarray(valid))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


class Text(nn.Module):
    """A decoder beside the table that its tied output would use."""

    config: TextConfig

    def setup(self):
        self.table = Embed(self.config.vocab_size, self.config.width)
        self.decoder = Decoder(self.config)

    def __call__(self, x, memory, valid, mask):
        """States and logits of whole rows."""
        keys_values = self.decoder.memory_keys_values(memory)
        states, _ = self.decoder(x, keys_values, make_padding_mask(valid), mask)
        return states, self.decoder.logits(states, self.table)


def decoder_inputs():
    x, memory = normal(2, 5, WIDTH), normal(2, 4, WIDTH, seed=1)
    valid = jnp.array([[1, 1, 1, 1], [1, 0, 1, 0]], bool)
    prefix = jnp.array([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]], bool)
    return x, memory, valid, masks.decoder_mask(5, prefix)


def test_decoder_equals_its_formulas():
    inputs = decoder_inputs()
    params = random_params(Text(CONFIG), *inputs)
    states, logits = jax.jit(Text(CONFIG).apply)({'params': params}, *inputs)
    x, memory, valid, mask = (np.asarray(value) for value in inputs)
    plain = double(params)['decoder']
    wanted = decoder_reference(plain, x, memory, valid, mask[:, 0])
    np.testing.assert_allclose(states, wanted, rtol=1e-4, atol=1e-5)
    wanted = wanted @ plain['logits_dense']['kernel']
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)


GEMMA = dataclasses.replace(CONFIG, num_encoder_layers=0, head_dim=4, **miniature.GEMMA)


def gemma_reference(p, x, mask, at):
    """Gemma's decoder: RoPE, one key head, 1 + scale, queries divided by sqrt(K)."""
    batch, length, _ = x.shape
    size, half = GEMMA.head_dim, GEMMA.head_dim // 2

    def norm(p, x):
        return rms_norm({'scale': 1 + p['scale']}, x)

    def turned(of):
        # Features as complex numbers, turned by position * 10000 ** (-i / (K / 2)).
        angle = at[:, :, None, None] * 10_000.0 ** -(np.arange(half) / half)
        turned = (of[..., :half] + 1j * of[..., half:]) * np.exp(1j * angle)
        return np.concatenate([turned.real, turned.imag], -1)

    for name in ('layers_0', 'layers_1'):
        layer = p[name]['self_attention']
        y = norm(p[name]['self_attention_norm'], x)
        query = turned((y @ layer['query']['kernel']).reshape(batch, length, HEADS, size))
        key = turned((y @ layer['key']['kernel'])[:, :, None])[:, :, 0]
        scores = np.einsum('BTAK,BSK->BATS', query, key) / math.sqrt(size)
        weights = np.exp(np.where(mask, scores, -1e30))
        weights /= weights.sum(-1, keepdims=True)
        joined = np.einsum('BATS,BSK->BTAK', weights, y @ layer['value']['kernel'])
        x = x + joined.reshape(batch, length, -1) @ layer['out']['kernel']
        x = x + mlp(p[name]['mlp'], norm(p[name]['mlp_norm'], x))
    return norm(p['norm'], x)


def test_gemma_equals_its_formulas():
    x = normal(2, 5, WIDTH)
    at = jnp.array([[0, 1, 2, 3, 4], [3, 4, 9, 10, 11]])
    mask = masks.decoder_mask(5, jnp.array([[1, 1, 0, 0, 0]] * 2, bool))
    stack = Decoder(GEMMA, cross=False)

    def run(module, x):
        return module(x, None, None, mask, at=Positions(at, at))[0]

    params = random_params(stack, x, method=run)
    found = jax.jit(functools.partial(stack.apply, method=run))({'params': params}, x)
    wanted = gemma_reference(double(params), np.asarray(x), np.asarray(mask), np.asarray(at))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_table_of_small_embeddings_gives_tied_logits_unscaled():
    x, tied = normal(1, 3, WIDTH), Text(dataclasses.replace(GEMMA, num_kv_heads=None))
    inputs = x, x, jnp.ones((1, 3), bool), masks.decoder_mask(3)
    params = random_params(tied, *inputs)
    states, logits = jax.jit(tied.apply)({'params': params}, *inputs)
    wanted = states @ params['table']['embedding'].T
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('scaled', [False, True])
def test_fresh_token_tables(scaled):
    table = token_table(TextConfig(1000, 256, scale_embedding=scaled))
    fresh = table.init(jax.random.key(0), jnp.zeros((1, 1), jnp.int32))['params']['embedding']
    assert float(fresh.std()) == pytest.approx(1 / 16 if scaled else 1.0, rel=0.02)


def test_tied_logits_are_scaled_and_use_the_embedding():
    inputs, tied = decoder_inputs(), Text(dataclasses.replace(CONFIG, tied_embedding=True))
    params = random_params(tied, *inputs)
    assert 'logits_dense' not in params['decoder']
    states, logits = jax.jit(tied.apply)({'params': params}, *inputs)
    wanted = states @ params['table']['embedding'].T / math.sqrt(WIDTH)
    np.testing.assert_allclose(logits, wanted, rtol=1e-4, atol=1e-5)


def count(tree) -> int:
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def decoder_formula(c: TextConfig) -> int:
    attention = 4 * c.width * c.num_heads * c.head_dim
    matrices = 3 if c.gated_mlp else 2
    block = 2 * attention + matrices * c.width * c.mlp_dim + 3 * c.width
    logits = 0 if c.tied_embedding else c.width * c.vocab_size
    return c.num_layers * block + c.num_heads * c.relative_buckets + c.width + logits


@pytest.mark.parametrize('options', [{}, {'gated_mlp': False}, {'tied_embedding': True}])
def test_decoder_parameter_count(options):
    config = dataclasses.replace(CONFIG, **options)
    params = random_params(Text(config), *decoder_inputs())
    assert count(params['decoder']) == decoder_formula(config)


def test_parameter_count_of_t5_1_1_base():
    # google/t5-v1_1-base has 247,577,856 parameters: encoder, decoder, an input table shared by the
    # two, which a decoder with its own output layer does not look up, and that output layer.
    config = TextConfig(num_encoder_layers=12)
    key, x = jax.random.key(0), jax.ShapeDtypeStruct((1, 4, 768), jnp.float32)
    valid, mask = (jax.ShapeDtypeStruct(s, bool) for s in ((1, 4), (1, 1, 4, 4)))
    encoder = jax.eval_shape(Encoder(config).init, key, x, valid)['params']
    text = jax.eval_shape(Text(config).init, key, x, x, valid, mask)['params']
    table = config.vocab_size * config.width
    assert count(text) == decoder_formula(config)
    assert count(encoder) + count(text) + table == 247_577_856


@pytest.mark.parametrize(
    'options, message',
    [
        ({'activation': 'gelo'}, r"TextConfig\.activation = 'gelo' .*gelu, relu, silu"),
        ({'vocab_size': 2}, r'TextConfig\.vocab_size = 2'),
        ({'num_kv_heads': 3}, r'TextConfig\.num_kv_heads = 3 does not divide num_heads = 2'),
        ({'norm': 'rms'}, r"'rms' \(TextConfig\.norm\)\. Nearest: rms_norm"),
        ({'positions': 'rop'}, r"'rop' \(TextConfig\.positions\)\. Nearest: rope"),
        ({'positions': 'rope', 'head_dim': 3}, r'TextConfig\.head_dim = 3 is odd'),
    ],
)
def test_mistakes_name_the_binding(options, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(CONFIG, **options)


def test_post_norms():
    """Gemma 2: what attention and MLP return is normalised before it is added."""
    cfg = dataclasses.replace(CONFIG, post_norms=True)
    block, plain = DecoderBlock(cfg, cross=False), DecoderBlock(CONFIG, cross=False)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 3, WIDTH)), jnp.float32)
    mask = jnp.ones((1, 1, 3, 3), bool)
    params = random_params(block, x, None, None, None, mask)
    inner = {'params': {k: v for k, v in params.items() if 'post_norm' not in k}}

    def attention(b, y):
        return b.self_attention(y, b.self_attention.keys_values(y), None, mask)

    y = plain.apply(inner, rms_norm(params['self_attention_norm'], x), method=attention)
    middle = x + rms_norm(params['self_attention_post_norm'], y)
    y = plain.apply(inner, rms_norm(params['mlp_norm'], middle), method=lambda b, y: b.mlp(y))
    expected = middle + rms_norm(params['mlp_post_norm'], y)
    got, _ = block.apply({'params': params}, x, mask=mask)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('tied', [False, True])
def test_logits_stay_below_their_cap(tied):
    cfg = dataclasses.replace(CONFIG, logit_softcap=2.0, tied_embedding=tied)
    x = jnp.asarray(np.random.default_rng(0).normal(0, 9, (1, 3, WIDTH)), jnp.float32)

    def logits(cfg):
        decoder, embed = Decoder(cfg, cross=False), token_table(cfg)
        table = random_params(embed, jnp.zeros((1, 1), jnp.int32))
        run = lambda d, x: d.logits(x, embed.bind({'params': table}))  # noqa: E731
        params = {} if tied else random_params(decoder, x, method=run)
        return decoder.apply({'params': params}, x, method=run)

    plain = logits(dataclasses.replace(cfg, logit_softcap=None))
    assert np.abs(plain).max() > 2.5
    np.testing.assert_allclose(logits(cfg), 2 * np.tanh(plain / 2), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('scan', [False, True])
def test_a_window_in_every_second_block(scan):
    """What a token that is far away changes: nothing through a local block, all behind a prefix."""
    cfg = dataclasses.replace(CONFIG, num_layers=1, attention_window=2, scan_layers=scan)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, WIDTH)), jnp.float32)
    mask, first = jnp.tril(jnp.ones((1, 1, 5, 5), bool)), jnp.arange(5)[None] < 4

    def moved(cfg, prefix=None):
        """Which of five tokens a change of the first reaches."""
        stack = Decoder(cfg, cross=False)
        params = random_params(stack, x, None, None, mask)
        run = functools.partial(stack.apply, {'params': params}, prefix=prefix)
        before, after = (run(y, None, None, mask)[0] for y in (x, x.at[0, 0].add(1.0)))
        return np.abs(np.asarray(after - before)).max((0, 2)) > 1e-6

    assert moved(cfg).tolist() == [True, True, False, False, False]
    assert moved(cfg, first).tolist() == [True, True, True, True, False]
    # The second block sees all again.
    assert moved(dataclasses.replace(cfg, num_layers=2)).all()


def test_a_window_of_nothing():
    with pytest.raises(UserError, match='attention_window = 0'):
        dataclasses.replace(CONFIG, attention_window=0)


@pytest.mark.parametrize('option', ['attention_softcap', 'logit_softcap'])
def test_a_cap_must_be_above_zero(option):
    with pytest.raises(UserError, match=f'{option} = 0.0'):
        dataclasses.replace(CONFIG, **{option: 0.0})
