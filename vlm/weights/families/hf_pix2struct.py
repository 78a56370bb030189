"""Pix2Struct (2210.03347) of Hugging Face, for the wiring decoder_prefix with empty prompts.

The decoder attends to the encoder's output itself, so the connector becomes the identity. The
reference numbers rows and columns from 1 (0 is padding); pictures of any shape become as many
patches as fit, where our grid is fixed.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from vlm.weights.families.hf_common import activation
from vlm.weights.source import Source
from vlm.weights.table import Family, Row, linear

LAYER = 'encoder.encoder.layer.{i}.'
VISION = [
    # ours                                     theirs
    Row('vision/patch_embed/bias', 'encoder.embeddings.patch_projection.bias'),
    Row('vision/row_embedding', 'encoder.embeddings.row_embedder.weight', lambda x: x[1:]),
    Row('vision/column_embedding', 'encoder.embeddings.column_embedder.weight', lambda x: x[1:]),
    Row('vision/layers_{i}/attention_norm/scale', f'{LAYER}pre_attention_layer_norm.weight'),
    Row('vision/layers_{i}/attention/query/kernel', f'{LAYER}attention.query.weight', linear),
    Row('vision/layers_{i}/attention/key/kernel', f'{LAYER}attention.key.weight', linear),
    Row('vision/layers_{i}/attention/value/kernel', f'{LAYER}attention.value.weight', linear),
    Row('vision/layers_{i}/attention/out/kernel', f'{LAYER}attention.output.weight', linear),
    Row('vision/layers_{i}/mlp_norm/scale', f'{LAYER}pre_mlp_layer_norm.weight'),
    Row('vision/layers_{i}/mlp/wi/kernel', f'{LAYER}mlp.wi_0.weight', linear),
    Row('vision/layers_{i}/mlp/wi_gate/kernel', f'{LAYER}mlp.wi_1.weight', linear),
    Row('vision/layers_{i}/mlp/wo/kernel', f'{LAYER}mlp.wo.weight', linear),
    Row('vision/norm/scale', 'encoder.layernorm.weight'),
]
OURS, BLOCK = 'decoder/layers_{i}/', 'decoder.layer.{i}.'
KINDS = [
    ('self_attention', 'self_attention'),
    ('cross_attention', 'encoder_decoder_attention'),
]
PARTS = [('query', 'query'), ('key', 'key'), ('value', 'value'), ('out', 'output')]
BIAS = 'decoder.layer.0.self_attention.attention.relative_attention_bias.weight'
TEXT = [
    Row('token_embedder/embedding', 'decoder.embed_tokens.weight'),
    Row('decoder/relpos_bias/rel_embedding', BIAS, linear),
    *[
        Row(f'{OURS}{ours}/{part}/kernel', f'{BLOCK}{theirs}.attention.{other}.weight', linear)
        for ours, theirs in KINDS
        for part, other in PARTS
    ],
    *[
        Row(f'{OURS}{ours}_norm/scale', f'{BLOCK}{theirs}.layer_norm.weight')
        for ours, theirs in KINDS
    ],
    Row(f'{OURS}mlp_norm/scale', f'{BLOCK}mlp.layer_norm.weight'),
    Row(f'{OURS}mlp/wi/kernel', f'{BLOCK}mlp.DenseReluDense.wi_0.weight', linear),
    Row(f'{OURS}mlp/wi_gate/kernel', f'{BLOCK}mlp.DenseReluDense.wi_1.weight', linear),
    Row(f'{OURS}mlp/wo/kernel', f'{BLOCK}mlp.DenseReluDense.wo.weight', linear),
    Row('decoder/norm/scale', 'decoder.final_layer_norm.weight'),
    Row('decoder/logits_dense/kernel', 'decoder.lm_head.weight', linear),
]


def family(config: Mapping[str, Any], source: Source) -> Family:
    """How a checkpoint of this family is read."""
    vision, text = config['vision_config'], config['text_config']
    width = text.get('hidden_size', 768)
    weight = 'encoder.embeddings.patch_projection.weight'
    # Patches are rows of [height, width, channel]; a file does not say how they are shaped.
    side = round((source.shapes[weight][1] / 3) ** 0.5)
    rows = [
        Row('vision/patch_embed/kernel', weight, lambda w: w.T.reshape(side, side, 3, -1)),
        *identity_connector(width),
    ]
    return Family(
        title='Hugging Face Pix2Struct',
        rows=[*rows, *VISION, *TEXT],
        vision=vision_settings(vision),
        text=text_settings(text),
        unused=[r'lm_head\.weight'],
    )


def identity_connector(width: int) -> list[Row]:
    """The connector, where the decoder attends to the encoder's output itself."""
    return [
        Row('connector/projection/kernel', (), lambda: np.eye(width, dtype=np.float32)),
        Row('connector/projection/bias', (), lambda: np.zeros(width, np.float32)),
    ]


def vision_settings(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What `VitConfig` must be for a `vision_config`; files leave out what is the base model's."""
    return {
        'width': sizes.get('hidden_size', 768),
        'num_layers': sizes.get('num_hidden_layers', 12),
        'num_heads': sizes.get('num_attention_heads', 12),
        'mlp_dim': sizes.get('d_ff', 2048),
        'activation': activation(sizes.get('dense_act_fn', 'gelu_new')),
        'gated_mlp': True,
        'norm': 'rms_norm',
        'norm_epsilon': sizes.get('layer_norm_eps', 1e-6),
        'qkv_bias': False,
        'use_bias': False,
        'scaled_attention': False,
        'positions': 'rows_columns',
        'standardize_pixels': True,
        'pre_norm': False,
        'parallel_blocks': False,
        'qk_norm': False,
        'num_registers': 0,
    }


def text_settings(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What `TextConfig` must be for a `text_config`."""
    return {
        'width': sizes.get('hidden_size', 768),
        'num_layers': sizes.get('num_layers', 12),
        'num_heads': sizes.get('num_heads', 12),
        'num_kv_heads': None,
        'head_dim': sizes.get('d_kv', 64),
        'scaled_attention': False,
        'mlp_dim': sizes.get('d_ff', 2048),
        'activation': activation(sizes.get('dense_act_fn', 'gelu_new')),
        'gated_mlp': True,
        'positions': 'relative',
        'norm': 'rms_norm',
        'norm_epsilon': sizes.get('layer_norm_epsilon', 1e-6),
        'scale_embedding': False,
        'tied_embedding': False,
        'relative_buckets': sizes.get('relative_attention_num_buckets', 32),
        'relative_max_distance': sizes.get('relative_attention_max_distance', 128),
        'post_norms': False,
        'attention_window': None,
        'attention_softcap': None,
        'logit_softcap': None,
    }
