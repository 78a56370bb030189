"""T5 1.0 and 1.1, mT5 and UL2 as T5X's example networks name them, scanned (scalable_t5) or not.

Scanned layers have a table of relative positions each, where this package's stacks share one as T5
does: only checkpoints whose tables agree (those made of unscanned ones) can be read.
"""

import math
import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from vlm.errors import UserError
from vlm.weights.families.bv_vit import into_heads, out_of_heads
from vlm.weights.source import Source
from vlm.weights.table import Family, Row, times

# `encoder/encoder/...` is a stack of which axis 1 counts the layers.
SCANNED = [(r'^(encoder|decoder)/\1/', r'\1/layers/')]


def attention_rows(ours: str, theirs: str, norm: str) -> list[Row]:
    """An attention and the norm before it."""
    # scalable_t5 keeps heads apart; for a kernel of two axes these do nothing.
    hows = {'query': into_heads, 'key': into_heads, 'value': into_heads, 'out': out_of_heads}
    return [
        Row(f'{ours}_norm/scale', f'{norm}/scale'),
        *[Row(f'{ours}/{x}/kernel', f'{theirs}/{x}/kernel', how) for x, how in hows.items()],
    ]


def mlp_rows(ours: str, theirs: str) -> list[Row]:
    """An MLP and the norm before it."""
    return [
        Row(f'{ours}/mlp_norm/scale', f'{theirs}/pre_mlp_layer_norm/scale'),
        Row(f'{ours}/mlp/wi/kernel', f'{theirs}/mlp/wi/kernel'),  # T5 1.0
        Row(f'{ours}/mlp/wi/kernel', f'{theirs}/mlp/wi_0/kernel'),  # 1.1: the activated half
        Row(f'{ours}/mlp/wi_gate/kernel', f'{theirs}/mlp/wi_1/kernel'),
        Row(f'{ours}/mlp/wo/kernel', f'{theirs}/mlp/wo/kernel'),
    ]


def _relative(stack: str) -> list[Row]:
    ours = f'{stack}/relpos_bias/rel_embedding'
    return [Row(ours, ours), Row(ours, f'{stack}/layers_0/relpos_bias/rel_embedding')]


ENCODER, DECODER = 'encoder/layers_{i}', 'decoder/layers_{i}'
DECODER_ROWS = [
    # ours                                     theirs
    *_relative('decoder'),
    *attention_rows(
        f'{DECODER}/self_attention',
        f'{DECODER}/self_attention',
        f'{DECODER}/pre_self_attention_layer_norm',
    ),
    *attention_rows(
        f'{DECODER}/cross_attention',
        f'{DECODER}/encoder_decoder_attention',
        f'{DECODER}/pre_cross_attention_layer_norm',
    ),
    *mlp_rows(DECODER, DECODER),
    Row('decoder/norm/scale', 'decoder/decoder_norm/scale'),
]
ROWS = [
    # ours                                     theirs
    Row('token_embedder/embedding', 'token_embedder/embedding'),
    *_relative('encoder'),
    *attention_rows(
        f'{ENCODER}/self_attention', f'{ENCODER}/attention', f'{ENCODER}/pre_attention_layer_norm'
    ),
    *mlp_rows(ENCODER, ENCODER),
    Row('encoder/norm/scale', 'encoder/encoder_norm/scale'),
    *DECODER_ROWS,
]


def canonical(source: Source) -> Source:
    """The tensors of scanned stacks layer by layer, under the names of unscanned ones."""
    return source.renamed(SCANNED).unstacked('layers', axis=1)


def family(source: Source) -> Family:
    """How a checkpoint is read; there is no configuration beside it, so shapes have to tell.

    Raises `UserError` where layers have relative positions of their own; names are canonical.
    """
    for stack in ('encoder', 'decoder'):
        _check_shared(source, stack)
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
        unused=[r'(encoder|decoder)/layers_\d+/relpos_bias/rel_embedding'],  # equal to the first
    )


def _check_shared(source: Source, stack: str) -> None:
    pattern = rf'{stack}/layers_\d+/relpos_bias/rel_embedding'
    tables = [source.read(name) for name in source.shapes if re.fullmatch(pattern, name)]
    if any(not np.array_equal(table, tables[0]) for table in tables):
        raise UserError(
            f'{source.path}: every layer of the {stack} has relative positions of its own (umT5), '
            'which is no network of this package: its layers share them.'
        )


def _settings(source: Source) -> dict[str, Any]:
    shapes = source.shapes
    shared = 'decoder/relpos_bias/rel_embedding'
    heads, buckets = shapes.get(shared) or shapes['decoder/layers_0/relpos_bias/rel_embedding']
    joined = math.prod(shapes['decoder/layers_0/self_attention/query/kernel'][1:])
    gated = 'decoder/layers_0/mlp/wi_0/kernel' in shapes
    hidden = shapes['decoder/layers_0/mlp/wo/kernel'][0]
    return {
        'width': shapes['token_embedder/embedding'][1],
        'num_layers': count_layers('decoder', shapes),
        'num_encoder_layers': count_layers('encoder', shapes),
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
        'attention_window': None,
        'attention_softcap': None,
        'logit_softcap': None,
    }


def count_layers(stack: str, names: Iterable[str]) -> int:
    """Layers of a stack by the names of its tensors."""
    found = (re.match(rf'{stack}/layers_(\d+)/', name) for name in names)
    return 1 + max((int(match[1]) for match in found if match), default=-1)
