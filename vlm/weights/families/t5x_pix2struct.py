"""Pix2Struct (2210.03347) as T5X wrote it, on Flaxformer's modules: decoder_prefix, empty prompts.

The same network as `hf_pix2struct`, which says what is made of its connector and positions.
"""

from typing import Any

from vlm.weights.families.hf_pix2struct import identity_connector, text_settings, vision_settings
from vlm.weights.families.t5x_t5 import DECODER_ROWS, attention_rows, count_layers, mlp_rows
from vlm.weights.source import Source
from vlm.weights.table import Family, Row

EMBEDDER = 'encoder/token_embedder'
PATCHES = f'{EMBEDDER}/patch_projection/kernel'
LAYER = 'encoder/layers_{i}'
ROWS = [
    # ours                                     theirs
    Row('vision/patch_embed/bias', f'{EMBEDDER}/patch_projection/bias'),
    Row('vision/row_embedding', f'{EMBEDDER}/embedders_0/pos_embedding', lambda x: x[1:]),
    Row('vision/column_embedding', f'{EMBEDDER}/embedders_1/pos_embedding', lambda x: x[1:]),
    *attention_rows(
        'vision/layers_{i}/attention', f'{LAYER}/attention', f'{LAYER}/pre_attention_layer_norm'
    ),
    *mlp_rows('vision/layers_{i}', LAYER),
    Row('vision/norm/scale', 'encoder/encoder_norm/scale'),
    Row('token_embedder/embedding', 'decoder/token_embedder/embedding'),
    *DECODER_ROWS,
    Row('decoder/logits_dense/kernel', 'decoder/logits_dense/kernel'),
]


def family(source: Source) -> Family:
    """How a checkpoint is read; there is no configuration beside it, so shapes have to tell."""
    shapes = source.shapes
    pixels, width = shapes[PATCHES]
    side = round((pixels / 3) ** 0.5)
    kernel = Row('vision/patch_embed/kernel', PATCHES, lambda w: w.reshape(side, side, 3, -1))
    return Family(
        title='T5X Pix2Struct',
        rows=[kernel, *identity_connector(width), *ROWS],
        vision=vision_settings(_vision_sizes(source, width)),
        text=text_settings(_text_sizes(source, width)),
    )


def _vision_sizes(source: Source, width: int) -> dict[str, Any]:
    # Both stacks have the same number of heads; only the decoder's table tells it.
    heads, _ = source.shapes['decoder/relpos_bias/rel_embedding']
    return {
        'hidden_size': width,
        'num_hidden_layers': count_layers('encoder', source.shapes),
        'num_attention_heads': heads,
        'd_ff': source.shapes['encoder/layers_0/mlp/wo/kernel'][0],
    }


def _text_sizes(source: Source, width: int) -> dict[str, Any]:
    heads, buckets = source.shapes['decoder/relpos_bias/rel_embedding']
    return {
        'hidden_size': width,
        'num_layers': count_layers('decoder', source.shapes),
        'num_heads': heads,
        'd_kv': source.shapes['decoder/layers_0/self_attention/query/kernel'][1] // heads,
        'd_ff': source.shapes['decoder/layers_0/mlp/wo/kernel'][0],
        'relative_attention_num_buckets': buckets,
    }
