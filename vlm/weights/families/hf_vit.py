"""ViT (2010.11929) of Hugging Face, `model_type` vit: AugReg, DINO, DeiT without distillation."""

from collections.abc import Mapping
from typing import Any

from vlm.weights.families.hf_common import activation, class_token, patch_rows, without_first_row
from vlm.weights.source import Source
from vlm.weights.table import Family, Row, linear

LAYER = 'encoder.layer.{i}.'
ROWS = [
    # ours                                     theirs
    Row('vision/position_embedding', 'embeddings.position_embeddings', without_first_row),
    # fmt: off
    Row(
        'vision/registers', ('embeddings.cls_token', 'embeddings.position_embeddings'), class_token
    ),
    # fmt: on
    Row('vision/layers_{i}/attention_norm/scale', f'{LAYER}layernorm_before.weight'),
    Row('vision/layers_{i}/attention_norm/bias', f'{LAYER}layernorm_before.bias'),
    Row(
        'vision/layers_{i}/attention/query/kernel',
        f'{LAYER}attention.attention.query.weight',
        linear,
    ),
    Row('vision/layers_{i}/attention/query/bias', f'{LAYER}attention.attention.query.bias'),
    Row('vision/layers_{i}/attention/key/kernel', f'{LAYER}attention.attention.key.weight', linear),
    Row('vision/layers_{i}/attention/key/bias', f'{LAYER}attention.attention.key.bias'),
    Row(
        'vision/layers_{i}/attention/value/kernel',
        f'{LAYER}attention.attention.value.weight',
        linear,
    ),
    Row('vision/layers_{i}/attention/value/bias', f'{LAYER}attention.attention.value.bias'),
    Row('vision/layers_{i}/attention/out/kernel', f'{LAYER}attention.output.dense.weight', linear),
    Row('vision/layers_{i}/attention/out/bias', f'{LAYER}attention.output.dense.bias'),
    Row('vision/layers_{i}/mlp_norm/scale', f'{LAYER}layernorm_after.weight'),
    Row('vision/layers_{i}/mlp_norm/bias', f'{LAYER}layernorm_after.bias'),
    Row('vision/layers_{i}/mlp/wi/kernel', f'{LAYER}intermediate.dense.weight', linear),
    Row('vision/layers_{i}/mlp/wi/bias', f'{LAYER}intermediate.dense.bias'),
    Row('vision/layers_{i}/mlp/wo/kernel', f'{LAYER}output.dense.weight', linear),
    Row('vision/layers_{i}/mlp/wo/bias', f'{LAYER}output.dense.bias'),
    Row('vision/norm/scale', 'layernorm.weight'),
    Row('vision/norm/bias', 'layernorm.bias'),
]


def family(config: Mapping[str, Any], source: Source) -> Family:
    """How a checkpoint of this family is read."""
    patches = 'embeddings.patch_embeddings.projection'
    return Family(
        title='Hugging Face ViT',
        rows=[*patch_rows(f'{patches}.weight', f'{patches}.bias', config), *ROWS],
        vision={
            'width': config.get('hidden_size', 768),
            'num_layers': config.get('num_hidden_layers', 12),
            'num_heads': config.get('num_attention_heads', 12),
            'mlp_dim': config.get('intermediate_size', 3072),
            'activation': activation(config.get('hidden_act', 'gelu')),
            'norm': 'layer_norm',
            'norm_epsilon': config.get('layer_norm_eps', 1e-12),
            'qkv_bias': config.get('qkv_bias', True),
            'use_bias': True,
            'positions': 'learned',
            'pre_norm': False,
            'parallel_blocks': False,
            'qk_norm': False,
            'num_registers': 1,  # the class token
        },
        renames=[(r'^vit\.', '')],
        unused=[r'pooler\..*', r'classifier\..*', r'embeddings\.mask_token'],
    )
