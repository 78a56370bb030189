"""T5 1.0 and 1.1 (1910.10683), mT5 (2010.11934), Flan-T5 and UL2 (2205.05131) of Hugging Face."""

from collections.abc import Mapping, Sequence
from typing import Any

from vlm.weights.families.hf_common import activation
from vlm.weights.source import Source
from vlm.weights.table import Family, Row, linear, times

ENCODER, DECODER = 'encoder.block.{i}.layer.', 'decoder.block.{i}.layer.'


def _attention(ours: str, theirs: str, norm: str) -> list[Row]:
    return [
        Row(f'{ours}_norm/scale', f'{norm}.layer_norm.weight'),
        Row(f'{ours}/query/kernel', f'{theirs}.q.weight', linear),
        Row(f'{ours}/key/kernel', f'{theirs}.k.weight', linear),
        Row(f'{ours}/value/kernel', f'{theirs}.v.weight', linear),
        Row(f'{ours}/out/kernel', f'{theirs}.o.weight', linear),
    ]


def _mlp(ours: str, theirs: str, gated: bool) -> list[Row]:
    dense = f'{theirs}.DenseReluDense'
    rows = [
        Row(f'{ours}_norm/scale', f'{theirs}.layer_norm.weight'),
        Row(f'{ours}/wo/kernel', f'{dense}.wo.weight', linear),
    ]
    if not gated:  # T5 1.0
        return [*rows, Row(f'{ours}/wi/kernel', f'{dense}.wi.weight', linear)]
    return [
        *rows,
        Row(f'{ours}/wi/kernel', f'{dense}.wi_0.weight', linear),  # the activated half
        Row(f'{ours}/wi_gate/kernel', f'{dense}.wi_1.weight', linear),
    ]


def _stack(stack: str, *blocks: Sequence[Row]) -> list[Row]:
    bias = f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight'
    return [
        *[row for block in blocks for row in block],
        Row(f'{stack}/relpos_bias/rel_embedding', bias, linear),  # one table, kept in layer 0
        Row(f'{stack}/norm/scale', f'{stack}.final_layer_norm.weight'),
    ]


def _self_attention(stack: str, layer: str) -> list[Row]:
    return _attention(
        f'{stack}/layers_{{i}}/self_attention', f'{layer}0.SelfAttention', f'{layer}0'
    )


def _rows(gated: bool) -> list[Row]:
    cross = f'{DECODER}1.EncDecAttention'
    return [
        Row('token_embedder/embedding', 'shared.weight'),
        *_stack(
            'encoder',
            _self_attention('encoder', ENCODER),
            _mlp('encoder/layers_{i}/mlp', f'{ENCODER}1', gated),
        ),
        *_stack(
            'decoder',
            _self_attention('decoder', DECODER),
            _attention('decoder/layers_{i}/cross_attention', cross, f'{DECODER}1'),
            _mlp('decoder/layers_{i}/mlp', f'{DECODER}2', gated),
        ),
    ]


def family(config: Mapping[str, Any], source: Source) -> Family:
    """How a checkpoint of this family is read."""
    untied = 'lm_head.weight' in source.shapes
    width = config['d_model']
    # T5 1.0 divides by sqrt(width) before the table is the output layer; mT5 and T5 1.1 do not.
    scaled = config['model_type'] == 't5' and config.get(
        'scale_decoder_outputs', config.get('tie_word_embeddings', True)
    )
    if untied:
        output = Row('decoder/logits_dense/kernel', 'lm_head.weight', linear)
    else:
        output = Row('decoder/logits_dense/kernel', 'shared.weight', _output(width, scaled))
    settings = _settings(config)
    return Family(
        title='Hugging Face T5',
        rows=[*_rows(settings['gated_mlp']), output],
        text=settings | ({'tied_embedding': False} if untied or not scaled else {}),
        unused=[
            r'(en|de)coder\.embed_tokens\.weight',  # copies of the shared table
            r'decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight',
        ],
    )


def _output(width: int, scaled: bool) -> Any:
    return times(width**-0.5) if scaled else linear


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    mt5 = config['model_type'] != 't5'
    gate, _, kind = config.get('feed_forward_proj', 'gated-gelu' if mt5 else 'relu').rpartition('-')
    gated = gate == 'gated'
    layers = config['num_layers']
    return {
        'width': config['d_model'],
        'num_layers': config.get('num_decoder_layers') or layers,
        'num_encoder_layers': layers,
        'num_heads': config['num_heads'],
        'num_kv_heads': None,
        'head_dim': config['d_kv'],
        'scaled_attention': False,
        'mlp_dim': config['d_ff'],
        # 'gated-gelu' has always meant the tanh approximation here.
        'activation': 'gelu' if gated and kind == 'gelu' else activation(kind),
        'gated_mlp': gated,
        'positions': 'relative',
        'norm': 'rms_norm',
        'norm_epsilon': config.get('layer_norm_epsilon', 1e-6),
        'scale_embedding': False,
        'relative_buckets': config.get('relative_attention_num_buckets', 32),
        'relative_max_distance': config.get('relative_attention_max_distance', 128),
        'post_norms': False,
        'attention_window': None,
        'attention_softcap': None,
        'logit_softcap': None,
    }
