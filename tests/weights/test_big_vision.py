"""big_vision's layouts, written as published and run in plain numpy with its einsums."""

import math

import gin
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import Vit, VitConfig
from vlm.runner.config import GinFlags
from vlm.runner.config import load as load_gin
from vlm.runner.state import flat_names
from vlm.weights import make_plan, open_checkpoint
from vlm.weights.big_vision import _family
from vlm.weights.families.bv_vit import canonical
from vlm.weights.source import Source

from miniature import GEMMA
from parity import abstract_params, assert_close, imported

WIDTH, HEADS, HEAD, HIDDEN, LAYERS = 12, 3, 4, 20, 2
VISION = VitConfig((8, 8), 4, width=WIDTH, num_layers=LAYERS, num_heads=HEADS, mlp_dim=HIDDEN)
TEXT = TextConfig(9, 16, 1, num_heads=2, head_dim=8, mlp_dim=16)
PIXELS = np.random.default_rng(1).integers(0, 256, (2, 1, 8, 8, 3), np.uint8)


class Tensors(dict):
    """Random tensors by name, drawn when they are named with their shape."""

    def __init__(self, seed: int = 0):
        super().__init__()
        self._rng = np.random.default_rng(seed)

    def draw(self, prefix: str, **shapes) -> None:
        for name, shape in shapes.items():
            value = self._rng.normal(0, 0.6, shape).astype(np.float32)
            self[prefix + name.replace('__', '/')] = value

    def under(self, prefix: str) -> 'Tensors':
        found = Tensors()
        found.update({k.removeprefix(prefix): v for k, v in self.items() if k.startswith(prefix)})
        return found


def draw_vit(tensors: Tensors, prefix: str = '', patches: int = 4) -> None:
    tensors.draw(prefix, embedding__kernel=(4, 4, 3, WIDTH), embedding__bias=(WIDTH,))
    tensors.draw(prefix, pos_embedding=(1, patches, WIDTH))
    for i in range(LAYERS):
        block = f'{prefix}Transformer/encoderblock_{i}/'
        for norm in ('LayerNorm_0/', 'LayerNorm_1/'):
            tensors.draw(block + norm, scale=(WIDTH,), bias=(WIDTH,))
        attention = f'{block}MultiHeadDotProductAttention_0/'
        for part in ('query/', 'key/', 'value/'):
            tensors.draw(attention + part, kernel=(WIDTH, HEADS, HEAD), bias=(HEADS, HEAD))
        tensors.draw(f'{attention}out/', kernel=(HEADS, HEAD, WIDTH), bias=(WIDTH,))
        tensors.draw(f'{block}MlpBlock_0/Dense_0/', kernel=(WIDTH, HIDDEN), bias=(HIDDEN,))
        tensors.draw(f'{block}MlpBlock_0/Dense_1/', kernel=(HIDDEN, WIDTH), bias=(WIDTH,))
    tensors.draw(f'{prefix}Transformer/encoder_norm/', scale=(WIDTH,), bias=(WIDTH,))


def stacked(tensors: dict, part: str, numbered: str, axis: int = 0) -> dict:
    """The layers of a stack as one tensor each, as a scanned model saves them."""
    made, layers = {}, {}
    for name, value in tensors.items():
        for i in range(LAYERS):
            if f'/{numbered.format(i)}/' in f'/{name}':
                layers.setdefault(name.replace(numbered.format(i), part), []).append(value)
                break
        else:
            made[name] = value
    return made | {name: np.stack(parts, axis) for name, parts in layers.items()}


# ---- the forward passes --------------------------------------------------------------------------


def norm(x, p):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * p['scale'] + p.get('bias', 0)


def rms(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * (1 + scale)


def gelu(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def attention(x, memory, p, mask=True):
    q, k, v = (
        np.einsum('BTD,DNH->BTNH', of, p[f'{name}/kernel']) + p.get(f'{name}/bias', 0)
        for name, of in (('query', x), ('key', memory), ('value', memory))
    )
    scores = np.einsum('BTNH,BSNH->BNTS', q / math.sqrt(HEAD), k)
    weights = softmax(np.where(mask, scores, -1e30))
    joined = np.einsum('BNTS,BSNH->BTNH', weights, v)
    return np.einsum('BTNH,NHD->BTD', joined, p['out/kernel']) + p.get('out/bias', 0)


def mlp(x, p):
    hidden = gelu(x @ p['Dense_0/kernel'] + p.get('Dense_0/bias', 0))
    return hidden @ p['Dense_1/kernel'] + p.get('Dense_1/bias', 0)


def encoded(p: Tensors) -> np.ndarray:
    """What the ViT makes of the pictures; the class token, if any, is dropped at the end."""
    images = PIXELS[:, 0] / np.float32(127.5) - 1
    patches = images.reshape(2, 2, 4, 2, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 4, -1)
    x = patches @ p['embedding/kernel'].reshape(-1, WIDTH) + p['embedding/bias']
    table = p['pos_embedding']
    if 'cls' in p and table.shape[1] == 5:  # the old way: the token first, then positions
        x = np.concatenate([np.tile(p['cls'], (2, 1, 1)), x], axis=1) + table
    else:
        x = x + table
        if 'cls' in p:
            x = np.concatenate([np.tile(p['cls'], (2, 1, 1)), x], axis=1)
    for i in range(LAYERS):
        b = p.under(f'Transformer/encoderblock_{i}/')
        y = norm(x, b.under('LayerNorm_0/'))
        x = x + attention(y, y, b.under('MultiHeadDotProductAttention_0/'))
        x = x + mlp(norm(x, b.under('LayerNorm_1/')), b.under('MlpBlock_0/'))
    return norm(x, p.under('Transformer/encoder_norm/'))[:, -4:]


# ---- ViT and SigLIP ------------------------------------------------------------------------------


def save(path, tensors: dict) -> str:
    np.savez(path, **{f'params/{name}': value for name, value in tensors.items()})
    return str(path)


def assert_encodes(path: str, expected: np.ndarray, **options) -> None:
    vision = VitConfig(**{**VISION.__dict__, **options})
    params, _ = imported(path, 'vision', NetworkConfig(vision, TEXT))
    images = jnp.asarray(PIXELS[:, 0], jnp.float32) / 127.5 - 1
    assert_close(Vit(vision).apply({'params': params['vision']}, images), expected)


@pytest.mark.parametrize('scan', [False, True])
@pytest.mark.parametrize('positions', [4, 5])
def test_vit_with_a_class_token(tmp_path, scan, positions):
    """With a position of its own (AugReg) or without (big_vision), scanned on either side."""
    tensors = Tensors()
    draw_vit(tensors, patches=positions)
    tensors.draw('', cls=(1, 1, WIDTH), head__kernel=(WIDTH, 7), head__bias=(7,))
    expected = encoded(tensors)
    if scan:
        tensors = stacked(tensors, 'encoderblock', 'encoderblock_{}')
    path = save(tmp_path / 'x.npz', tensors)
    assert_encodes(path, expected, num_registers=1, scan_layers=not scan)


AUGREG = {
    'pos_embedding': 'Transformer/posembed_input/pos_embedding',
    'MultiHeadDotProductAttention_0': 'MultiHeadDotProductAttention_1',
    'LayerNorm_1': 'LayerNorm_2',
    'MlpBlock_0': 'MlpBlock_3',
}


def test_names_of_augreg(tmp_path):
    tensors = Tensors()
    draw_vit(tensors, patches=5)
    tensors.draw('', cls=(1, 1, WIDTH), pre_logits__kernel=(WIDTH, 3))
    old = {}
    for name, value in tensors.items():
        for new, older in AUGREG.items():
            name = name.replace(new, older)
        old[name] = value
    np.savez_compressed(tmp_path / 'x.npz', **old)
    assert_encodes(str(tmp_path / 'x.npz'), encoded(tensors), num_registers=1)


def test_the_tower_of_siglip(tmp_path):
    tensors = Tensors()
    draw_vit(tensors, 'img/')
    expected = encoded(tensors.under('img/'))
    tensors.draw('img/MAPHead_0/', probe=(1, 1, WIDTH))
    tensors.draw('txt/', head__kernel=(4, 4))
    tensors.draw('', t=(1,), b=(1,))
    assert_encodes(save(tmp_path / 'x.npz', tensors), expected)


def test_flexivit_is_stored_as_it_is(tmp_path):
    """A kernel of another patch size and positions of another grid, resized in every forward."""
    tensors = Tensors()
    draw_vit(tensors, patches=9)
    vision = VitConfig(**{**VISION.__dict__, 'base_patch_size': 4, 'position_grid': (3, 3)})
    params, plan = imported(
        save(tmp_path / 'x.npz', tensors), 'vision', NetworkConfig(vision, TEXT)
    )
    assert all(pieces[0].fitted_from is None for pieces in plan.restored.values())
    table = tensors['pos_embedding'].reshape(9, WIDTH)
    np.testing.assert_array_equal(params['vision']['position_embedding'], table)


def test_a_file_that_is_no_vit(tmp_path):
    with pytest.raises(UserError, match='no whole checkpoint of big_vision'):
        open_checkpoint(save(tmp_path / 'x.npz', {'weights': np.zeros(3)}))


# ---- PaliGemma -----------------------------------------------------------------------------------

TOKENS = np.array([[0, 5, 7, 3], [0, 4, 2, 8]], np.int32)


def batch(length: int) -> dict:
    return {
        'images': jnp.asarray(PIXELS),
        'image_mask': jnp.ones((2, 1), bool),
        'decoder_input_tokens': jnp.asarray(TOKENS),
        'decoder_prefix_mask': jnp.broadcast_to(jnp.arange(4) < length, (2, 4)),
    }


def draw_gemma(tensors: Tensors, second: bool) -> None:
    tensors.draw('img/head/', kernel=(WIDTH, 8), bias=(8,))
    tensors.draw('llm/', embedder__input_embedding=(9, 8), final_norm__scale=(8,))
    for i in range(LAYERS):
        layer = f'llm/layers_{i}/'
        tensors.draw(layer, pre_attention_norm__scale=(8,), pre_ffw_norm__scale=(8,))
        if second:
            tensors.draw(layer, post_attention_norm__scale=(8,), post_ffw_norm__scale=(8,))
        tensors.draw(f'{layer}attn/', q_einsum__w=(2, 8, 6), kv_einsum__w=(2, 1, 8, 6))
        tensors.draw(f'{layer}attn/', attn_vec_einsum__w=(2, 6, 8))
        tensors.draw(f'{layer}mlp/', gating_einsum=(2, 8, 10), linear=(10, 8))


def rope(x):
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] / 10_000 ** (np.arange(half) / half)
    sin, cos = np.sin(angle)[:, None], np.cos(angle)[:, None]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def gemma_logits(p: Tensors, second: bool) -> np.ndarray:
    """Rows of image and text; a prompt of two positions, so the first 4 + 2 see each other."""
    image = encoded(p.under('img/')) @ p['img/head/kernel'] + p['img/head/bias']
    table = p['llm/embedder/input_embedding']
    x = np.concatenate([image, table[TOKENS] * math.sqrt(8)], axis=1)
    at = np.arange(8)
    mask = (at[:, None] >= at) | ((at[:, None] < 6) & (at < 6))
    cap = (lambda s, c: c * np.tanh(s / c)) if second else lambda s, c: s
    for i in range(LAYERS):
        b = p.under(f'llm/layers_{i}/')
        y = rms(x, b['pre_attention_norm/scale'])
        q = rope(np.einsum('BTD,NDH->BTNH', y, b['attn/q_einsum/w']))
        k, v = np.einsum('BSD,cKDH->cBSKH', y, b['attn/kv_einsum/w'])
        scores = cap(np.einsum('BTNH,BSH->BNTS', q, rope(k)[:, :, 0]) / math.sqrt(6), 50.0)
        weights = softmax(np.where(mask, scores, -1e30))
        joined = np.einsum('BNTS,BSH->BTNH', weights, v[:, :, 0])
        y = np.einsum('BTNH,NHD->BTD', joined, b['attn/attn_vec_einsum/w'])
        x = x + (rms(y, b['post_attention_norm/scale']) if second else y)
        y = rms(x, b['pre_ffw_norm/scale'])
        gate, up = y @ b['mlp/gating_einsum'][0], y @ b['mlp/gating_einsum'][1]
        y = (gelu(gate) * up) @ b['mlp/linear']
        x = x + (rms(y, b['post_ffw_norm/scale']) if second else y)
    return cap(rms(x, p['llm/final_norm/scale'])[:, 4:] @ table.T, 30.0)


@pytest.mark.parametrize('second', [False, True])
def test_paligemma(tmp_path, second):
    tensors = Tensors()
    draw_vit(tensors, 'img/')
    draw_gemma(tensors, second)
    tensors['llm/embedder/input_embedding'] *= 5  # so that the caps are felt
    expected = gemma_logits(tensors, second)
    saved = stacked(stacked(tensors, 'encoderblock', 'encoderblock_{}'), 'layers', 'layers_{}')
    caps = {'post_norms': True, 'attention_softcap': 50.0, 'logit_softcap': 30.0}
    text = TextConfig(9, 8, LAYERS, num_heads=2, head_dim=6, mlp_dim=10, **GEMMA)
    text = TextConfig(**{**text.__dict__, **(caps if second else {})})
    config = NetworkConfig(VISION, text, 'prefix_lm')
    params, plan = imported(save(tmp_path / 'x.npz', saved), 'model', config)
    assert not plan.new and not plan.unused
    logits = VisionTextNetwork(config).apply({'params': params}, batch(2))
    assert_close(logits, expected, 1e-4)


# ---- CapPa ---------------------------------------------------------------------------------------


def draw_cappa(tensors: Tensors) -> None:
    tensors.draw('', pos_embedding_decoder=(1, 6, WIDTH))
    tensors.draw('decoder/', EmbedTargets__embedding=(10, WIDTH))
    for i in range(LAYERS):
        block = f'decoder/EncDecBlock{i}/'
        for each in ('LayerNorm1/', 'LayerNorm2/', 'LayerNorm3/'):
            tensors.draw(block + each, scale=(WIDTH,))
        for kind in ('SelfAttn/', 'CrossAttn/'):
            for part in ('query/', 'key/', 'value/'):
                tensors.draw(block + kind + part, kernel=(WIDTH, HEADS, HEAD))
            tensors.draw(f'{block}{kind}out/', kernel=(HEADS, HEAD, WIDTH))
        tensors.draw(
            f'{block}MLP/', Dense_0__kernel=(WIDTH, HIDDEN), Dense_1__kernel=(HIDDEN, WIDTH)
        )
    tensors.draw('decoder/', LayerNorm__scale=(WIDTH,), LayerNorm__bias=(WIDTH,))
    tensors.draw('decoder/', LogitsDense__kernel=(WIDTH, 9), LogitsDense__bias=(9,))


def cappa_logits(p: Tensors) -> np.ndarray:
    memory, causal = encoded(p.under('encoder/')), np.tril(np.ones((4, 4), bool))
    x = p['decoder/EmbedTargets/embedding'][TOKENS] + p['pos_embedding_decoder'][:, :4]
    for i in range(LAYERS):
        b = p.under(f'decoder/EncDecBlock{i}/')
        y = norm(x, b.under('LayerNorm1/'))
        x = x + attention(y, y, b.under('SelfAttn/'), causal)
        x = x + attention(norm(x, b.under('LayerNorm2/')), memory, b.under('CrossAttn/'))
        x = x + mlp(norm(x, b.under('LayerNorm3/')), b.under('MLP/'))
    x = norm(x, p.under('decoder/LayerNorm/'))
    return x @ p['decoder/LogitsDense/kernel'] + p['decoder/LogitsDense/bias']


@pytest.mark.parametrize('scan', [False, True])
def test_cappa(tmp_path, scan):
    tensors = Tensors()
    draw_vit(tensors, 'encoder/')
    draw_cappa(tensors)
    expected, mask = cappa_logits(tensors), tensors['decoder/EmbedTargets/embedding'][9:]
    if scan:
        tensors = stacked(tensors, 'encoderblock', 'encoderblock_{}')
        tensors = stacked(tensors, 'EncDecBlock', 'EncDecBlock{}', axis=1)
    text = TextConfig(
        9,
        WIDTH,
        LAYERS,
        num_heads=HEADS,
        head_dim=HEAD,
        mlp_dim=HIDDEN,
        scaled_attention=True,
        gated_mlp=False,
        positions='learned',
        max_positions=6,
        norm='layer_norm_no_bias',
        final_norm='layer_norm',
        logits_bias=True,
        mask_token=True,
    )
    config = NetworkConfig(VISION, text)
    params, plan = imported(save(tmp_path / 'x.npz', tensors), 'model', config)
    assert not plan.new and not plan.unused
    assert_close(VisionTextNetwork(config).apply({'params': params}, batch(1)), expected)
    np.testing.assert_array_equal(params['mask_embedder']['embedding'], mask)


def test_cappa_of_fewer_positions_and_without_its_mask_token(tmp_path):
    tensors = Tensors()
    draw_vit(tensors, 'encoder/')
    draw_cappa(tensors)
    path = save(tmp_path / 'x.npz', tensors)
    _, family = open_checkpoint(path)
    text = TextConfig(9, **{**family.text, 'max_positions': 9})
    params, plan = imported(path, 'model', NetworkConfig(VISION, text))
    table = params['position_embedder']['embedding']
    np.testing.assert_array_equal(table[:6], tensors['pos_embedding_decoder'][0])
    assert plan.restored['position_embedder/embedding'][0].fitted_from == (6, WIDTH)
    assert 'mask_embedder' not in params and not plan.unused
    assert isinstance(table, jax.Array)


def cappa_b16() -> dict:
    """Shapes of big_vision's configs/proj/cappa/pretrain.py: 64 tokens, no biases in blocks."""
    shapes = {'pos_embedding_decoder': (1, 64, 768), 'encoder/pos_embedding': (1, 196, 768)}
    shapes |= {'encoder/embedding/kernel': (16, 16, 3, 768), 'encoder/embedding/bias': (768,)}
    shapes |= {f'encoder/Transformer/encoder_norm/{each}': (768,) for each in ('scale', 'bias')}
    heads, joined = (768, 12, 64), (12, 64, 768)
    for i in range(12):
        block = f'encoder/Transformer/encoderblock_{i}/'
        for norm in ('LayerNorm_0', 'LayerNorm_1'):
            shapes |= {f'{block}{norm}/{each}': (768,) for each in ('scale', 'bias')}
        attention = f'{block}MultiHeadDotProductAttention_0/'
        for part in ('query', 'key', 'value'):
            shapes |= {f'{attention}{part}/kernel': heads, f'{attention}{part}/bias': (12, 64)}
        shapes |= {f'{attention}out/kernel': joined, f'{attention}out/bias': (768,)}
        for dense, shape in (('Dense_0', (768, 3072)), ('Dense_1', (3072, 768))):
            shapes[f'{block}MlpBlock_0/{dense}/kernel'] = shape
            shapes[f'{block}MlpBlock_0/{dense}/bias'] = shape[1:]
    for i in range(6):
        block = f'decoder/EncDecBlock{i}/'
        shapes |= {f'{block}LayerNorm{n}/scale': (768,) for n in (1, 2, 3)}
        for kind in ('SelfAttn', 'CrossAttn'):
            shapes |= {f'{block}{kind}/{part}/kernel': heads for part in ('query', 'key', 'value')}
            shapes[f'{block}{kind}/out/kernel'] = joined
        shapes[f'{block}MLP/Dense_0/kernel'] = (768, 3072)
        shapes[f'{block}MLP/Dense_1/kernel'] = (3072, 768)
    shapes['decoder/EmbedTargets/embedding'] = (32_001, 768)
    shapes |= {f'decoder/LayerNorm/{each}': (768,) for each in ('scale', 'bias')}
    return shapes | {
        'decoder/LogitsDense/kernel': (768, 32_000),
        'decoder/LogitsDense/bias': (32_000,),
    }


@pytest.mark.parametrize('scan', [False, True])
def test_the_gin_file_of_cappa_fits_the_published_model(scan, clean_gin):
    """Every tensor has its parameter and every parameter its tensor, by shapes alone."""
    scanned = [f'{scope}.scan_layers = {scan}' for scope in ('t5.TextConfig', 'vit.VitConfig')]
    load_gin(GinFlags(['models/cappa_b16.gin'], [], scanned))
    config = gin.get_configurable(NetworkConfig)()
    names = {f'params/{name}': shape for name, shape in cappa_b16().items()}
    source = canonical(Source('cappa_b16.npz', names, lambda name: None))
    shapes = flat_names(abstract_params(config))
    shapes = {name: leaf.shape for name, leaf in shapes.items()}
    plan = make_plan(*_family(source), 'model', shapes, config)
    assert not plan.new and not plan.unused and plan.restored.keys() == shapes.keys()
