"""Gemma (2403.08295) and Gemma 2 (2408.00118) of Hugging Face, alone or inside PaliGemma."""

from collections.abc import Mapping
from typing import Any

from vlm.errors import UserError
from vlm.weights.source import Source
from vlm.weights.table import Family, Row, linear, times

LAYER = 'model.layers.{i}.'


def rows(sizes: Mapping[str, Any]) -> list[Row]:
    """The table for a configuration; in Gemma 2 norms stand on both sides of attention and MLP."""
    second = is_second(sizes)
    head = sizes.get('head_dim', 256)
    divisor = sizes.get('query_pre_attn_scalar', 256) if second else head
    # Scores are divided by this number's root, not that of the head's size: queries make up for it.
    query = times((head / divisor) ** 0.5)
    mlp_norm = 'pre_feedforward_layernorm' if second else 'post_attention_layernorm'
    table = [
        # ours                                     theirs
        Row('token_embedder/embedding', 'model.embed_tokens.weight'),
        Row('decoder/norm/scale', 'model.norm.weight'),
        Row('decoder/layers_{i}/self_attention_norm/scale', f'{LAYER}input_layernorm.weight'),
        Row(
            'decoder/layers_{i}/self_attention/query/kernel',
            f'{LAYER}self_attn.q_proj.weight',
            query,
        ),
        Row(
            'decoder/layers_{i}/self_attention/key/kernel',
            f'{LAYER}self_attn.k_proj.weight',
            linear,
        ),
        Row(
            'decoder/layers_{i}/self_attention/value/kernel',
            f'{LAYER}self_attn.v_proj.weight',
            linear,
        ),
        Row(
            'decoder/layers_{i}/self_attention/out/kernel',
            f'{LAYER}self_attn.o_proj.weight',
            linear,
        ),
        Row('decoder/layers_{i}/mlp_norm/scale', f'{LAYER}{mlp_norm}.weight'),
        Row('decoder/layers_{i}/mlp/wi/kernel', f'{LAYER}mlp.gate_proj.weight', linear),
        Row('decoder/layers_{i}/mlp/wi_gate/kernel', f'{LAYER}mlp.up_proj.weight', linear),
        Row('decoder/layers_{i}/mlp/wo/kernel', f'{LAYER}mlp.down_proj.weight', linear),
    ]
    if second:
        after = 'decoder/layers_{i}/self_attention_post_norm/scale'
        table += [
            Row(after, f'{LAYER}post_attention_layernorm.weight'),
            Row(
                'decoder/layers_{i}/mlp_post_norm/scale',
                f'{LAYER}post_feedforward_layernorm.weight',
            ),
        ]
    return table


def is_second(sizes: Mapping[str, Any]) -> bool:
    """Whether a text configuration is Gemma 2's."""
    return sizes.get('model_type') == 'gemma2'


def settings(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """What `TextConfig` must be for a configuration."""
    heads = sizes['num_attention_heads']
    shared = sizes.get('num_key_value_heads', heads)
    second = is_second(sizes)
    return {
        'width': sizes['hidden_size'],
        'num_layers': sizes['num_hidden_layers'],
        'num_heads': heads,
        'num_kv_heads': None if shared == heads else shared,
        'head_dim': sizes.get('head_dim', 256),
        'scaled_attention': True,
        'mlp_dim': sizes['intermediate_size'],
        # Files say 'gelu' and have always meant the tanh approximation.
        'activation': 'gelu',
        'gated_mlp': True,
        'positions': 'rope',
        'norm': 'rms_norm_unit_offset',
        'norm_epsilon': sizes.get('rms_norm_eps', 1e-6),
        'scale_embedding': True,
        'tied_embedding': True,
        'post_norms': second,
        'attention_window': window(sizes) if second else None,
        'attention_softcap': sizes.get('attn_logit_softcapping', 50.0) if second else None,
        'logit_softcap': sizes.get('final_logit_softcapping', 30.0) if second else None,
    }


def window(sizes: Mapping[str, Any]) -> int | None:
    """Tokens that the local layers of Gemma 2 see, every second from the first; None if none is.

    Raises `UserError` where other layers are local.
    """
    count = sizes['num_hidden_layers']
    kinds = sizes.get('layer_types') or layer_kinds(count, local=True)
    if kinds == layer_kinds(count, local=False):
        return None
    if kinds != layer_kinds(count, local=True):
        raise UserError(
            f'config.json: layer_types {kinds} are neither all full_attention nor '
            'sliding_attention in every second layer from the first.'
        )
    return sizes.get('sliding_window', 4096)


def layer_kinds(count: int, local: bool) -> list[str]:
    """`layer_types` of a configuration with and without local layers."""
    kinds = ['sliding_attention' if local else 'full_attention', 'full_attention']
    return [kinds[i % 2] for i in range(count)]


def family(config: Mapping[str, Any], source: Source) -> Family:
    """How a checkpoint of this family is read."""
    return Family(
        title='Hugging Face Gemma',
        rows=rows(config),
        text=settings(config),
        unused=[r'lm_head\.weight'],  # a copy of the token table
    )
