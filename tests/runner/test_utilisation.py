"""Model FLOPs of a step against the sizes of its matrices."""

import jax
import pytest

from vlm.model import VisionTextModel
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.utilisation import step_flops

from miniature import make_batch

ROWS = [[([5, 6, 1], [7, 1])]] * 3  # rows of 5 tokens


@pytest.mark.parametrize('freeze', [False, True])
@pytest.mark.parametrize('scan', [False, True])
def test_operations_of_a_step(freeze, scan):
    layers = 2
    vision = VitConfig(
        (8, 8), 4, width=16, num_layers=layers, num_heads=2, mlp_dim=24, scan_layers=scan
    )
    text = TextConfig(9, 32, 1, num_heads=2, head_dim=8, mlp_dim=40)
    model = VisionTextModel(VisionTextNetwork(NetworkConfig(vision, text, freeze_vision=freeze)))
    batch = make_batch('decoder_prefix', ROWS, prompt=3, answer=2)
    variables = jax.eval_shape(lambda key: model.module.init(key, batch), jax.random.key(0))
    # Products of one image: 4 patches of 4 x 4 x 3 numbers, then per layer 4 projections, two of
    # the MLP, and queries with keys, weights with values.
    seen = 4 * 48 * 16 + layers * (4 * (4 * 16 * 16 + 2 * 16 * 24) + 2 * 4 * 4 * 16)
    memory = 4 * 16 * 32 + 4 * 2 * 32 * 16  # connector; keys and values for the decoder
    # Of 5 tokens: 4 + 2 projections, a gated MLP, attention to 5 tokens and 4 patches, logits.
    said = 5 * (6 * 32 * 16 + 3 * 32 * 40 + 2 * 16 * (5 + 4) + 32 * 9)
    expected = 3 * 2 * ((1 if freeze else 3) * seen + 3 * (memory + said))
    assert step_flops(model, variables['params'], batch) == expected
