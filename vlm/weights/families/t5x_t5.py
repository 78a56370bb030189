"""T5 1.0 and 1.1, mT5 and UL2 as T5X's example network names them."""

import re
from collections.abc import Iterable
from typing import Any

from vlm.weights.source import Source
from vlm.weights.table import Family, Row, times


def _attention(ours: str, theirs: str, norm: str) -> list[Row]:
    parts = ('query', 'key', 'value', 'out')
    return [
        Row(f'{ours}_norm/scale', f'{norm}/scale'),
        *[Row(f'{ours}/{part}/kernel', f'{theirs}/{part}/kernel') for part in parts],
    ]


def _mlp(layer: str) -> list[Row]:
    return [
        Row(f'{layer}/mlp_norm/scale', f'{layer}/pre_mlp_layer_norm/scale'),
        Row(f'{layer}/mlp/wi/kernel', f'{layer}/mlp/wi/kernel'),  # T5 1.0
        Row(f'{layer}/mlp/wi/kernel', f'{layer}/mlp/wi_0/kernel'),  # 1.1: the activated half
        Row(f'{layer}/mlp/wi_gate/kernel', f'{layer}/mlp/wi_1/kernel'),
        Row(f'{layer}/mlp/wo/kernel', f'{layer}/mlp/wo/kernel'),
    ]


ENCODER, DECODER = 'encoder/layers_{i}', 'decoder/layers_{i}'
ROWS = [
    # ours                                     theirs
    Row('token_embedder/embedding', 'token_embedder/embedding'),
    Row('encoder/relpos_bias/rel_embedding', 'encoder/relpos_bias/rel_embedding'),
    *_attention(
        f'{ENCODER}/self_attention', f'{ENCODER}/attention', f'{ENCODER}/pre_attention_layer_norm'
    ),
    *_mlp(ENCODER),
    Row('encoder/norm/scale', 'encoder/encoder_norm/scale'),
    Row('decoder/relpos_bias/rel_embedding', 'decoder/relpos_bias/rel_embedding'),
    *_attention(
        f'{DECODER}/self_attention',
        f'{DECODER}/self_attention',
        f'{DECODER}/pre_self_attention_layer_norm',
    ),
    *_attention(
        f'{DECODER}/cross_attention',
        f'{DECODER}/encoder_decoder_attention',
        f'{DECODER}/pre_cross_attention_layer_norm',
    ),
    *_mlp(DECODER),
    Row('decoder/norm/scale', 'decoder/decoder_norm/scale'),
]


def family(source: Source) -> Family:
    """How a checkpoint is read; there is no configuration beside it, so shapes have to tell."""
    embedding = 'token_embedder/embedding'
    width = source.shapes[embedding][1]
    untied = 'decoder/logits_dense/kernel' in source.shapes
    if untied:
        output = Row('decoder/logits_dense/kernel', 'decoder/logits_dense/kernel')
    else:
        output = Row('decoder/logits_dense/kernel', embedding, times(width**-0.5))
    return Family(
        title='T5X',
        rows=[*ROWS, output],
        text=_settings(source) | ({'tied_embedding': False} if untied else {}),
    )


def _settings(source: Source) -> dict[str, Any]:
    shapes = source.shapes
    heads, buckets = shapes['decoder/relpos_bias/rel_embedding']
    joined = shapes['decoder/layers_0/self_attention/query/kernel'][1]
    gated = 'decoder/layers_0/mlp/wi_0/kernel' in shapes
    hidden = shapes['decoder/layers_0/mlp/wo/kernel'][0]
    return {
        'width': shapes['token_embedder/embedding'][1],
        'num_layers': _layers('decoder', source.shapes),
        'num_encoder_layers': _layers('encoder', source.shapes),
        'num_heads': heads,
        'num_kv_heads': None,
        'head_dim': joined // heads,
        'scaled_attention': False,
        'mlp_dim': hidden,
        'gated_mlp': gated,
        'positions': 'relative',
        'norm': 'rms_norm',
        'scale_embedding': False,
        'relative_buckets': buckets,
        'post_norms': False,
        'attention_softcap': None,
        'logit_softcap': None,
    }


def _layers(stack: str, names: Iterable[str]) -> int:
    found = (re.match(rf'{stack}/layers_(\d+)/', name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)
