"""Parameters written as a folder of Hugging Face, by the tables that such folders are read with.

The configuration is made of ours and read back by the family's own module: where that asks for
other options than the network has, `transformers` has no such network, and the options are named.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from vlm.errors import UserError
from vlm.nn.network import NetworkConfig
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.weights.families import hf_paligemma, hf_siglip, hf_t5
from vlm.weights.plan import PARTS
from vlm.weights.safetensors_files import SINGLE
from vlm.weights.source import Source
from vlm.weights.table import INVERSES, Family, Row

# Ours -> Hugging Face's.
ACTIVATIONS = {
    'gelu': 'gelu_pytorch_tanh',
    'gelu_exact': 'gelu',
    'quick_gelu': 'quick_gelu',
    'relu': 'relu',
    'silu': 'silu',
}


def export_hugging_face(
    params: Mapping[str, Any], config: NetworkConfig, folder: Path
) -> list[Path]:
    """Writes PaliGemma as one folder, other networks as `vision` (SigLIP) and `text` (T5).

    Args:
      params: array by name, stacks unrolled.
      config: of the network.
      folder: is made.

    Returns:
      The folders written.

    Raises:
      UserError: `transformers` has no network with these options; nothing is written.
    """
    if config.wiring == 'prefix_lm':
        jobs = [(folder, 'model', _paligemma(config), hf_paligemma.family)]
    else:
        jobs = [(folder / 'vision', 'vision', _siglip(config.vision), hf_siglip.family)]
        if config.wiring == 'fusion_encoder':
            jobs.append((folder / 'text', 'text', _t5(config.text), hf_t5.family))
    made = [_converted(params, config, part, theirs, family) for _, part, theirs, family in jobs]
    for (target, _, theirs, _), tensors in zip(jobs, made, strict=True):
        target.mkdir(parents=True, exist_ok=True)
        (target / 'config.json').write_text(json.dumps(theirs, indent=1) + '\n')
        save_file(tensors, target / SINGLE, metadata={'format': 'pt'})
    return [target for target, *_ in jobs]


def _converted(
    params: Mapping[str, Any],
    config: NetworkConfig,
    part: str,
    theirs: Mapping[str, Any],
    family_of: Callable[[Mapping[str, Any], Source], Family],
) -> dict[str, np.ndarray]:
    names = {'lm_head.weight': ()} if not config.text.tied_embedding else {}
    family = family_of(theirs, Source('this run', names, lambda name: None))
    _check(family, part, config)
    tensors = {}
    for name, value in params.items():
        if name.startswith(PARTS[part]):
            row, layer = _row(name, family)
            (source,) = row.sources(layer)
            tensors[source] = np.ascontiguousarray(INVERSES[row.how](np.asarray(value)))
    return tensors


def _check(family: Family, part: str, config: NetworkConfig) -> None:
    sides = {'vision': ('vision',), 'text': ('text',), 'model': ('vision', 'text')}[part]
    other = [
        f'{side} {name} = {getattr(getattr(config, side), name)!r}, not {value!r}'
        for side in sides
        for name, value in getattr(family, side).items()
        if getattr(getattr(config, side), name) != value
    ]
    if other:
        raise UserError(
            f'transformers has no {family.title} like this network: {"; ".join(other)}.'
        )


def _row(name: str, family: Family) -> tuple[Row, str | None]:
    for row in family.rows:
        if (found := row.match(name)) is not None and row.how in INVERSES:
            return row, found[1] if found.groups() else None
    raise UserError(f'{family.title} has no place for the parameter {name}.')


def unrolled(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by name with the layers of scanned stacks apart."""
    flat: dict[str, Any] = {}
    for name, value in params.items():
        if '/layers/' not in name:
            flat[name] = value
            continue
        for i, layer in enumerate(np.asarray(value)):
            flat[re.sub('/layers/', f'/layers_{i}/', name)] = layer
    return flat


def _siglip(vision: VitConfig) -> dict[str, Any]:
    height, width = vision.image_size
    if height != width:
        raise UserError(f'transformers has no SigLIP for images of {height} x {width}: not square.')
    return {
        'architectures': ['SiglipVisionModel'],
        'model_type': 'siglip_vision_model',
        'hidden_size': vision.width,
        'num_hidden_layers': vision.num_layers,
        'num_attention_heads': vision.num_heads,
        'intermediate_size': vision.mlp_dim,
        'image_size': height,
        'patch_size': vision.patch_size,
        'hidden_act': ACTIVATIONS[vision.activation],
        'layer_norm_eps': vision.norm_epsilon,
        'vision_use_head': False,
    }


def _t5(text: TextConfig) -> dict[str, Any]:
    kind = 'gelu' if text.activation == 'gelu' and text.gated_mlp else ACTIVATIONS[text.activation]
    return {
        'architectures': ['T5ForConditionalGeneration'],
        'model_type': 't5',
        'vocab_size': text.vocab_size,
        'd_model': text.width,
        'd_kv': text.head_dim,
        'd_ff': text.mlp_dim,
        'num_layers': text.num_encoder_layers,
        'num_decoder_layers': text.num_layers,
        'num_heads': text.num_heads,
        'feed_forward_proj': f'gated-{kind}' if text.gated_mlp else kind,
        'layer_norm_epsilon': text.norm_epsilon,
        'relative_attention_num_buckets': text.relative_buckets,
        'relative_attention_max_distance': text.relative_max_distance,
        'tie_word_embeddings': text.tied_embedding,
        'is_encoder_decoder': True,
        'decoder_start_token_id': 0,
        'pad_token_id': 0,
        'eos_token_id': 1,
    }


def _paligemma(config: NetworkConfig) -> dict[str, Any]:
    text = config.text
    second = text.post_norms
    gemma = {
        'model_type': 'gemma2' if second else 'gemma',
        'vocab_size': text.vocab_size,
        'hidden_size': text.width,
        'num_hidden_layers': text.num_layers,
        'num_attention_heads': text.num_heads,
        'num_key_value_heads': text.num_kv_heads or text.num_heads,
        'head_dim': text.head_dim,
        'intermediate_size': text.mlp_dim,
        'rms_norm_eps': text.norm_epsilon,
    }
    if second:
        gemma['query_pre_attn_scalar'] = text.head_dim
        gemma['attn_logit_softcapping'] = text.attention_softcap
        gemma['final_logit_softcapping'] = text.logit_softcap
    return {
        'architectures': ['PaliGemmaForConditionalGeneration'],
        'model_type': 'paligemma',
        # Any id beyond the table: the reference marks visual tokens by it.
        'image_token_index': text.vocab_size,
        'projection_dim': text.width,
        'hidden_size': text.width,
        'vision_config': {**_siglip(config.vision), 'projection_dim': text.width},
        'text_config': gemma,
    }
