"""Every file of gin/models, built without weights: sizes by hand and as published."""

import dataclasses
import math

import gin
import jax
import pytest

from vlm.model import VisionTextModel
from vlm.paths import gin_dir
from vlm.runner.config import GinFlags, load

# One block is traced instead of up to 56.
SCANNED = ['t5.TextConfig.scan_layers = True', 'vit.VitConfig.scan_layers = True']
SMALL_VISION = ['IMAGE_SIZE = (32, 32)', 'vit.VitConfig.width = 12', 'vit.VitConfig.num_layers = 1']


def counts(*files: str, bindings: list[str]) -> tuple[dict[str, int], VisionTextModel]:
    """Parameters of each part of the model that gin files describe, and the model."""
    load(GinFlags([f'models/{file}.gin' for file in files], [], [*bindings, *SCANNED]))
    model = gin.get_configurable(VisionTextModel)()
    row = {'decoder_input_tokens': (1, 8), 'decoder_target_tokens': (1, 8)}
    if model.module.config.wiring == 'fusion_encoder':
        row['encoder_input_tokens'] = (1, 8)
    shapes = {
        'images': (1, 1, *model.module.config.vision.image_size, 3),
        'image_mask': (1, 1),
        'decoder_loss_weights': (1, 8),
        **row,
    }
    variables = jax.eval_shape(
        lambda key: model.get_initial_variables(key, shapes), jax.random.key(0)
    )
    parts = {
        name: sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(part))
        for name, part in variables['params'].items()
    }
    return parts, model


def text_part(parts: dict[str, int]) -> int:
    return sum(n for name, n in parts.items() if name not in ('vision', 'connector'))


def close_to(published: str):
    """Within 1 % of '412.4 M', or what rounds to it where fewer digits are printed."""
    digits, unit = published.split()
    scale = {'M': 1e6, 'G': 1e9}[unit]
    half = 0.5 * 10 ** -len(digits.partition('.')[2])
    return pytest.approx(float(digits) * scale, abs=max(half, 0.01 * float(digits)) * scale)


# ---------------------------------------------------------------- text sizes

# Width, blocks of the decoder, of the encoder, heads, head size, MLP, rows of the table.
SIZES = {
    't5_small': (512, 8, 8, 6, 64, 1024, 32_128),
    't5_base': (768, 12, 12, 12, 64, 2048, 32_128),
    't5_large': (1024, 24, 24, 16, 64, 2816, 32_128),
    't5_xl': (2048, 24, 24, 32, 64, 5120, 32_128),
    't5_xxl': (4096, 24, 24, 64, 64, 10_240, 32_128),
    'mt5_small': (512, 8, 8, 6, 64, 1024, 250_112),
    'mt5_base': (768, 12, 12, 12, 64, 2048, 250_112),
    'mt5_large': (1024, 24, 24, 16, 64, 2816, 250_112),
    'mt5_xl': (2048, 24, 24, 32, 64, 5120, 250_112),
    'mt5_xxl': (4096, 24, 24, 64, 64, 10_240, 250_112),
    'ul2_20b': (4096, 32, 32, 16, 256, 16_384, 32_128),
    'ul2_32b': (4096, 50, 50, 16, 256, 16_384, 250_112),
    'gemma_2b': (2048, 18, 0, 8, 256, 16_384, 256_128),
    'gemma2_2b': (2304, 26, 0, 8, 256, 9216, 256_128),
    'gemma2_9b': (3584, 42, 0, 16, 256, 14_336, 256_128),
    'captioner_b': (768, 6, 0, 12, 64, 3072, 32_000),
    'captioner_l': (1024, 12, 0, 16, 64, 4096, 32_000),
}
# Of google/t5-v1_1-* and google/mt5-* as published on Hugging Face (mT5's paper, 2010.11934, prints
# 300 M, 580 M, 1.2 B, 3.7 B, 13 B); Gemma: 2403.08295, table 2, embedding and other parameters.
EXACT = {
    't5_small': 76_961_152,
    't5_base': 247_577_856,
    't5_large': 783_150_080,
    't5_xl': 2_849_757_184,
    't5_xxl': 11_135_332_352,
    'mt5_small': 300_176_768,
    'mt5_base': 582_401_280,
    'mt5_large': 1_229_581_312,
    'mt5_xl': 3_742_619_648,
    'mt5_xxl': 12_921_057_280,
    'gemma_2b': 524_550_144 + 1_981_884_416,
}
# PaLI-X, 2305.18565, 3.1: "32B". Of UL2 20B no more than its name is published.
# Gemma 2: 2408.00118, table 2, embedding and other parameters.
ROUNDED = {'ul2_32b': '32 G', 'gemma2_2b': '2.61 G', 'gemma2_9b': '9.24 G'}


def by_hand(name: str, rows: int | None = None, encoder: bool = True) -> int:
    """Tables, blocks, last norms and positions of a size of the table above."""
    d, decoder, encoders, heads, size, f, own_rows = SIZES[name]
    rows, encoders = rows or own_rows, encoders if encoder else 0
    gemma, captioner = name.startswith('gemma'), name.startswith('captioner')
    # One key for all heads of Gemma, one for two of Gemma 2.
    shared = heads // 2 if name.startswith('gemma2') else 1 if gemma else heads
    attention = 2 * d * heads * size + 2 * d * shared * size
    norms = 4 if name.startswith('gemma2') else 2
    block = attention + (2 if captioner else 3) * d * f + norms * d
    cross = 0 if gemma else attention + d
    total = decoder * (block + cross) + d + rows * d * (1 if gemma else 2)
    if encoders:
        total += encoders * block + d + 32 * heads
    if not gemma:
        total += 128 * d if captioner else 32 * heads
    return total


def wiring_of(name: str) -> str:
    return {'gemma': 'prefix_lm', 'gemma2': 'prefix_lm', 'captioner': 'decoder_prefix'}.get(
        name.split('_')[0], 'fusion_encoder'
    )


@pytest.mark.parametrize('name', SIZES)
def test_text_sizes(name):
    bindings = [f'WIRING = {wiring_of(name)!r}', *SMALL_VISION]
    found = text_part(counts('base', f'text/{name}', bindings=bindings)[0])
    assert found == by_hand(name)
    if name in EXACT:
        assert found == EXACT[name]
    if name in ROUNDED:
        assert found == close_to(ROUNDED[name])


# ---------------------------------------------------------------- families

# Vision, its tokens, text (with rows of the table or without encoder where they differ), and what
# is published of vision, text and both.
#   PaLI: 2209.06794, table of model sizes; its total for PaLI-3B, 3.0 B, is a sum of rounded parts,
#   and its 3.9 B of ViT-e have a head for classification: without one they are 3.81 G by hand.
#   PaLI-X: 2305.18565, 3.1; ViT-22B: 2302.05442, table 1.
#   PaliGemma: So400m 2305.13035 (412.4 M as in timm); 2.92 B parameters on Hugging Face.
#   Of LocCa, CapPa and LiT-decoder no counts are published.
FAMILIES = {
    'pali_3b': ('1843 M', 256, by_hand('mt5_large'), '1.2 G', None),
    'pali_15b': ('1843 M', 256, by_hand('mt5_xxl'), '13 G', '14.8 G'),
    'pali_17b': ('3.81 G', 256, by_hand('mt5_xxl'), '13 G', '16.9 G'),
    'pali_x_55b': ('21743 M', 256, by_hand('ul2_32b'), '32 G', None),
    'paligemma_3b': ('412.4 M', 256, by_hand('gemma_2b', 257_152), None, '2.92 G'),
    'paligemma_3b_448': ('413.3 M', 1024, by_hand('gemma_2b', 257_152), None, '2.92 G'),
    'paligemma_3b_896': ('416.8 M', 4096, by_hand('gemma_2b', 257_152), None, '2.93 G'),
    'paligemma2_3b': ('412.4 M', 256, by_hand('gemma2_2b', 257_152), None, '3.03 G'),
    'paligemma2_10b': ('412.4 M', 256, by_hand('gemma2_9b', 257_152), None, '9.66 G'),
    'locca_b16': ('85.80 M', 196, by_hand('captioner_b') + 768, None, None),
    'locca_l14': ('303.3 M', 256, by_hand('captioner_l') + 1024, None, None),
    'cappa_b16': ('85.80 M', 196, by_hand('captioner_b') + 2 * 768 + 32_000, None, None),
    'cappa_l14': ('303.3 M', 256, by_hand('captioner_l') + 2 * 1024 + 32_000, None, None),
    'lit_decoder_b16': ('85.80 M', 196, by_hand('captioner_b'), None, None),
    'lit_decoder_l16': ('303.3 M', 196, by_hand('captioner_b'), None, None),
}
WIRING = {'pali': 'fusion_encoder', 'paligemma': 'prefix_lm', 'paligemma2': 'prefix_lm'}


@pytest.mark.parametrize('name', FAMILIES)
def test_families(name):
    vision, tokens, text, published_text, published = FAMILIES[name]
    parts, model = counts(name, bindings=[])
    config = model.module.config
    assert config.wiring == WIRING.get(name.split('_')[0], 'decoder_prefix')
    assert config.vision.num_tokens == tokens
    assert parts['vision'] == close_to(vision)
    assert text_part(parts) == text
    if published_text:
        assert text_part(parts) == close_to(published_text)
    if published:
        assert sum(parts.values()) == close_to(published)


# 2210.03347, 3.1: 282 M and 1.3 B, with tables of 4,096 rows and 4,096 columns of patches where
# ours have 45.
@pytest.mark.parametrize(
    'name, width, published', [('base', 768, '282 M'), ('large', 1536, '1.3 G')]
)
def test_pix2struct(name, width, published):
    parts, model = counts(f'pix2struct_{name}', bindings=[])
    assert model.module.config.vision.num_tokens == 45 * 45
    theirs = sum(parts.values()) + 2 * (4096 - 45) * width
    assert theirs == close_to(published)
    if name == 'base':
        assert text_part(parts) == by_hand('t5_base', 50_244, encoder=False)


FAMILY_OF = {
    'pali_tiny': 'pali_3b',
    'paligemma_tiny': 'paligemma_3b',
    'locca_tiny': 'locca_b16',
    'cappa_tiny': 'cappa_b16',
    'lit_decoder_tiny': 'lit_decoder_b16',
    'pix2struct_tiny': 'pix2struct_base',
}
TINY = ('demo', *FAMILY_OF)
# What a family in miniature has otherwise; all else is the family's.
_BOTH = {'width', 'num_layers', 'num_heads', 'mlp_dim', 'dtype'}
SIZED = {
    'vision': _BOTH | {'image_size', 'patch_size'},
    'text': _BOTH | {'vocab_size', 'num_encoder_layers', 'head_dim'},
}


@pytest.mark.parametrize('name', TINY)
def test_tiny_ones(name):
    parts, model = counts(name, bindings=['IMAGE_SIZE = (64, 64)'] if name == 'demo' else [])
    assert sum(parts.values()) < 2e6
    if name in FAMILY_OF:
        wanted = counts(FAMILY_OF[name], bindings=[])[1]
        for field in ('parallel_prediction', 'parallel_prompt', 'loss_normalizer'):
            assert getattr(model, field) == getattr(wanted, field)
        tiny, whole = model.module.config, wanted.module.config
        assert (tiny.wiring, tiny.connector) == (whole.wiring, whole.connector)
        for part in ('vision', 'text'):
            own, theirs = (dataclasses.asdict(getattr(each, part)) for each in (tiny, whole))
            assert {field for field in own if own[field] != theirs[field]} <= SIZED[part]


def test_locca_predicts_captions_at_once_and_nothing_else():
    _, model = counts('locca_tiny', bindings=[])
    tokenizer = model.output_vocabulary.tokenizer
    assert model.parallel_prediction == 0.5
    assert model.parallel_prompt == (*tokenizer.encode('Cap:'), 1)
    assert counts('cappa_tiny', bindings=[])[1].parallel_prompt is None


def test_every_file_is_tested():
    folder = gin_dir() / 'models'
    files = {str(path.relative_to(folder).with_suffix('')) for path in folder.rglob('*.gin')}
    parts = {'base', 'tiny', 'paligemma_prompts'}
    parts |= {f'text/{name}' for name in ('t5', 'gemma', 'gemma2', 'captioner')}
    vision = {name for name in files if name.startswith('vit/')}
    tested = {*FAMILIES, *TINY, 'pix2struct_base', 'pix2struct_large'}
    assert files - parts - vision == tested | {f'text/{name}' for name in SIZES}
