"""FlexiViT's resizing: hand-made matrices, the equality it is made for, and both in a ViT."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.nn.flexivit import bilinear_matrix, pi_resize, resample_positions
from vlm.nn.patches import PatchEmbed
from vlm.nn.vit import Vit
from vlm.nn.vit_config import VitConfig

from miniature import random_params

CONFIG = VitConfig((8, 12), 4, width=8, num_layers=1, num_heads=2, mlp_dim=12)


def normal(*shape, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def bilinear(x, size):
    """An independent bilinear resize of [h, w, C]."""
    return jax.image.resize(x, (*size, x.shape[-1]), 'bilinear', antialias=False)


def test_bilinear_matrix_by_hand():
    wanted = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]]
    np.testing.assert_allclose(bilinear_matrix(2, 4), wanted)
    np.testing.assert_allclose(bilinear_matrix(4, 2), [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])


@pytest.mark.parametrize('old, new', [(1, 3), (3, 5), (5, 3), (7, 2), (4, 4)])
def test_bilinear_matrix_equals_the_library_s(old, new):
    wanted = jax.image.resize(np.eye(old, dtype=np.float32), (new, old), 'bilinear', False)
    np.testing.assert_allclose(bilinear_matrix(old, new), wanted, atol=1e-6)


def test_an_enlarged_patch_keeps_its_embedding():
    kernel, patch = normal(3, 4, 2, 5), normal(3, 4, 2, seed=1)
    before = np.einsum('hwC,hwCD->D', patch, kernel)
    after = np.einsum('hwC,hwCD->D', bilinear(patch, (5, 9)), pi_resize(kernel, (5, 9)))
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-4)


def test_a_smaller_kernel_is_the_least_squares_one():
    kernel = normal(6, 5, 1, 2)
    # Column i of B is the resized image of pixel i: the paper's matrix, rows and columns at once.
    basis = np.eye(30, dtype=np.float32).reshape(6, 5, 30)
    resizing = np.asarray(bilinear(basis, (4, 3))).reshape(12, 30)
    wanted = np.linalg.lstsq(resizing.T, kernel.reshape(30, 2), rcond=None)[0]
    found = np.asarray(pi_resize(kernel, (4, 3))).reshape(12, 2)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def test_positions_by_hand():
    table = np.array([[[0.0], [1.0]]], np.float32)
    found = resample_positions(table, (1, 4))
    np.testing.assert_allclose(found[0, :, 0], [0, 0.25, 0.75, 1], atol=1e-6)
    # Halved, a triangle of half-width 2 is laid over the old points: weights 3, 3 and 1 of 7.
    table = np.arange(4, dtype=np.float32).reshape(4, 1, 1)
    np.testing.assert_allclose(
        resample_positions(table, (2, 1))[:, 0, 0], [5 / 7, 16 / 7], rtol=1e-6
    )


def test_a_size_that_is_there_is_not_touched():
    kernel, table = normal(3, 4, 2, 5), normal(2, 3, 4)
    assert pi_resize(kernel, (3, 4)) is kernel
    assert resample_positions(table, (2, 3)) is table


def test_patch_embedding_at_another_patch_size():
    # Six patches of 2 x 2, and each of them enlarged to 4 x 4 on its own.
    patches = normal(2, 2, 3, 2, 2, 3)  # B, rows, columns, h, w, C
    large = jax.image.resize(patches, (2, 2, 3, 4, 4, 3), 'bilinear', antialias=False)

    def tiled(patches):
        batch, rows, columns, height, width, channels = patches.shape
        swapped = patches.transpose(0, 1, 3, 2, 4, 5)
        return jnp.asarray(swapped.reshape(batch, rows * height, columns * width, channels))

    small_config = dataclasses.replace(CONFIG, image_size=(4, 6), patch_size=2)
    flexible = PatchEmbed(dataclasses.replace(CONFIG, base_patch_size=2))
    params = random_params(flexible, tiled(large))
    assert params['kernel'].shape == (2, 2, 3, 8)
    found = flexible.apply({'params': params}, tiled(large))
    wanted = PatchEmbed(small_config).apply({'params': params}, tiled(patches))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def test_a_vit_resamples_its_positions():
    images = jnp.asarray(normal(2, 8, 12, 3))
    flexible = Vit(dataclasses.replace(CONFIG, position_grid=(3, 3)))
    params = random_params(flexible, images)
    table = params['position_embedding']
    assert table.shape == (9, 8)
    resized = jax.image.resize(table.reshape(3, 3, 8), (2, 3, 8), 'bilinear').reshape(6, 8)
    wanted = Vit(CONFIG).apply({'params': {**params, 'position_embedding': resized}}, images)
    found = flexible.apply({'params': params}, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
