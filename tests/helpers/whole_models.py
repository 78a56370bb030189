"""Whole models that run in microseconds, a batch for them, and each method compiled once."""

import dataclasses
import functools

import jax

from vlm.model import VisionTextModel
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig

import miniature

VOCAB, PROMPT, ANSWER = 9, 5, 6

# Pairs of prompt and answer of different lengths, each ended by 1.
PAIRS = [([5, 6, 7, 8, 1], [7, 8, 1]), ([4, 1], [6, 5, 4, 3, 2, 1]), ([1], [3, 1])]
OWN_ROWS = [[pair] for pair in PAIRS]

make_batch = functools.partial(miniature.make_batch, prompt=PROMPT, answer=ANSWER)


@functools.lru_cache
def make_model(
    wiring: str,
    layers: int = 1,
    vocab: int = VOCAB,
    dropout: float = 0.0,
    stack: tuple[tuple[str, object], ...] = (),
    **options,
):
    encoder = 1 if wiring == 'fusion_encoder' else 0
    vision = VitConfig((8, 8), 4, width=16, num_layers=1, num_heads=2, mlp_dim=16, dropout=dropout)
    text = TextConfig(
        vocab, 16, layers, encoder, num_heads=2, head_dim=8, mlp_dim=32, dropout=dropout
    )
    text = dataclasses.replace(text, **dict(stack))
    return VisionTextModel(VisionTextNetwork(NetworkConfig(vision, text, wiring)), **options)


@functools.lru_cache
def jitted(model: VisionTextModel, method: str, **options):
    """One compilation a model, method and shape for all tests."""
    return jax.jit(functools.partial(getattr(model, method), **options))
