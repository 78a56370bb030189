"""What the benchmarks share: networks with counted operations, and times.

Nothing here imports TensorFlow. Times are the least of several, taken in turn, so that what is
compared was measured under the same conditions; a ratio holds within one run only.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import flax
import jax
import numpy as np

from vlm.data.rows import make_row
from vlm.model import VisionTextModel
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.vocab import EOS_ID

ROW = ('input_tokens', 'target_tokens', 'loss_weights', 'prefix_mask', 'segment_ids')
VOCABULARY = 1024


def make_model(
    vision_layers: int,
    decoder_layers: int,
    freeze: bool = False,
    wiring: str = 'decoder_prefix',
    pairs_share_row: bool = False,
    **stack: Any,
) -> VisionTextModel:
    """Width 256, images of 128 px in patches of 16, float32.

    `stack` goes to both stacks, over a scanned vision encoder and an unrolled decoder. In
    `fusion_encoder` there are as many layers in the text encoder as in the decoder.
    """
    vision = {'width': 256, 'num_layers': vision_layers, 'mlp_dim': 1024, 'scan_layers': True}
    vision = VitConfig((128, 128), num_heads=4, **{**vision, **stack})
    text = {'num_heads': 4, 'head_dim': 64, 'mlp_dim': 1024, **stack}
    encoder_layers = decoder_layers if wiring == 'fusion_encoder' else 0
    text = TextConfig(VOCABULARY, 256, decoder_layers, encoder_layers, **text)
    config = NetworkConfig(vision, text, wiring, pairs_share_row, freeze_vision=freeze)
    return VisionTextModel(VisionTextNetwork(config))


def make_batch(
    size: int, prompt: int, answer: int, *, pairs: int = 1, seed: int = 0
) -> dict[str, np.ndarray]:
    """Random images, each with `pairs` prompts and answers in its row, all of the same length."""
    rng = np.random.default_rng(seed)
    lengths = {f'decoder_{name}': pairs * (prompt + answer) for name in ROW}

    def tokens(count: int) -> np.ndarray:
        ids = rng.integers(3, VOCABULARY, (pairs, count), dtype=np.int32)
        ids[:, -1] = EOS_ID
        return ids.ravel()

    rows = [
        make_row('decoder_prefix', tokens(prompt), tokens(answer), lengths) for _ in range(size)
    ]
    return {
        'images': rng.integers(0, 256, (size, 1, 128, 128, 3), np.uint8),
        'image_mask': np.ones((size, 1), bool),
        **{name: np.stack([row[name] for row in rows]) for name in rows[0]},
    }


def make_params(model: VisionTextModel, batch: dict[str, np.ndarray]) -> Any:
    """Freshly drawn parameters."""
    shapes = {name: value.shape for name, value in batch.items()}
    init = jax.jit(lambda key: model.get_initial_variables(key, shapes)['params'])
    return init(jax.random.key(0))


# ---- operations of a forward pass: two for every multiplication of a matrix product ----


def vision_flops(config: NetworkConfig) -> float:
    """Of one image, up to the tokens that the decoder attends to."""
    vit, tokens = config.vision, config.vision.num_tokens
    patches = tokens * vit.patch_size**2 * 3 * vit.width
    block = tokens * (4 * vit.width**2 + 2 * vit.width * vit.mlp_dim) + 2 * tokens**2 * vit.width
    return 2.0 * (patches + vit.num_layers * block + tokens * vit.width * config.text.width)


def memory_flops(config: NetworkConfig) -> float:
    """Of the keys and values that the decoder's layers make of one image."""
    text, tokens = config.text, config.vision.num_tokens
    return 4.0 * text.num_layers * tokens * text.width * text.num_heads * text.head_dim


def text_flops(config: NetworkConfig, tokens: int, slots: int, scored: int) -> float:
    """Of `tokens` decoder positions that see `slots` each; logits for `scored` of them."""
    text, inner = config.text, config.text.num_heads * config.text.head_dim
    weights = 6 * text.width * inner + (3 if text.gated_mlp else 2) * text.width * text.mlp_dim
    attended = 2 * inner * (slots + config.vision.num_tokens)
    blocks = tokens * text.num_layers * (weights + attended)
    return 2.0 * (blocks + scored * text.width * text.vocab_size)


# ---- times ----


def fastest(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Seconds of each function, the least of `repeats`, in turn; each runs once unmeasured."""
    for function in functions.values():
        jax.block_until_ready(function())
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            began = time.perf_counter()
            jax.block_until_ready(function())
            times[name].append(time.perf_counter() - began)
    return {name: min(values) for name, values in times.items()}


def machine() -> str:
    """The device, the versions, and how busy the machine is already."""
    device = jax.devices()[0]
    load = f'load {os.getloadavg()[0]:.1f}' if hasattr(os, 'getloadavg') else 'load unknown'
    return f'{device.device_kind}, jax {jax.__version__}, flax {flax.__version__}, {load}'
