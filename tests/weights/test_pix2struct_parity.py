"""Pix2Struct of Hugging Face: states, logits, losses and greedy answers are the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.model import VisionTextModel
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.state import flat_names
from vlm.weights.hugging_face_export import export_hugging_face

from miniature import PIX2STRUCT
from parity import assert_close, imported, randomised, saved

torch = pytest.importorskip('torch', reason='needs the extra parity')
transformers = pytest.importorskip('transformers', reason='needs the extra parity')

pytestmark = pytest.mark.parity

VISION = VitConfig(
    (8, 12),
    4,
    width=24,
    num_layers=2,
    num_heads=3,
    mlp_dim=40,
    **PIX2STRUCT,
)
TEXT = TextConfig(50, 24, 2, num_heads=3, head_dim=8, mlp_dim=36)
PIXELS = np.random.default_rng(2).integers(0, 256, (20, 1, 8, 12, 3), np.uint8)


def reference():
    text = {'vocab_size': 50, 'hidden_size': 24, 'd_kv': 8, 'd_ff': 36, 'num_layers': 2}
    vision = {
        'hidden_size': 24,
        'patch_embed_hidden_size': 48,
        'd_ff': 40,
        'd_kv': 8,
        'num_hidden_layers': 2,
        'num_attention_heads': 3,
        'seq_len': 16,
    }
    config = transformers.Pix2StructConfig(
        text_config={**text, 'num_heads': 3, 'is_decoder': True}, vision_config=vision
    )
    return randomised(transformers.Pix2StructForConditionalGeneration(config))


def flattened_patches():
    """Row and column from 1, then the pixels of the patch, of standardised pictures."""
    images = PIXELS[:, 0].astype(np.float64)
    mean, std = images.mean((1, 2, 3), keepdims=True), images.std((1, 2, 3), keepdims=True)
    images = (images - mean) / std
    patches = images.reshape(20, 2, 4, 3, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(20, 6, 48)
    places = np.array([[row, column] for row in (1, 2) for column in (1, 2, 3)])
    places = np.broadcast_to(places, (20, 6, 2))
    return torch.from_numpy(np.concatenate([places, patches], axis=-1).astype(np.float32))


def test_states_logits_loss_and_greedy_answers(tmp_path):
    theirs = reference()
    config = NetworkConfig(VISION, TEXT)
    params, plan = imported(saved(theirs, tmp_path), 'model', config)
    assert not plan.new and not plan.unused
    model = VisionTextModel(VisionTextNetwork(config))
    answers = np.random.default_rng(1).integers(2, 50, (20, 7)).astype(np.int32)
    shifted = np.pad(answers, ((0, 0), (1, 0)))[:, :-1]
    patches = flattened_patches()
    with torch.no_grad():
        encoder = theirs.encoder(patches, output_hidden_states=True)
        output = theirs(
            patches,
            decoder_input_ids=torch.from_numpy(shifted).long(),
            labels=torch.from_numpy(answers).long(),
            output_hidden_states=True,
        )
        generated = theirs.generate(
            flattened_patches=patches,
            max_new_tokens=32,
            do_sample=False,
            suppress_tokens=[0],  # padding is never an answer here
            decoder_start_token_id=0,
            eos_token_id=1,
            pad_token_id=0,
        )
    batch = {
        'images': jnp.asarray(PIXELS),
        'image_mask': jnp.ones((20, 1), bool),
        'decoder_input_tokens': jnp.asarray(shifted),
        'decoder_target_tokens': jnp.asarray(answers),
        'decoder_loss_weights': jnp.ones((20, 7)),
        'decoder_prefix_mask': jnp.broadcast_to(jnp.arange(7) < 1, (20, 7)),
        'decoder_segment_ids': jnp.ones((20, 7), jnp.int32),
    }
    logits, sown = model.module.apply(
        {'params': params}, batch, capture_intermediates=True, mutable=['intermediates']
    )
    sown = sown['intermediates']
    for i, states in enumerate(encoder.hidden_states[1:]):
        assert_close(sown['vision'][f'layers_{i}']['__call__'][0][0], states)
    assert_close(sown['vision']['__call__'][0], encoder.last_hidden_state)
    assert_close(sown['decoder']['layers_0']['__call__'][-1][0], output.decoder_hidden_states[1])
    assert_close(logits, output.logits)
    loss, _ = model.loss_fn(params, batch, None)
    np.testing.assert_allclose(loss, output.loss, rtol=1e-5)
    row = {name: batch[name] for name in ('images', 'image_mask')}
    row |= {
        'decoder_input_tokens': jnp.zeros((20, 33), jnp.int32),
        'decoder_prefix_mask': jnp.broadcast_to(jnp.arange(33) < 1, (20, 33)),
        'decoder_segment_ids': jnp.ones((20, 33), jnp.int32),
    }
    predict = jax.jit(functools.partial(model.predict_batch, max_decode_length=32))
    new = generated[:, 1:].numpy()
    wanted = np.pad(new, ((0, 0), (0, 32 - new.shape[1])))
    np.testing.assert_array_equal(np.asarray(predict(params, row)), wanted)
    assert len(np.unique(wanted)) > 10


def test_the_reference_reads_what_is_exported(tmp_path):
    theirs = reference()
    config = NetworkConfig(VISION, TEXT, connector=False)
    params, _ = imported(saved(theirs, tmp_path / 'theirs'), 'model', config)
    (folder,) = export_hugging_face(flat_names(params), config, tmp_path / 'ours')
    again = transformers.Pix2StructForConditionalGeneration.from_pretrained(folder).eval()
    stored = theirs.state_dict()
    others = [name for name, x in again.state_dict().items() if not torch.equal(x, stored[name])]
    # Tables of the rows and columns that there are.
    assert sorted(others) == [
        f'encoder.embeddings.{side}_embedder.weight' for side in ('column', 'row')
    ]
    shifted = torch.from_numpy(np.random.default_rng(1).integers(2, 50, (20, 7)))
    patches = flattened_patches()
    with torch.no_grad():
        logits, wanted = (
            model(patches, decoder_input_ids=shifted).logits for model in (again, theirs)
        )
    # Not to the bit: kernels round by how memory is laid out.
    np.testing.assert_allclose(logits, wanted, rtol=0, atol=1e-5)
