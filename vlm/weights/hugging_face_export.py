"""Parameters written as a folder of Hugging Face, by the tables that such folders are read with.

The configuration is made of ours and read back by the family's own module: where that asks for
other options than the network has, `transformers` has no such network, and the options are named.
"""

import dataclasses
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
from vlm.weights.families import (
    hf_gemma,
    hf_paligemma,
    hf_pix2struct,
    hf_siglip,
    hf_t5,
    hf_vit,
)
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
    """Writes PaliGemma and Pix2Struct as one folder, others as `vision` and `text`.

    `vision` is a ViT if there is a register, its class token, or else SigLIP; `text` is a T5.

    Args:
      params: array by name, stacks unrolled.
      config: of the network.
      folder: is made.

    Returns:
      The folders written.

    Raises:
      UserError: `transformers` has no network with these options; nothing is written.
    """
    jobs = _jobs(config, folder)
    made = [_converted(params, config, job) for job in jobs]
    for job, tensors in zip(jobs, made, strict=True):
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / 'config.json').write_text(json.dumps(job.config, indent=1) + '\n')
        save_file(tensors, job.folder / SINGLE, metadata={'format': 'pt'})
    return [job.folder for job in jobs]


Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class _Job:
    """A folder to write.

    Attributes:
      part: of the network, a key of `PARTS`.
      config: its config.json.
      family: reads such a folder.
      joined: tensors that no row alone gives back; takes away what they are made of.
    """

    folder: Path
    part: str
    config: Mapping[str, Any]
    family: Callable[[Mapping[str, Any], Source], Family]
    joined: Callable[[Arrays], Arrays] = lambda params: {}


def _jobs(config: NetworkConfig, folder: Path) -> list[_Job]:
    if config.wiring == 'prefix_lm':
        return [_Job(folder, 'model', _paligemma(config), hf_paligemma.family)]
    if config.wiring == 'decoder_prefix' and config.vision.positions == 'rows_columns':
        made = _pix2struct(config)
        return [_Job(folder, 'model', made, hf_pix2struct.family, _patches_and_grid)]
    if config.vision.num_registers == 1:
        jobs = [_Job(folder / 'vision', 'vision', _vit(config.vision), hf_vit.family, _class_token)]
    else:
        jobs = [_Job(folder / 'vision', 'vision', _siglip(config.vision), hf_siglip.family)]
    if config.wiring == 'fusion_encoder':
        jobs.append(_Job(folder / 'text', 'text', _t5(config.text), hf_t5.family))
    return jobs


def _converted(params: Mapping[str, Any], config: NetworkConfig, job: _Job) -> Arrays:
    own = {k: np.asarray(v) for k, v in params.items() if k.startswith(PARTS[job.part])}
    tensors = job.joined(own)
    names = {name: tensor.shape for name, tensor in tensors.items()}
    if not config.text.tied_embedding:
        names['lm_head.weight'] = ()
    family = job.family(job.config, Source('this run', names, lambda name: None))
    _check(family, job.part, config)
    for name, value in own.items():
        row, layer = _row(name, family)
        (source,) = row.sources(layer)
        tensors[source] = INVERSES[row.how](value)
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _class_token(params: Arrays) -> Arrays:
    """ViT's: the position is in the token already, so that of the table is 0."""
    token, table = params.pop('vision/registers'), params.pop('vision/position_embedding')
    return {
        'embeddings.cls_token': token[None],
        'embeddings.position_embeddings': np.concatenate([np.zeros_like(token), table])[None],
    }


def _patches_and_grid(params: Arrays) -> Arrays:
    """Pix2Struct's: patches as rows, tables of as many rows as columns that count from 1."""
    kernel = params.pop('vision/patch_embed/kernel')
    tables = {each: params.pop(f'vision/{each}_embedding') for each in ('row', 'column')}
    most = max(map(len, tables.values()))
    made = {'encoder.embeddings.patch_projection.weight': kernel.reshape(-1, kernel.shape[-1]).T}
    for each, table in tables.items():
        padded = np.pad(table, ((1, most - len(table)), (0, 0)))
        made[f'encoder.embeddings.{each}_embedder.weight'] = padded
    return made


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


def _vit(vision: VitConfig) -> dict[str, Any]:
    return {
        'architectures': ['ViTModel'],
        'model_type': 'vit',
        **_tower(vision, 'ViT'),
        'qkv_bias': vision.qkv_bias,
    }


def _siglip(vision: VitConfig) -> dict[str, Any]:
    return {
        'architectures': ['SiglipVisionModel'],
        'model_type': 'siglip_vision_model',
        **_tower(vision, 'SigLIP'),
        'vision_use_head': False,
    }


def _tower(vision: VitConfig, title: str) -> dict[str, Any]:
    height, width = vision.image_size
    if height != width:
        raise UserError(
            f'transformers has no {title} for images of {height} x {width}: not square.'
        )
    return {
        'hidden_size': vision.width,
        'num_hidden_layers': vision.num_layers,
        'num_attention_heads': vision.num_heads,
        'intermediate_size': vision.mlp_dim,
        'image_size': height,
        'patch_size': vision.patch_size,
        'hidden_act': ACTIVATIONS[vision.activation],
        'layer_norm_eps': vision.norm_epsilon,
    }


def _pix2struct(config: NetworkConfig) -> dict[str, Any]:
    vision, text = config.vision, config.text
    return {
        'architectures': ['Pix2StructForConditionalGeneration'],
        'model_type': 'pix2struct',
        'tie_word_embeddings': False,
        'vision_config': {
            'hidden_size': vision.width,
            'patch_embed_hidden_size': 3 * vision.patch_size**2,
            'd_ff': vision.mlp_dim,
            'd_kv': vision.width // vision.num_heads,
            'num_hidden_layers': vision.num_layers,
            'num_attention_heads': vision.num_heads,
            'dense_act_fn': ACTIVATIONS[vision.activation],
            'layer_norm_eps': vision.norm_epsilon,
            'seq_len': 1 + max(vision.grid),
        },
        'text_config': {
            'vocab_size': text.vocab_size,
            'hidden_size': text.width,
            'd_kv': text.head_dim,
            'd_ff': text.mlp_dim,
            'num_layers': text.num_layers,
            'num_heads': text.num_heads,
            'dense_act_fn': ACTIVATIONS[text.activation],
            'layer_norm_epsilon': text.norm_epsilon,
            'relative_attention_num_buckets': text.relative_buckets,
            'relative_attention_max_distance': text.relative_max_distance,
            'is_decoder': True,
            'tie_word_embeddings': False,
            'decoder_start_token_id': 0,
            'pad_token_id': 0,
            'eos_token_id': 1,
        },
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
        gemma['layer_types'] = hf_gemma.layer_kinds(text.num_layers, bool(text.attention_window))
        gemma['sliding_window'] = text.attention_window or 4096
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
