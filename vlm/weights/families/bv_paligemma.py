"""PaliGemma and PaliGemma 2 as big_vision names them: `img/` a SigLIP tower, `llm/` Gemma.

The file does not say which Gemma's query scale it was trained with: it is that of 2B and 9B, whose
heads have the size that scores are divided by the root of.
"""

from typing import Any

from vlm.weights.families.bv_vit import UNUSED, count_layers, vision_rows, vision_settings
from vlm.weights.source import Source
from vlm.weights.table import Family, Row

STACK = 'layers'
LAYER = 'llm/layers_{i}/'
OURS = 'decoder/layers_{i}/'


def query(w: Any) -> Any:
    """`[heads, width, head]` to `[width, heads * head]`."""
    return w.transpose(1, 0, 2).reshape(w.shape[1], -1)


def key(w: Any) -> Any:
    """The keys of `[2, kv heads, width, head]`."""
    return query(w[0])


def value(w: Any) -> Any:
    """The values of `[2, kv heads, width, head]`."""
    return query(w[1])


def out(w: Any) -> Any:
    """`[heads, head, width]` to `[heads * head, width]`."""
    return w.reshape(-1, w.shape[-1])


ROWS = [
    # ours                                     theirs
    Row('connector/projection/kernel', 'img/head/kernel'),
    Row('connector/projection/bias', 'img/head/bias'),
    Row('token_embedder/embedding', 'llm/embedder/input_embedding'),
    Row('decoder/norm/scale', 'llm/final_norm/scale'),
    Row(f'{OURS}self_attention_norm/scale', f'{LAYER}pre_attention_norm/scale'),
    Row(f'{OURS}self_attention/query/kernel', f'{LAYER}attn/q_einsum/w', query),
    Row(f'{OURS}self_attention/key/kernel', f'{LAYER}attn/kv_einsum/w', key),
    Row(f'{OURS}self_attention/value/kernel', f'{LAYER}attn/kv_einsum/w', value),
    Row(f'{OURS}self_attention/out/kernel', f'{LAYER}attn/attn_vec_einsum/w', out),
    Row(f'{OURS}self_attention_post_norm/scale', f'{LAYER}post_attention_norm/scale'),  # Gemma 2
    Row(f'{OURS}mlp_norm/scale', f'{LAYER}pre_ffw_norm/scale'),
    Row(f'{OURS}mlp/wi/kernel', f'{LAYER}mlp/gating_einsum', lambda w: w[0]),
    Row(f'{OURS}mlp/wi_gate/kernel', f'{LAYER}mlp/gating_einsum', lambda w: w[1]),
    Row(f'{OURS}mlp/wo/kernel', f'{LAYER}mlp/linear'),
    Row(f'{OURS}mlp_post_norm/scale', f'{LAYER}post_ffw_norm/scale'),  # Gemma 2
]


def family(source: Source) -> Family:
    """How a checkpoint is read; names are canonical."""
    return Family(
        title='big_vision PaliGemma',
        rows=[*vision_rows(source, 'img/'), *ROWS],
        vision=vision_settings(source, 'img/'),
        text=_settings(source),
        unused=[each for each in UNUSED if 'head' not in each],
    )


def _settings(source: Source) -> dict[str, Any]:
    heads, width, head = source.shapes['llm/layers_0/attn/q_einsum/w']
    shared = source.shapes['llm/layers_0/attn/kv_einsum/w'][1]
    second = 'llm/layers_0/post_attention_norm/scale' in source.shapes
    return {
        'width': width,
        'num_layers': count_layers(source, 'llm/layers'),
        'num_heads': heads,
        'num_kv_heads': None if shared == heads else shared,
        'head_dim': head,
        'scaled_attention': True,
        'mlp_dim': source.shapes['llm/layers_0/mlp/linear'][0],
        'activation': 'gelu',
        'gated_mlp': True,
        'positions': 'rope',
        'norm': 'rms_norm_unit_offset',
        'norm_epsilon': 1e-6,
        'scale_embedding': True,
        'tied_embedding': True,
        'post_norms': second,
        'attention_window': None,  # big_vision's Gemma 2 has none
        'attention_softcap': 50.0 if second else None,
        'logit_softcap': 30.0 if second else None,
    }
