"""Checkpoints that upstream T5X wrote, with the logits that its own network gives for them."""

import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts
from flax.serialization import msgpack_serialize

from vlm.errors import UserError
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.weights import open_checkpoint

from parity import assert_close, imported

# A fixture of the project's, where the workplace has it beside the checkout.
ARCHIVE = Path(__file__).parents[3] / 'shared' / 'data' / 't5x_checkpoint' / 't5x_tiny.tar'
VISION = VitConfig((8, 8), 8, width=8, num_layers=1, num_heads=1, mlp_dim=8)
SIZES = {'num_heads': 4, 'head_dim': 8, 'mlp_dim': 64}
FLAVOURS = {
    't5_1_1_tiny': {},
    't5_1_0_tiny': {'activation': 'relu', 'gated_mlp': False, 'tied_embedding': True},
}


@pytest.fixture(scope='module')
def checkpoints(tmp_path_factory):
    if not ARCHIVE.exists():
        pytest.skip('the checkpoints written by T5X are not here')
    folder = tmp_path_factory.mktemp('t5x')
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter='data')
    return folder


@pytest.mark.parametrize('flavour', FLAVOURS)
@pytest.mark.parametrize('scan', [False, True])
def test_logits_are_those_of_t5x(checkpoints, flavour, scan):
    text = TextConfig(384, 32, 3, 2, **SIZES, **FLAVOURS[flavour], scan_layers=scan)
    config = NetworkConfig(VISION, text, 'fusion_encoder')
    params, plan = imported(str(checkpoints / flavour), 'text', config)
    assert not plan.new and not plan.unused
    params = jax.tree.map(
        lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.zeros(leaf.shape), params
    )
    expected = np.load(checkpoints / flavour / 'expected.npz')
    batch = {
        'images': jnp.zeros((2, 1, 8, 8, 3), jnp.uint8),
        'image_mask': jnp.zeros((2, 1), bool),
        'encoder_input_tokens': jnp.asarray(expected['encoder_input_tokens'], jnp.int32),
        'decoder_input_tokens': jnp.asarray(expected['decoder_input_tokens'], jnp.int32),
    }
    logits = VisionTextNetwork(config).apply({'params': params}, batch)
    assert_close(logits, expected['logits'])


def write_index(folder: Path, path: str, shape=(2, 3)) -> None:
    """A checkpoint of one array, as far as its index goes."""
    folder.mkdir(exist_ok=True)
    spec = {
        'driver': 'zarr',
        'kvstore': {'driver': 'file', 'path': path},
        'metadata': {'shape': list(shape)},
    }
    tree = {'version': 3, 'optimizer': {'target': {'token_embedder': {'embedding': spec}}}}
    (folder / 'checkpoint').write_bytes(msgpack_serialize(tree))


@pytest.mark.parametrize('path', ['../outside/', '/etc/', '..', 'a/b/'])
def test_arrays_outside_the_folder_are_refused(tmp_path, path):
    write_index(tmp_path / 'run', path)
    with pytest.raises(UserError, match='no array beside it'):
        open_checkpoint(str(tmp_path / 'run'))


@pytest.mark.parametrize('content', [b'', b'\xc1', b'\x93\x01', b'not msgpack at all', b'\x80'])
def test_a_damaged_index_is_one_line(tmp_path, content):
    (tmp_path / 'checkpoint').write_bytes(content)
    with pytest.raises(UserError) as told:
        open_checkpoint(str(tmp_path))
    assert '\n' not in str(told.value)


def test_an_array_of_another_shape_than_the_index_says(tmp_path):
    from vlm.weights.t5x_checkpoint import open_t5x

    write_index(tmp_path, 'table/', shape=(2, 3))
    store = {'driver': 'file', 'path': f'{tmp_path}/table/'}
    array = np.ones((4, 3), np.float32)
    spec = {'driver': 'zarr', 'kvstore': store, 'metadata': {'dtype': '<f4', 'shape': [4, 3]}}
    ts.open(spec, create=True).result().write(array).result()
    with pytest.raises(UserError, match=r'\(4, 3\)'):
        open_t5x(str(tmp_path)).read('token_embedder/embedding')
    write_index(tmp_path, 'table/', shape=(4, 3))
    np.testing.assert_array_equal(open_t5x(str(tmp_path)).read('token_embedder/embedding'), array)
