"""Checkpoints that upstream T5X wrote, with the logits that its own network gives for them."""

import json
import re
import tarfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tensorstore as ts
from flax.serialization import msgpack_serialize
from flax.traverse_util import unflatten_dict
from safetensors.numpy import save_file

from vlm.errors import UserError
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.weights import open_checkpoint
from vlm.weights.families.hf_pix2struct import BIAS
from vlm.weights.t5x_checkpoint import open_t5x, read_older_t5x

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


@pytest.mark.parametrize('path', ['../outside/', '/etc/', '..', 'a/b/', 7])
def test_arrays_outside_the_folder_are_refused(tmp_path, path):
    write_index(tmp_path / 'run', path)
    for reader in (open_checkpoint, read_older_t5x):
        with pytest.raises(UserError, match='no array beside it'):
            reader(str(tmp_path / 'run'))


@pytest.mark.parametrize('content', [b'', b'\xc1', b'\x93\x01', b'not msgpack at all', b'\x80'])
def test_a_damaged_index_is_one_line(tmp_path, content):
    (tmp_path / 'checkpoint').write_bytes(content)
    for reader in (open_checkpoint, read_older_t5x):
        with pytest.raises(UserError) as told:
            reader(str(tmp_path))
        assert '\n' not in str(told.value)


def test_an_array_of_another_shape_than_the_index_says(tmp_path):
    write_index(tmp_path, 'table/', shape=(2, 3))
    store = {'driver': 'file', 'path': f'{tmp_path}/table/'}
    array = np.ones((4, 3), np.float32)
    spec = {'driver': 'zarr', 'kvstore': store, 'metadata': {'dtype': '<f4', 'shape': [4, 3]}}
    ts.open(spec, create=True).result().write(array).result()
    with pytest.raises(UserError, match=r'\(4, 3\)'):
        open_t5x(str(tmp_path)).read('token_embedder/embedding')
    write_index(tmp_path, 'table/', shape=(4, 3))
    np.testing.assert_array_equal(open_t5x(str(tmp_path)).read('token_embedder/embedding'), array)


# ---- layouts written from what is published ------------------------------------------------------


def write_arrays(folder: Path, arrays: dict) -> str:
    """A checkpoint whose index holds all of its arrays."""
    target = unflatten_dict(arrays, sep='/')
    folder.mkdir(exist_ok=True)
    tree = {'version': 3, 'optimizer': {'target': target, 'state': {'step': 1}}}
    (folder / 'checkpoint').write_bytes(msgpack_serialize(tree))
    return str(folder)


def scanned(tensors: dict) -> dict:
    """As scalable_t5 has them: layers on axis 1, heads on axes of their own, a bias a layer."""
    stacks: dict = {}
    made = {}
    for name, value in tensors.items():
        if not (found := re.fullmatch(r'(\w+)/layers_\d+/(.*)', name)):
            made[name] = value
            continue
        if re.search(r'/(query|key|value)/', name):
            value = value.reshape(len(value), 4, 8)
        elif '/out/' in name:
            value = value.reshape(4, 8, -1)
        stacks.setdefault(f'{found[1]}/{found[1]}/{found[2]}', []).append(value)
    made |= {name: np.stack(layers, 1) for name, layers in stacks.items()}
    for stack, layers in (('encoder', 2), ('decoder', 3)):
        bias = made.pop(f'{stack}/relpos_bias/rel_embedding')
        made[f'{stack}/{stack}/relpos_bias/rel_embedding'] = np.stack([bias] * layers, 1)
    return made


def test_scanned_layers_are_read_as_unscanned_ones(checkpoints, tmp_path):
    source = open_t5x(str(checkpoints / 't5_1_1_tiny' / 'checkpoint_0'))
    tensors = {name: np.asarray(source.read(name), np.float32) for name in source.shapes}
    stacked = scanned(tensors)
    assert stacked['encoder/encoder/attention/query/kernel'].shape == (32, 2, 4, 8)
    config = NetworkConfig(VISION, TextConfig(384, 32, 3, 2, **SIZES), 'fusion_encoder')
    params, plan = imported(write_arrays(tmp_path / 'scanned', stacked), 'text', config)
    expected, _ = imported(str(checkpoints / 't5_1_1_tiny'), 'text', config)
    assert not plan.new and len(plan.restored) > 50
    for ours, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(expected), strict=True):
        if isinstance(theirs, jax.Array):
            np.testing.assert_array_equal(ours, theirs)
    stacked['decoder/decoder/relpos_bias/rel_embedding'][0, 1] += 1  # umT5
    with pytest.raises(UserError, match='every layer of the decoder has relative positions'):
        open_checkpoint(write_arrays(tmp_path / 'own', stacked))


PATCHES = 'encoder/token_embedder'
PIX2STRUCT = {
    f'{PATCHES}/patch_projection/kernel': (48, 24),
    f'{PATCHES}/patch_projection/bias': (24,),
    f'{PATCHES}/embedders_0/pos_embedding': (9, 24),
    f'{PATCHES}/embedders_1/pos_embedding': (9, 24),
    'encoder/encoder_norm/scale': (24,),
    'decoder/token_embedder/embedding': (50, 24),
    'decoder/relpos_bias/rel_embedding': (3, 32),
    'decoder/decoder_norm/scale': (24,),
    'decoder/logits_dense/kernel': (24, 50),
}
for _stack, _kinds in (
    ('encoder', {'attention': 'attention'}),
    (
        'decoder',
        {'self_attention': 'self_attention', 'encoder_decoder_attention': 'cross_attention'},
    ),
):
    for _i in range(2):
        _layer = f'{_stack}/layers_{_i}'
        for _kind, _norm in _kinds.items():
            PIX2STRUCT[f'{_layer}/pre_{_norm}_layer_norm/scale'] = (24,)
            for _part in ('query', 'key', 'value', 'out'):
                PIX2STRUCT[f'{_layer}/{_kind}/{_part}/kernel'] = (24, 24)
        PIX2STRUCT[f'{_layer}/pre_mlp_layer_norm/scale'] = (24,)
        for _part, _shape in (('wi_0', (24, 40)), ('wi_1', (24, 40)), ('wo', (40, 24))):
            PIX2STRUCT[f'{_layer}/mlp/{_part}/kernel'] = _shape
# From a name of T5X to that of Hugging Face, as their conversion of the published weights has it.
TO_HUGGING_FACE = [
    (r'token_embedder/embedders_0/pos_embedding', 'embeddings/row_embedder/weight'),
    (r'token_embedder/embedders_1/pos_embedding', 'embeddings/column_embedder/weight'),
    (r'encoder/token_embedder', 'encoder/embeddings'),
    (r'decoder/token_embedder/embedding', 'decoder/embed_tokens/weight'),
    (r'decoder/relpos_bias/rel_embedding', BIAS.replace('.', '/')),
    (r'decoder/logits_dense', 'decoder/lm_head'),
    (r'encoder/encoder_norm', 'encoder/layernorm'),
    (r'decoder/decoder_norm', 'decoder/final_layer_norm'),
    (r'encoder/layers_(\d)', r'encoder/encoder/layer/\1'),
    (r'decoder/layers_(\d)', r'decoder/layer/\1'),
    (r'(decoder.*)/pre_self_attention_layer_norm', r'\1/self_attention/layer_norm'),
    (r'(decoder.*)/pre_cross_attention_layer_norm', r'\1/encoder_decoder_attention/layer_norm'),
    (r'(decoder.*)/pre_mlp_layer_norm', r'\1/mlp/layer_norm'),
    (r'(decoder.*)/mlp/w', r'\1/mlp/DenseReluDense/w'),
    (r'(decoder.*attention)/(query|key|value|out)/', r'\1/attention/\2/'),
    (r'/out/', '/output/'),
    (r'/(kernel|scale)$', '/weight'),
]


def test_pix2struct_is_what_hugging_face_made_of_it(tmp_path):
    """The same numbers in both layouts; how the other is read agrees with `transformers`."""
    rng = np.random.default_rng(0)
    arrays = {k: rng.normal(size=shape).astype(np.float32) for k, shape in PIX2STRUCT.items()}
    theirs = {}
    for name, value in arrays.items():
        for pattern, replacement in TO_HUGGING_FACE:
            name = re.sub(pattern, replacement, name)
        # A table of embeddings is no linear layer.
        is_table = 'embed_tokens' in name or '_embedder' in name
        theirs[name.replace('/', '.')] = np.ascontiguousarray(value if is_table else value.T)
    folder = tmp_path / 'hf'
    folder.mkdir()
    save_file(theirs, folder / 'model.safetensors')
    sizes = {'hidden_size': 24, 'd_kv': 8, 'd_ff': 40}
    vision = {**sizes, 'num_hidden_layers': 2, 'num_attention_heads': 3}
    text = {**sizes, 'num_layers': 2, 'num_heads': 3}
    both = {'model_type': 'pix2struct', 'vision_config': vision, 'text_config': text}
    (folder / 'config.json').write_text(json.dumps(both))
    path = write_arrays(tmp_path / 't5x', arrays)
    _, family = open_checkpoint(path)
    config = NetworkConfig(VitConfig((8, 12), 4, **family.vision), TextConfig(50, **family.text))
    (params, plan), (expected, other) = (
        imported(each, 'model', config) for each in (path, str(folder))
    )
    assert not plan.new and not plan.unused and not other.new and not other.unused
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    np.testing.assert_array_equal(
        params['vision']['patch_embed']['kernel'][1, 2, 0],
        arrays[f'{PATCHES}/patch_projection/kernel'][(1 * 4 + 2) * 3],
    )
