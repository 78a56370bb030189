"""Every size of gin/models/vit: built without weights, its parameters counted."""

import math

import gin
import jax
import jax.numpy as jnp
import pytest

from vlm.nn.vit import Vit, VitConfig
from vlm.paths import gin_dir
from vlm.runner.config import GinFlags, load

# Name -> patch size, and published parameters at 224 px, in millions. Ti, S, So400m: timm's
# vit_tiny_ and vit_small_patch16_224, less their 1,000 classes, and vit_so400m_patch14_siglip_gap;
# B, L, H: the checkpoints of 2010.11929 without classifier; g, G: 2106.04560, table 2; 22B:
# 2302.05442, table 1. Class tokens and heads of the large ones are well below 1 %.
PUBLISHED = {
    'ti': (16, 5.717 - 0.193),
    's': (16, 22.05 - 0.385),
    'b': (16, 85.80),
    'l': (16, 303.3),
    'so400m': (14, 412.4),
    'h': (14, 630.8),
    'little_g': (14, 1011),
    'big_g': (14, 1843),
    '22b': (14, 21_743),
}
# PaLI's 3.9 G for ViT-e are 2.5 % more than a bare encoder of these sizes has (2209.06794); the
# other two are known by their sizes. Held to the formula alone.
UNPUBLISHED = {'m': 16, 'g_opt': 16, 'e': 14}
# Width, blocks, MLP, heads as their papers print them.
TABLES = {
    'ti': (192, 12, 768, 3),
    's': (384, 12, 1536, 6),
    'm': (512, 12, 2048, 8),
    'b': (768, 12, 3072, 12),
    'l': (1024, 24, 4096, 16),
    'so400m': (1152, 27, 4304, 16),
    'h': (1280, 32, 5120, 16),
    'little_g': (1408, 40, 6144, 16),
    'g_opt': (1536, 40, 6144, 16),
    'big_g': (1664, 48, 8192, 16),
    'e': (1792, 56, 15360, 16),
    '22b': (6144, 48, 24576, 48),
}


def formula(name: str, patch: int) -> int:
    """Patches, positions, blocks and last norm, from the table above."""
    d, layers, f, heads = TABLES[name]
    block = 4 * d * d + 2 * d * f + f + d + d  # matrices; biases of MLP and of attention's output
    block += d + 2 * d // heads if name == '22b' else 3 * d + 2 * 2 * d
    last = d if name == '22b' else 2 * d
    return patch**2 * 3 * d + d + (224 // patch) ** 2 * d + layers * block + last


def count(config: VitConfig) -> int:
    images = jax.ShapeDtypeStruct((1, *config.image_size, 3), jnp.float32)
    params = jax.eval_shape(Vit(config).init, jax.random.key(0), images)['params']
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def config_of(name: str, patch: int) -> VitConfig:
    # One block is traced, and its parameters stacked, instead of up to 56.
    bindings = [f'vit.VitConfig.patch_size = {patch}', 'vit.VitConfig.scan_layers = True']
    load(GinFlags([f'models/vit/{name}.gin'], [], bindings))
    return gin.get_configurable(VitConfig)()


def test_every_size_is_tested():
    files = {path.stem for path in (gin_dir() / 'models' / 'vit').glob('*.gin')}
    assert files == TABLES.keys() == PUBLISHED.keys() | UNPUBLISHED.keys()
    # g and G are two files on a file system that does not tell them apart, too.
    assert len({name.lower() for name in files}) == len(files)


@pytest.mark.parametrize(
    'name, patch', [*UNPUBLISHED.items(), *((n, p) for n, (p, _) in PUBLISHED.items())]
)
def test_parameter_count_by_formula(name, patch):
    assert count(config_of(name, patch)) == formula(name, patch)


@pytest.mark.parametrize('name', PUBLISHED)
def test_parameter_count_as_published(name):
    patch, millions = PUBLISHED[name]
    assert formula(name, patch) / 1e6 == pytest.approx(millions, rel=0.01)
