"""Model FLOP utilisation: how much of the devices' rate a training step makes use of.

The rate is measured, not looked up: what large matrix products of the model's own dtype reach on
this device. It is what an application can have, a little below a vendor's figure.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp

from vlm.model import VisionTextModel
from vlm.nn.flops import count_flops
from vlm.nn.network import VisionTextNetwork


def step_flops(model: VisionTextModel, params: Any, batch: Any) -> float:
    """Model FLOPs of a training step; shapes are enough for `params` and `batch`.

    The backward pass is two products for each of the forward pass; a frozen vision encoder has
    none, one whose first blocks are frozen has that share less, and what `remat` computes again
    does not count.
    """
    vision = model.module.config.vision
    frozen_share = vision.frozen_blocks / vision.num_layers
    if model.module.config.freeze_vision:
        frozen_share = 1.0
    forward = count_flops(lambda p, b: model.loss_fn(p, b, None)[0], params, batch)
    if not frozen_share:
        return 3.0 * forward
    encoder = count_flops(
        lambda p, images: model.module.apply({'params': p}, images, method=_encoded_alone),
        params,
        batch['images'],
    )
    return 3.0 * forward - 2.0 * frozen_share * encoder


def _encoded_alone(network: VisionTextNetwork, images: Any) -> Any:
    return network.vision(images.reshape(-1, *images.shape[2:]).astype(jnp.float32))


def matrix_rate(dtype: Any = jnp.float32, repeats: int = 5) -> float:
    """Operations a second that one device reaches in products of large square matrices."""
    size = 1024 if jax.default_backend() == 'cpu' else 8192
    square = jnp.ones((size, size), dtype)
    product = jax.jit(lambda x: x @ x)
    jax.block_until_ready(product(square))
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(product(square))
        times.append(time.perf_counter() - began)
    return 2.0 * size**3 / min(times)
