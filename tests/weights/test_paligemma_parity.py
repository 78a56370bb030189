"""PaliGemma 1 and 2 of Hugging Face: states, logits, losses and greedy answers are the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.model import VisionTextModel
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig

from parity import assert_close, imported, randomised, saved

torch = pytest.importorskip('torch', reason='needs the extra parity')
transformers = pytest.importorskip('transformers', reason='needs the extra parity')

pytestmark = pytest.mark.parity

VISION = VitConfig((16, 16), 8, width=24, num_layers=2, num_heads=3, mlp_dim=40)
GEMMA = {
    'head_dim': 10,
    'mlp_dim': 36,
    'scaled_attention': True,
    'positions': 'rope',
    'norm': 'rms_norm_unit_offset',
    'scale_embedding': True,
    'tied_embedding': True,
}
CAPS = {'attention_softcap': 4.0, 'logit_softcap': 3.0}
FLAVOURS = {
    # name: (options of the reference, of ours)
    'paligemma': ({'model_type': 'gemma', 'num_key_value_heads': 1}, {'num_kv_heads': 1}),
    'paligemma2': (
        {
            'model_type': 'gemma2',
            'num_key_value_heads': 2,
            'query_pre_attn_scalar': 7,
            'attn_logit_softcapping': 4.0,
            'final_logit_softcapping': 3.0,
            'sliding_window': 3,
        },
        {'num_kv_heads': 2, 'post_norms': True, 'attention_window': 3, **CAPS},
    ),
}
IMAGE = 59  # the reference's stand-in for a visual token
PIXELS = np.random.default_rng(2).integers(0, 256, (20, 1, 16, 16, 3), np.uint8)
PROMPTS = np.random.default_rng(0).integers(3, 58, (20, 6)).astype(np.int32)
PROMPTS[:, 0] = 2  # BOS
ANSWERS = np.random.default_rng(1).integers(3, 58, (20, 5)).astype(np.int32)
ANSWERS[:, -1] = 1  # EOS


def reference(flavour: str):
    vision = {
        'model_type': 'siglip_vision_model',
        'hidden_size': 24,
        'num_hidden_layers': 2,
        'num_attention_heads': 3,
        'intermediate_size': 40,
        'image_size': 16,
        'patch_size': 8,
        'projection_dim': 20,
        'vision_use_head': False,
    }
    text = {
        'vocab_size': 64,
        'hidden_size': 20,
        'num_hidden_layers': 2,
        'num_attention_heads': 4,
        'head_dim': 10,
        'intermediate_size': 36,
        **FLAVOURS[flavour][0],
    }
    config = transformers.PaliGemmaConfig(
        vision_config=vision, text_config=text, projection_dim=20, image_token_index=IMAGE
    )
    model = transformers.PaliGemmaForConditionalGeneration._from_config(
        config, attn_implementation='eager'
    )
    return randomised(model)


def their_inputs(answers: np.ndarray) -> dict:
    images = np.full((20, 4), IMAGE, np.int32)
    row = np.concatenate([images, PROMPTS, answers], axis=1)
    pixels = torch.from_numpy(PIXELS[:, 0].astype(np.float32) / 127.5 - 1).permute(0, 3, 1, 2)
    answer = np.arange(row.shape[1]) >= 4 + PROMPTS.shape[1]
    return {
        'input_ids': torch.from_numpy(row).long(),
        'pixel_values': pixels,
        'attention_mask': torch.ones(row.shape, dtype=torch.long),
        'token_type_ids': torch.from_numpy(np.broadcast_to(answer, row.shape).astype(np.int64)),
    }


def our_batch(length: int) -> dict:
    """Rows of BOS, prompt and answer; the last token of the row is never read."""
    row = np.zeros((20, length + 1), np.int32)
    row[:, :6] = PROMPTS
    answers = min(5, length - 5)
    row[:, 6 : 6 + answers] = ANSWERS[:, :answers]
    weights = np.zeros((20, length), np.float32)
    weights[:, 5:10] = 1
    return {
        'images': jnp.asarray(PIXELS),
        'image_mask': jnp.ones((20, 1), bool),
        'decoder_input_tokens': jnp.asarray(row[:, :-1]),
        'decoder_target_tokens': jnp.asarray(row[:, 1:]),
        'decoder_loss_weights': jnp.asarray(weights),
        'decoder_prefix_mask': jnp.broadcast_to(jnp.arange(length) < 6, (20, length)),
        'decoder_segment_ids': jnp.ones((20, length), jnp.int32),
    }


@pytest.mark.parametrize('flavour', FLAVOURS)
def test_states_logits_loss_and_greedy_answers(tmp_path, flavour):
    theirs = reference(flavour)
    text = TextConfig(64, 20, 2, num_heads=4, **GEMMA, **FLAVOURS[flavour][1])
    config = NetworkConfig(VISION, text, 'prefix_lm')
    params, plan = imported(saved(theirs, tmp_path), 'model', config)
    assert not plan.new and not plan.unused
    model = VisionTextModel(VisionTextNetwork(config))
    inputs = their_inputs(ANSWERS)
    labels = torch.where(inputs['token_type_ids'] == 1, inputs['input_ids'], -100)
    with torch.no_grad():
        output = theirs(**inputs, labels=labels, output_hidden_states=True)
        generated = theirs.generate(
            **their_inputs(np.zeros((20, 0), np.int32)),
            max_new_tokens=32,
            do_sample=False,
            suppress_tokens=[0],  # padding is never an answer here
            eos_token_id=1,
            pad_token_id=0,
        )
    batch = our_batch(11)
    batch['decoder_loss_weights'] = batch['decoder_loss_weights'].at[:, 10].set(0)
    logits, sown = model.module.apply(
        {'params': params}, batch, capture_intermediates=True, mutable=['intermediates']
    )
    assert_close(logits, output.logits[:, 4:])
    for i, states in enumerate(output.hidden_states[1:-1]):
        assert_close(sown['intermediates']['decoder'][f'layers_{i}']['__call__'][0][0], states)
    loss, _ = model.loss_fn(params, batch, None)
    np.testing.assert_allclose(loss, output.loss, rtol=1e-5)
    predict = jax.jit(functools.partial(model.predict_batch, max_decode_length=32))
    ours = np.asarray(predict(params, our_batch(6 + 32)))
    new = generated[:, 10:].numpy()
    np.testing.assert_array_equal(ours, np.pad(new, ((0, 0), (0, 32 - new.shape[1]))))
    assert len(np.unique(new)) > 10
