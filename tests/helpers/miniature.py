"""Batches and parameters for networks that run in microseconds."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from vlm.data.rows import PLAIN, PromptForm, make_row

# The blocks of Gemma, as options of TextConfig.
GEMMA = {
    'num_kv_heads': 1,
    'scaled_attention': True,
    'positions': 'rope',
    'norm': 'rms_norm_unit_offset',
    'scale_embedding': True,
    'tied_embedding': True,
}

# The blocks of Pix2Struct's vision encoder, as options of VitConfig.
PIX2STRUCT = {
    'gated_mlp': True,
    'norm': 'rms_norm',
    'qkv_bias': False,
    'use_bias': False,
    'scaled_attention': False,
    'positions': 'rows_columns',
    'standardize_pixels': True,
}

ROW_FEATURES = ('input_tokens', 'target_tokens', 'loss_weights', 'prefix_mask', 'segment_ids')


def make_batch(
    wiring: str,
    rows,
    *,
    prompt: int,
    answer: int,
    images: int = 1,
    form: PromptForm = PLAIN,
) -> dict[str, jax.Array]:
    """A batch of rows, each a list of (prompt ids, answer ids), and of random 8 x 8 images.

    `prompt` and `answer` are lengths in tokens. Every image of a batch is different.
    """
    length = answer if wiring == 'fusion_encoder' else prompt + answer
    lengths = {f'decoder_{name}': length for name in ROW_FEATURES}
    lengths['encoder_input_tokens'] = prompt
    joined = [
        [np.array(sum(part, []), np.int32) for part in zip(*row, strict=True)] for row in rows
    ]
    made = [make_row(wiring, inputs, targets, lengths, form) for inputs, targets in joined]
    pixels = np.random.default_rng(7).integers(0, 256, (len(rows), images, 8, 8, 3), np.uint8)
    return {
        'images': jnp.asarray(pixels),
        'image_mask': jnp.ones((len(rows), images), bool),
        **{name: jnp.asarray(np.stack([row[name] for row in made])) for name in made[0]},
    }


def random_params(module, *args, method=None, spread: float = 0.5, seed: int = 0) -> dict:
    """Parameters without compiling an initialiser, every one of them different and none zero.

    Freshly initialised biases are 0 and scales 1, with which half of a formula goes unseen.
    """
    init = functools.partial(module.init, method=method)
    shapes = jax.eval_shape(init, jax.random.key(0), *args)['params']
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, spread, s.shape), s.dtype), shapes)
