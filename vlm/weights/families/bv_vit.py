"""ViT as big_vision and the AugReg checkpoints name it: alone, or a tower under a prefix.

SigLIP's tower is the same under `img/`; FlexiViT keeps a kernel of 32 x 32 pixels and positions of
7 x 7, which are stored as they are if `VitConfig.base_patch_size` and `position_grid` say so.
"""

import math
import re
from typing import Any

from vlm.weights.families.hf_common import class_token, without_first_row
from vlm.weights.source import Source
from vlm.weights.table import Family, Row

# Checkpoints of different years, to the names of the latest.
RENAMES = [
    (r'^params/', ''),
    (r'Transformer/posembed_input/', ''),
    (r'Transformer/pos_embedding', 'pos_embedding'),
    (r'/MultiHeadDotProductAttention_1/', '/MultiHeadDotProductAttention_0/'),
    (r'/LayerNorm_2/', '/LayerNorm_1/'),
    (r'/MlpBlock_3/', '/MlpBlock_0/'),
]
STACK = 'encoderblock'
UNUSED = [
    r'(img/|encoder/)?(head|pre_logits)/.*',
    r'(img/|encoder/)?MAPHead_0/.*',
    r'(opt|extra)/.*',  # of a training state
]


def into_heads(kernel: Any) -> Any:
    """`[in, heads, head]` to `[in, heads * head]`."""
    return kernel.reshape(kernel.shape[0], -1)


def flat(bias: Any) -> Any:
    """`[heads, head]` to `[heads * head]`."""
    return bias.reshape(-1)


def out_of_heads(kernel: Any) -> Any:
    """`[heads, head, out]` to `[heads * head, out]`."""
    return kernel.reshape(-1, kernel.shape[-1])


def rows_of_grid(table: Any) -> Any:
    """`[1, rows, width]` to `[rows, width]`."""
    return table.reshape(-1, table.shape[-1])


LAYER = 'Transformer/encoderblock_{i}/'
ATTENTION = f'{LAYER}MultiHeadDotProductAttention_0/'
BLOCKS = [
    # ours                                     theirs
    Row('vision/layers_{i}/attention_norm/scale', f'{LAYER}LayerNorm_0/scale'),
    Row('vision/layers_{i}/attention_norm/bias', f'{LAYER}LayerNorm_0/bias'),
    Row('vision/layers_{i}/attention/query/kernel', f'{ATTENTION}query/kernel', into_heads),
    Row('vision/layers_{i}/attention/query/bias', f'{ATTENTION}query/bias', flat),
    Row('vision/layers_{i}/attention/key/kernel', f'{ATTENTION}key/kernel', into_heads),
    Row('vision/layers_{i}/attention/key/bias', f'{ATTENTION}key/bias', flat),
    Row('vision/layers_{i}/attention/value/kernel', f'{ATTENTION}value/kernel', into_heads),
    Row('vision/layers_{i}/attention/value/bias', f'{ATTENTION}value/bias', flat),
    Row('vision/layers_{i}/attention/out/kernel', f'{ATTENTION}out/kernel', out_of_heads),
    Row('vision/layers_{i}/attention/out/bias', f'{ATTENTION}out/bias'),
    Row('vision/layers_{i}/mlp_norm/scale', f'{LAYER}LayerNorm_1/scale'),
    Row('vision/layers_{i}/mlp_norm/bias', f'{LAYER}LayerNorm_1/bias'),
    Row('vision/layers_{i}/mlp/wi/kernel', f'{LAYER}MlpBlock_0/Dense_0/kernel'),
    Row('vision/layers_{i}/mlp/wi/bias', f'{LAYER}MlpBlock_0/Dense_0/bias'),
    Row('vision/layers_{i}/mlp/wo/kernel', f'{LAYER}MlpBlock_0/Dense_1/kernel'),
    Row('vision/layers_{i}/mlp/wo/bias', f'{LAYER}MlpBlock_0/Dense_1/bias'),
    Row('vision/patch_embed/kernel', 'embedding/kernel'),
    Row('vision/patch_embed/bias', 'embedding/bias'),
    Row('vision/norm/scale', 'Transformer/encoder_norm/scale'),
    Row('vision/norm/bias', 'Transformer/encoder_norm/bias'),
]


def canonical(source: Source) -> Source:
    """Tensors by the latest names, stacks layer by layer."""
    return source.renamed(RENAMES).unstacked(STACK)


def vision_rows(source: Source, prefix: str = '') -> list[Row]:
    """The table of a tower; older checkpoints have a position for the class token too."""
    table, token = f'{prefix}pos_embedding', f'{prefix}cls'
    rows = [row._replace(theirs=prefix + row.theirs) for row in BLOCKS]
    if _has_class_position(source, prefix):
        rows.append(Row('vision/position_embedding', table, without_first_row))
        rows.append(Row('vision/registers', (token, table), class_token))
    else:
        rows.append(Row('vision/position_embedding', table, rows_of_grid))
        rows.append(Row('vision/registers', token, rows_of_grid))
    return rows


def _has_class_position(source: Source, prefix: str) -> bool:
    count = source.shapes.get(f'{prefix}pos_embedding', (1, 0))[1]
    return f'{prefix}cls' in source.shapes and math.isqrt(count) ** 2 != count


def vision_settings(source: Source, prefix: str = '') -> dict[str, Any]:
    """What `VitConfig` must be; there is no configuration in the file, so shapes have to tell."""
    query = f'{prefix}{ATTENTION}query/kernel'.format(i=0)
    hidden = f'{prefix}{LAYER}MlpBlock_0/Dense_0/kernel'.format(i=0)
    learned = f'{prefix}pos_embedding' in source.shapes
    return {
        'width': source.shapes[query][0],
        'num_layers': count_layers(source, f'{prefix}Transformer/encoderblock'),
        'num_heads': source.shapes[query][1],
        'mlp_dim': source.shapes[hidden][1],
        'activation': 'gelu',
        'norm': 'layer_norm',
        'norm_epsilon': 1e-6,
        'qkv_bias': True,
        'use_bias': True,
        'positions': 'learned' if learned else 'sincos2d',
        'pre_norm': False,
        'parallel_blocks': False,
        'qk_norm': False,
        'num_registers': int(f'{prefix}cls' in source.shapes),
    }


def count_layers(source: Source, block: str) -> int:
    """Layers of a stack whose blocks are named `block_0`, `block_1`, ..."""
    found = (re.match(rf'{block}_(\d+)/', name) for name in source.shapes)
    return 1 + max((int(match[1]) for match in found if match), default=-1)


def family(source: Source, prefix: str = '') -> Family:
    """How a ViT is read, or the image tower of SigLIP (prefix 'img/'); names are canonical."""
    return Family(
        title='big_vision SigLIP' if prefix else 'big_vision ViT',
        rows=vision_rows(source, prefix),
        vision=vision_settings(source, prefix),
        unused=[*UNUSED, r'txt/.*', 't', 'b'],
    )
