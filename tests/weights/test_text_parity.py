"""T5's relatives of Hugging Face: hidden states, logits, losses and greedy answers are the same."""

import dataclasses
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

VISION = VitConfig((8, 8), 8, width=16, num_layers=1, num_heads=1, mlp_dim=16)
SIZES = {
    'vocab_size': 60,
    'd_model': 24,
    'd_kv': 6,
    'd_ff': 40,
    'num_layers': 2,
    'num_decoder_layers': 3,
    'num_heads': 3,
}
TEXT = TextConfig(60, 24, 3, 2, num_heads=3, head_dim=6, mlp_dim=40)
FLAVOURS = {
    # name: (options of the reference, options of ours, an output layer of its own)
    't5_1_0': (
        {'relative_attention_max_distance': 20, 'relative_attention_num_buckets': 8},
        {
            'activation': 'relu',
            'gated_mlp': False,
            'tied_embedding': True,
            'relative_max_distance': 20,
            'relative_buckets': 8,
        },
        False,
    ),
    't5_1_1': ({'feed_forward_proj': 'gated-gelu', 'tie_word_embeddings': False}, {}, True),
    'mt5': ({'feed_forward_proj': 'gated-gelu'}, {}, True),
    'ul2': (
        {'feed_forward_proj': 'gated-silu', 'tie_word_embeddings': False},
        {'activation': 'silu'},
        True,
    ),
}
PROMPTS = np.random.default_rng(0).integers(3, 60, (20, 30)).astype(np.int32)
for row, cut in enumerate(range(11, 31)):
    PROMPTS[row, cut:] = 0


def reference(flavour: str):
    """A model of the reference's in the form of one flavour."""
    options, _, untied = FLAVOURS[flavour]
    kind = 'MT5' if flavour == 'mt5' else 'T5'
    config = getattr(transformers, f'{kind}Config')(**SIZES, **options)
    model = getattr(transformers, f'{kind}ForConditionalGeneration')(config)
    if untied:
        model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    return randomised(model)


def network(flavour: str, path: str, **options) -> tuple[VisionTextModel, dict]:
    """Ours with the weights of a checkpoint; its vision encoder is never looked at."""
    text = dataclasses.replace(TEXT, **{**FLAVOURS[flavour][1], **options})
    config = NetworkConfig(VISION, text, 'fusion_encoder')
    params, _ = imported(path, 'text', config)
    params = jax.tree.map(
        lambda leaf: leaf if isinstance(leaf, jax.Array) else jnp.zeros(leaf.shape, leaf.dtype),
        params,
    )
    return VisionTextModel(VisionTextNetwork(config)), params


def batch_of(answers: np.ndarray) -> dict:
    """Prompts without a picture, and answers shifted as T5 does."""
    shifted = np.pad(answers, ((0, 0), (1, 0)))[:, :-1]
    return {
        'images': jnp.zeros((20, 1, 8, 8, 3), jnp.uint8),
        'image_mask': jnp.zeros((20, 1), bool),
        'encoder_input_tokens': jnp.asarray(PROMPTS),
        'decoder_input_tokens': jnp.asarray(shifted),
        'decoder_target_tokens': jnp.asarray(answers),
        'decoder_loss_weights': jnp.asarray(answers != 0, jnp.float32),
    }


def their_outputs(model, answers: np.ndarray):
    labels = torch.from_numpy(np.where(answers == 0, -100, answers)).long()
    shifted = np.pad(answers, ((0, 0), (1, 0)))[:, :-1]
    return model(
        input_ids=torch.from_numpy(PROMPTS).long(),
        attention_mask=torch.from_numpy(PROMPTS != 0),
        decoder_input_ids=torch.from_numpy(shifted).long(),
        labels=labels,
        output_hidden_states=True,
    )


@pytest.mark.parametrize('flavour', FLAVOURS)
def test_states_logits_loss_and_greedy_answers(tmp_path, flavour):
    theirs = reference(flavour)
    model, params = network(flavour, saved(theirs, tmp_path))
    answers = np.random.default_rng(1).integers(2, 60, (20, 9)).astype(np.int32)
    answers[::2, 6:] = 0
    batch = batch_of(answers)
    with torch.no_grad():
        output = their_outputs(theirs, answers)
        generated = theirs.generate(
            torch.from_numpy(PROMPTS).long(),
            attention_mask=torch.from_numpy(PROMPTS != 0),
            max_new_tokens=32,
            do_sample=False,
            suppress_tokens=[0],  # padding is never an answer here
            decoder_start_token_id=0,
            use_cache=False,  # theirs counts the encoder's layers where these differ
        )
    logits, sown = model.module.apply(
        {'params': params}, batch, capture_intermediates=True, mutable=['intermediates']
    )
    sown = sown['intermediates']
    assert_close(logits, output.logits)
    real = (PROMPTS != 0)[..., None]
    prompts = slice(VISION.num_tokens, None)
    for i, states in enumerate(output.encoder_hidden_states[1:-1]):
        block = sown['encoder'][f'layers_{i}']['__call__'][0][0]
        assert_close(block[:, prompts] * real, states * torch.from_numpy(real))
    encoded = sown['encoder']['__call__'][0][:, prompts]
    assert_close(encoded * real, output.encoder_last_hidden_state * torch.from_numpy(real))
    for i, states in enumerate(output.decoder_hidden_states[1:-1]):
        # The first call projects the memory.
        assert_close(sown['decoder'][f'layers_{i}']['__call__'][-1][0], states)
    loss, _ = model.loss_fn(params, batch, None)
    np.testing.assert_allclose(loss, output.loss, rtol=1e-5)
    predict = jax.jit(functools.partial(model.predict_batch, max_decode_length=32))
    ours = np.asarray(predict(params, batch))
    wanted = np.pad(generated[:, 1:].numpy(), ((0, 0), (0, 33 - generated.shape[1])))
    np.testing.assert_array_equal(ours, wanted)
    assert len(np.unique(wanted)) > 3  # not one token again and again


def test_a_tied_checkpoint_gives_an_untied_network_the_same_logits(tmp_path):
    theirs = reference('t5_1_0')
    path = saved(theirs, tmp_path)
    answers = np.full((20, 5), 7, np.int32)
    with torch.no_grad():
        wanted = their_outputs(theirs, answers).logits
    model, params = network('t5_1_0', path, tied_embedding=False, scan_layers=True)
    assert_close(model.module.apply({'params': params}, batch_of(answers)), wanted)


def test_bfloat16_grown_vocabulary_and_no_encoder(tmp_path):
    theirs = reference('t5_1_1')
    path = saved(theirs.bfloat16(), tmp_path)
    text = dataclasses.replace(TEXT, vocab_size=128, num_encoder_layers=0)
    config = NetworkConfig(VISION, text, 'decoder_prefix')
    params, plan = imported(path, 'text', config)
    table = np.asarray(params['token_embedder']['embedding'])
    np.testing.assert_array_equal(table[:60], theirs.shared.weight.float().detach())
    assert table.dtype == np.float32
    assert 0.017 < table[60:].std() < 0.023 and abs(table[60:].mean()) < 0.003
    again, _ = imported(path, 'text', config)
    np.testing.assert_array_equal(again['token_embedder']['embedding'], table)
    kernel = np.asarray(params['decoder']['logits_dense']['kernel'])
    np.testing.assert_array_equal(kernel[:, :60].T, theirs.lm_head.weight.float().detach())
    assert not np.array_equal(kernel[:, 60:].T, table[60:])
    assert all(name.startswith('encoder.') for name in plan.unused) and plan.unused
