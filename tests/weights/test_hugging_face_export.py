"""Folders written for `transformers`: read back bit for bit, and by the reference itself."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import Vit, VitConfig
from vlm.runner.state import nested
from vlm.weights.hugging_face_export import export_hugging_face, unrolled

from miniature import GEMMA, PIX2STRUCT
from parity import abstract_params, assert_close, imported

VISION = VitConfig((16, 16), 8, width=24, num_layers=2, num_heads=3, mlp_dim=40)
SECOND = {
    'post_norms': True,
    'attention_window': 2,
    'attention_softcap': 4.0,
    'logit_softcap': 3.0,
}
GEMMA_2 = {**GEMMA, 'num_kv_heads': 2, **SECOND}
SIZES = {'num_heads': 4, 'mlp_dim': 36}
NETWORKS = {
    'paligemma': NetworkConfig(
        VISION, TextConfig(60, 20, 2, head_dim=10, **SIZES, **GEMMA), 'prefix_lm'
    ),
    'paligemma2': NetworkConfig(
        dataclasses.replace(VISION, scan_layers=True),
        TextConfig(60, 20, 2, head_dim=10, scan_layers=True, **SIZES, **GEMMA_2),
        'prefix_lm',
    ),
    't5': NetworkConfig(VISION, TextConfig(60, 20, 3, 2, head_dim=6, **SIZES), 'fusion_encoder'),
    't5_1_0': NetworkConfig(
        VISION,
        TextConfig(
            60,
            20,
            2,
            2,
            head_dim=6,
            activation='relu',
            gated_mlp=False,
            tied_embedding=True,
            **SIZES,
        ),
        'fusion_encoder',
    ),
    'vit': NetworkConfig(
        dataclasses.replace(VISION, num_registers=1, activation='gelu_exact'),
        TextConfig(60, 20, 1, 1, head_dim=6, **SIZES),
        'fusion_encoder',
    ),
    'pix2struct': NetworkConfig(
        dataclasses.replace(
            VISION,
            image_size=(16, 24),
            **PIX2STRUCT,
        ),
        TextConfig(60, 24, 2, head_dim=6, **SIZES),
        connector=False,
    ),
}


def random_flat(config: NetworkConfig) -> dict:
    rng = np.random.default_rng(0)
    return {
        jax.tree_util.keystr(at, simple=True, separator='/'): jnp.asarray(
            rng.normal(0, 0.3, leaf.shape), jnp.float32
        )
        for at, leaf in jax.tree_util.tree_leaves_with_path(abstract_params(config))
    }


@pytest.mark.parametrize('name', NETWORKS)
def test_exported_and_imported_again_bit_for_bit(tmp_path, name):
    config = NETWORKS[name]
    params = random_flat(config)
    written = export_hugging_face(unrolled(params), config, tmp_path / 'out')
    parts = ['model'] if len(written) == 1 else ['vision', 'text']
    compared = 0
    for path, part in zip(written, parts, strict=True):
        loaded, plan = imported(str(path), part, config)
        assert not plan.new and not plan.unused
        for at, leaf in jax.tree_util.tree_leaves_with_path(loaded):
            key = jax.tree_util.keystr(at, simple=True, separator='/')
            if key in plan.restored:
                np.testing.assert_array_equal(leaf, params[key])
                compared += 1
    # All but the connector, which neither a tower nor a T5 has; Pix2Struct has none.
    assert compared == len(params) - (0 if parts == ['model'] else 2)


def test_a_network_that_transformers_lacks_is_named(tmp_path):
    config = dataclasses.replace(
        NETWORKS['t5'], vision=dataclasses.replace(VISION, num_registers=2)
    )
    with pytest.raises(UserError, match='SigLIP like this network: .*num_registers = 2, not 0'):
        export_hugging_face(unrolled(random_flat(config)), config, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_pix2struct_has_no_connector(tmp_path):
    config = dataclasses.replace(NETWORKS['pix2struct'], connector=True)
    with pytest.raises(UserError, match='no place for the parameter connector/projection'):
        export_hugging_face(unrolled(random_flat(config)), config, tmp_path / 'out')


@pytest.mark.parity
def test_the_reference_reads_a_vit(tmp_path):
    torch = pytest.importorskip('torch', reason='needs the extra parity')
    transformers = pytest.importorskip('transformers', reason='needs the extra parity')
    config = NETWORKS['vit']
    flat = random_flat(config)
    folder = export_hugging_face(unrolled(flat), config, tmp_path / 'out')[0]
    model = transformers.ViTModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation='eager'
    )
    images = np.random.default_rng(2).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
    with torch.no_grad():
        theirs = model(torch.from_numpy(images).permute(0, 3, 1, 2)).last_hidden_state[:, 1:]
    params = nested(flat)['vision']
    assert_close(Vit(config.vision).apply({'params': params}, jnp.asarray(images)), theirs)


@pytest.mark.parity
@pytest.mark.parametrize('name', ['paligemma2', 't5'])
def test_the_reference_reads_it(tmp_path, name):
    torch = pytest.importorskip('torch', reason='needs the extra parity')
    transformers = pytest.importorskip('transformers', reason='needs the extra parity')
    config = NETWORKS[name]
    flat = random_flat(config)
    written = export_hugging_face(unrolled(flat), config, tmp_path / 'out')
    params = nested(flat)
    tokens = np.random.default_rng(1).integers(3, 50, (2, 5)).astype(np.int32)
    pixels = np.random.default_rng(2).integers(0, 256, (2, 1, 16, 16, 3), np.uint8)
    batch = {
        'images': jnp.asarray(pixels),
        'image_mask': jnp.full((2, 1), name != 't5'),
        'decoder_input_tokens': jnp.asarray(tokens),
        'encoder_input_tokens': jnp.asarray(tokens),
    }
    if name == 't5':
        model = transformers.T5ForConditionalGeneration.from_pretrained(written[1])
        ids = torch.from_numpy(tokens).long()
        with torch.no_grad():
            theirs = model(input_ids=ids, decoder_input_ids=ids).logits
    else:
        kind = transformers.PaliGemmaForConditionalGeneration
        model = kind.from_pretrained(written[0], attn_implementation='eager')
        image = json.loads((written[0] / 'config.json').read_text())['image_token_index']
        row = np.concatenate([np.full((2, 4), image), tokens], axis=1)
        inputs = torch.from_numpy(pixels[:, 0].astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
        with torch.no_grad():
            theirs = model(
                input_ids=torch.from_numpy(row).long(),
                pixel_values=inputs,
                token_type_ids=torch.from_numpy(np.zeros_like(row)).long(),
                attention_mask=torch.ones(row.shape, dtype=torch.long),
            ).logits[:, 4:]
        batch['decoder_prefix_mask'] = jnp.ones((2, 5), bool)
    assert_close(VisionTextNetwork(config).apply({'params': params}, batch), theirs)
