"""CapPa (2306.07915) as big_vision names it: a ViT under `encoder/`, a captioner under `decoder/`.

There is no layer between the two, so the connector becomes the identity. The last row of the token
table is the mask token, where the model was trained to predict in parallel.
"""

from typing import Any

import numpy as np

from vlm.weights.families.bv_vit import (
    UNUSED,
    count_layers,
    into_heads,
    out_of_heads,
    rows_of_grid,
    vision_rows,
    vision_settings,
)
from vlm.weights.source import Source
from vlm.weights.table import Family, Row

RENAMES = [(r'/EncDecBlock(\d+)/', r'/EncDecBlock_\1/')]
STACK = 'EncDecBlock'  # of scanned stacks, whose layers are on the second axis

LAYER = 'decoder/EncDecBlock_{i}/'
OURS = 'decoder/layers_{i}/'
KINDS = [
    ('self_attention', 'SelfAttn', 'LayerNorm1'),
    ('cross_attention', 'CrossAttn', 'LayerNorm2'),
]
ROWS = [
    # ours                                     theirs
    *[
        Row(f'{OURS}{ours}/{part}/kernel', f'{LAYER}{theirs}/{part}/kernel', into_heads)
        for ours, theirs, _ in KINDS
        for part in ('query', 'key', 'value')
    ],
    *[
        Row(f'{OURS}{ours}/out/kernel', f'{LAYER}{theirs}/out/kernel', out_of_heads)
        for ours, theirs, _ in KINDS
    ],
    *[Row(f'{OURS}{ours}_norm/scale', f'{LAYER}{norm}/scale') for ours, _, norm in KINDS],
    Row(f'{OURS}mlp_norm/scale', f'{LAYER}LayerNorm3/scale'),
    Row(f'{OURS}mlp/wi/kernel', f'{LAYER}MLP/Dense_0/kernel'),
    Row(f'{OURS}mlp/wo/kernel', f'{LAYER}MLP/Dense_1/kernel'),
    Row('decoder/norm/scale', 'decoder/LayerNorm/scale'),
    Row('decoder/norm/bias', 'decoder/LayerNorm/bias'),
    Row('decoder/logits_dense/kernel', 'decoder/LogitsDense/kernel'),
    Row('decoder/logits_dense/bias', 'decoder/LogitsDense/bias'),
    Row('position_embedder/embedding', 'pos_embedding_decoder', rows_of_grid),
]


def family(source: Source) -> Family:
    """How a checkpoint is read; names are canonical."""
    table = 'decoder/EmbedTargets/embedding'
    rows, width = source.shapes[table]
    words = source.shapes['decoder/LogitsDense/kernel'][1]
    tables = [Row('token_embedder/embedding', table, lambda x: x[:words])]
    if rows == words + 1:
        tables.append(Row('mask_embedder/embedding', table, lambda x: x[words:]))
    connector = [
        Row('connector/projection/kernel', (), lambda: np.eye(width, dtype=np.float32)),
        Row('connector/projection/bias', (), lambda: np.zeros(width, np.float32)),
    ]
    return Family(
        title='big_vision CapPa',
        rows=[*vision_rows(source, 'encoder/'), *connector, *tables, *ROWS],
        vision=vision_settings(source, 'encoder/'),
        text=_settings(source),
        unused=UNUSED,
    )


def _settings(source: Source) -> dict[str, Any]:
    width, heads, head = source.shapes['decoder/EncDecBlock_0/SelfAttn/query/kernel']
    return {
        'width': width,
        'num_layers': count_layers(source, 'decoder/EncDecBlock'),
        'num_heads': heads,
        'num_kv_heads': None,
        'head_dim': head,
        'scaled_attention': True,
        'mlp_dim': source.shapes['decoder/EncDecBlock_0/MLP/Dense_0/kernel'][1],
        'activation': 'gelu',
        'gated_mlp': False,
        'positions': 'learned',
        'norm': 'layer_norm_no_bias',
        'norm_epsilon': 1e-6,
        'final_norm': 'layer_norm',
        'logits_bias': True,
        'scale_embedding': False,
        'tied_embedding': False,
        'post_norms': False,
        'attention_window': None,
        'attention_softcap': None,
        'logit_softcap': None,
    }
