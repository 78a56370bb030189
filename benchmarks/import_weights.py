"""Prints what it costs to import public weights: seconds and peak memory.

    python benchmarks/import_weights.py
    python benchmarks/import_weights.py --gigabytes 4

Random tensors in the layout of Hugging Face are written to a temporary folder: a ViT-B and a T5
base, or with --gigabytes a Gemma of at least that size. Then a process each reads them with
`safetensors.numpy.load_file` and imports them, from a warm page cache.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.weights import load, make_plan, open_checkpoint
from vlm.weights.table import Family

from peak_memory import forget_peak, peak_bytes

SHARD = 1 << 29
TINY_VIT = VitConfig((16, 16), 16, width=4, num_layers=1, num_heads=1, mlp_dim=4)
TINY_TEXT = TextConfig(16, 4, 1, num_heads=1, head_dim=4, mlp_dim=4)
GEMMA = {
    'model_type': 'gemma',
    'hidden_size': 2048,
    'num_attention_heads': 8,
    'num_key_value_heads': 1,
    'head_dim': 256,
    'intermediate_size': 16384,
    'vocab_size': 32_000,
}
VIT = {'model_type': 'vit'}
T5 = {
    'model_type': 't5',
    'd_model': 768,
    'd_kv': 64,
    'd_ff': 2048,
    'num_layers': 12,
    'num_heads': 12,
    'feed_forward_proj': 'gated-gelu',
    'vocab_size': 32_128,
    'tie_word_embeddings': False,
}


def main() -> None:
    """Writes, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--gigabytes', type=float, help='of one large checkpoint instead')
    parser.add_argument('--measure', nargs=2, metavar=('HOW', 'FOLDER'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(measured(args.measure[0], Path(args.measure[1]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        for folder in written(Path(scratch), args.gigabytes):
            compare(folder)


def compare(folder: Path) -> None:
    """A line each for reading and importing, the best of three processes."""
    size = sum(path.stat().st_size for path in folder.glob('*.safetensors'))
    source, _ = open_checkpoint(str(folder))
    largest = 4 * max(map(math.prod, source.shapes.values()))
    print(f'{folder.name}: {size / 1e9:.2f} GB, the largest tensor {largest / 2**20:,.0f} MiB')
    best = {}
    for how in ('load_file', 'import'):
        runs = [run(how, folder) for _ in range(3)]
        best[how], peak = (min(each[key] for each in runs) for key in ('seconds', 'peak'))
        over = (peak - size) / 2**20
        print(
            f'  {how:9}  {best[how]:6.2f} s   peak {peak / 1e9:5.2f} GB, '
            f'{over:+,.0f} MiB beside the tensors'
        )
    print(f'  ratio of the times {best["import"] / best["load_file"]:.2f}')


def run(how: str, folder: Path) -> dict[str, float]:
    """Measures in a process of its own: a peak is never unlearnt."""
    command = [sys.executable, __file__, '--measure', how, str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measured(how: str, folder: Path) -> dict[str, float]:
    """Seconds, and the peak of memory above what the programs themselves take, in bytes."""
    jnp.zeros(()).block_until_ready()
    config, part = network(folder)
    shapes = abstract(config) if how == 'import' else None
    before, began = forget_peak(), time.perf_counter()
    if how == 'import':
        kept = imported(folder, part, config, shapes)
        jax.block_until_ready(kept)
    else:
        kept = [load_file(path) for path in sorted(folder.glob('*.safetensors'))]
    return {'seconds': time.perf_counter() - began, 'peak': peak_bytes() - before}


def imported(folder: Path, part: str, config: NetworkConfig, params: Any) -> list[jax.Array]:
    """The arrays of a part on the device."""
    shapes = {
        jax.tree_util.keystr(at, simple=True, separator='/'): leaf.shape
        for at, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    plan = make_plan(*open_checkpoint(str(folder)), part, shapes, config)
    return [x for x in jax.tree.leaves(load(params, plan, config)) if isinstance(x, jax.Array)]


def network(folder: Path) -> tuple[NetworkConfig, str]:
    """The network whose part the checkpoint is, with the settings that its family asks for."""
    _, family = open_checkpoint(str(folder))
    if family.vision:
        vision = VitConfig(**family.vision)
        return NetworkConfig(vision, TINY_TEXT), 'vision'
    return NetworkConfig(TINY_VIT, text_config(folder, family), wiring_of(family)), 'text'


def text_config(folder: Path, family: Family) -> TextConfig:
    """The text side at the checkpoint's vocabulary."""
    rows = json.loads((folder / 'config.json').read_text())['vocab_size']
    return TextConfig(rows, **family.text)


def wiring_of(family: Family) -> str:
    """An encoder needs one that has it, a decoder alone one without cross-attention."""
    return 'fusion_encoder' if family.text.get('num_encoder_layers') else 'prefix_lm'


def abstract(config: NetworkConfig) -> Any:
    """Shapes of the parameters."""
    height, width = config.vision.image_size
    batch = {
        'images': jnp.zeros((1, 1, height, width, 3), jnp.uint8),
        'image_mask': jnp.ones((1, 1), bool),
        'decoder_input_tokens': jnp.zeros((1, 4), jnp.int32),
        'encoder_input_tokens': jnp.zeros((1, 4), jnp.int32),
    }
    return jax.eval_shape(VisionTextNetwork(config).init, jax.random.key(0), batch)['params']


# ---- synthetic checkpoints -----------------------------------------------------------------------


def written(scratch: Path, gigabytes: float | None) -> Iterator[Path]:
    """Folders as Hugging Face saves them."""
    if gigabytes is None:
        yield write(scratch / 'ViT-B', VIT, vit_shapes())
        yield write(scratch / 'T5 base', T5, t5_shapes())
        return
    table = 4e-9 * GEMMA['vocab_size'] * GEMMA['hidden_size']
    layer = 4e-9 * sum(math.prod(shape) for _, shape in gemma_layer(0))
    layers = math.ceil((gigabytes - table) / layer)
    shapes = [('model.embed_tokens.weight', (GEMMA['vocab_size'], 2048))]
    shapes += [('model.norm.weight', (2048,))]
    shapes += [each for i in range(layers) for each in gemma_layer(i)]
    config = {**GEMMA, 'num_hidden_layers': layers}
    yield write(scratch / f'Gemma of {layers} layers', config, shapes)


Shapes = list[tuple[str, tuple[int, ...]]]


def write(folder: Path, config: dict[str, Any], shapes: Shapes) -> Path:
    """Random float32 tensors in shards; never more than a shard in memory."""
    folder.mkdir()
    (folder / 'config.json').write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    weight_map, shard = {}, {}

    def flush() -> None:
        name = f'model-{len(set(weight_map.values())):05}.safetensors'
        save_file(shard, folder / name)
        weight_map.update(dict.fromkeys(shard, name))
        shard.clear()

    for name, shape in shapes:
        shard[name] = rng.standard_normal(shape, np.float32)
        if sum(value.nbytes for value in shard.values()) > SHARD:
            flush()
    flush()
    index = folder / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': weight_map}))
    os.sync()
    return folder


def vit_shapes(width: int = 768, hidden: int = 3072, layers: int = 12) -> Shapes:
    """ViT-B/16 at 224 px."""
    shapes: Shapes = [
        ('embeddings.cls_token', (1, 1, width)),
        ('embeddings.position_embeddings', (1, 197, width)),
        ('embeddings.patch_embeddings.projection.weight', (width, 3, 16, 16)),
        ('embeddings.patch_embeddings.projection.bias', (width,)),
        ('layernorm.weight', (width,)),
        ('layernorm.bias', (width,)),
    ]
    parts = {
        'attention.attention.query': (width, width),
        'attention.attention.key': (width, width),
        'attention.attention.value': (width, width),
        'attention.output.dense': (width, width),
        'intermediate.dense': (hidden, width),
        'output.dense': (width, hidden),
        'layernorm_before': (width,),
        'layernorm_after': (width,),
    }
    for i in range(layers):
        for name, shape in parts.items():
            shapes.append((f'encoder.layer.{i}.{name}.weight', shape))
            shapes.append((f'encoder.layer.{i}.{name}.bias', shape[:1]))
    return shapes


def t5_shapes(width: int = 768, hidden: int = 2048, layers: int = 12) -> Shapes:
    """T5 1.1 base."""
    shapes: Shapes = [('shared.weight', (32_128, width)), ('lm_head.weight', (32_128, width))]
    for stack, kinds in (
        ('encoder', ['SelfAttention']),
        ('decoder', ['SelfAttention', 'EncDecAttention']),
    ):
        bias = f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight'
        shapes += [(bias, (32, 12)), (f'{stack}.final_layer_norm.weight', (width,))]
        for i in range(layers):
            for j, kind in enumerate(kinds):
                layer = f'{stack}.block.{i}.layer.{j}.'
                shapes += [(f'{layer}{kind}.{each}.weight', (width, width)) for each in 'qkvo']
                shapes.append((f'{layer}layer_norm.weight', (width,)))
            layer = f'{stack}.block.{i}.layer.{len(kinds)}.'
            for each, shape in (('wi_0', (hidden, width)), ('wi_1', (hidden, width))):
                shapes.append((f'{layer}DenseReluDense.{each}.weight', shape))
            shapes.append((f'{layer}DenseReluDense.wo.weight', (width, hidden)))
            shapes.append((f'{layer}layer_norm.weight', (width,)))
    return shapes


def gemma_layer(i: int) -> Shapes:
    """One layer of Gemma 2B."""
    layer = f'model.layers.{i}.'
    return [
        (f'{layer}self_attn.q_proj.weight', (2048, 2048)),
        (f'{layer}self_attn.k_proj.weight', (256, 2048)),
        (f'{layer}self_attn.v_proj.weight', (256, 2048)),
        (f'{layer}self_attn.o_proj.weight', (2048, 2048)),
        (f'{layer}mlp.gate_proj.weight', (16384, 2048)),
        (f'{layer}mlp.up_proj.weight', (16384, 2048)),
        (f'{layer}mlp.down_proj.weight', (2048, 16384)),
        (f'{layer}input_layernorm.weight', (2048,)),
        (f'{layer}post_attention_layernorm.weight', (2048,)),
    ]


if __name__ == '__main__':
    main()
