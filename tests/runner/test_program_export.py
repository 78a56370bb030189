"""`vlm export --format stablehlo`: the program alone gives the answers that this package gives."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cross_section import all_but

from vlm.data.image_files import encode_png
from vlm.nn.network import NetworkConfig
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.ask import Predictor
from vlm.runner.model_file import Serving
from vlm.runner.program_export import lowered, predict_function
from vlm.runner.state import flat_names

from miniature import GEMMA
from parity import abstract_params

DOCS = Path(__file__).parents[2] / 'docs' / 'weights.md'
STRANGERS = ('vlm', 'flax', 'tensorflow', 'seqio', 'gin')
VISION = VitConfig((8, 8), 4, width=8, num_layers=1, num_heads=2, mlp_dim=8)
SIZES = {'num_heads': 2, 'head_dim': 4, 'mlp_dim': 8}


def example() -> str:
    """The program of docs/weights.md."""
    return re.search(r'<!-- stablehlo -->\n```python\n(.*?)```', DOCS.read_text(), re.S)[1]


def test_a_process_without_this_package_answers_the_same(vlm, trained, tmp_path):
    pixels = np.full((16, 16, 3), 255, np.uint8)
    pixels[3:11, 5:13] = (0, 0, 255)
    (tmp_path / 'picture.png').write_bytes(encode_png(pixels))
    folder = tmp_path / 'exported'
    assert vlm('export', str(trained), '--format', 'stablehlo', '--output', str(folder)) == 0
    guard = f'import sys\nsys.modules.update(dict.fromkeys({STRANGERS}))\n'
    told = 'print(json.dumps([tokens[0].tolist(), float(scores[0])]))\n'
    done = subprocess.run(
        [sys.executable, '-c', guard + example() + told],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    text, numbers = done.stdout.strip().splitlines()
    predictor = Predictor.load(trained)
    answer = predictor.ask(encode_png(pixels), 'what color is it?')
    assert text == answer.text == 'blue'
    tokens, score = json.loads(numbers)
    ended = [*predictor.tokenizer.encode('blue'), 1]
    assert tokens == ended + [0] * (8 - len(ended))
    np.testing.assert_allclose(score, answer.score, rtol=1e-5)


NETWORKS = {
    'decoder_prefix': (VISION, TextConfig(20, 8, 1, **SIZES)),
    'prefix_lm': (
        dataclasses.replace(VISION, num_registers=1),
        TextConfig(20, 8, 1, attention_softcap=5.0, **SIZES, **GEMMA),
    ),
    'fusion_encoder': (VISION, TextConfig(20, 8, 1, num_encoder_layers=1, **SIZES)),
    'V-MoE': (
        dataclasses.replace(VISION, moe_blocks=(0,), moe_experts=2),
        TextConfig(20, 8, 1, **SIZES),
    ),
}


@pytest.mark.parametrize('name', all_but(('prefix_lm', 'V-MoE'), NETWORKS))
def test_every_wiring_and_batches_of_any_size(name):
    wiring = 'decoder_prefix' if name == 'V-MoE' else name
    config = NetworkConfig(*NETWORKS[name], wiring)
    serving = Serving(config, {}, {'images': 2, 'inputs': 4, 'targets': 3}, {}, {}, {})
    shapes = flat_names(abstract_params(config))
    program, _ = lowered(serving, shapes)
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.normal(0, 0.5, x.shape), x.dtype) for x in shapes.values()]
    ours = jax.jit(predict_function(serving, list(shapes)))
    seen = set()
    for size in (1,) if name == 'V-MoE' else (1, 3):
        images = rng.integers(0, 256, (size, 2, 8, 8, 3), np.uint8)
        prompt = np.array([[5, 9, 1, 0], [4, 1, 0, 0], [7, 3, 6, 1]], np.int32)[:size]
        arguments = (weights, images, np.ones((size, 2), bool), prompt)
        tokens, scores = jax.jit(program.call)(*arguments)
        expected = ours(*arguments)
        np.testing.assert_array_equal(tokens, expected[0])
        np.testing.assert_allclose(scores, expected[1], rtol=1e-5)
        seen |= set(np.asarray(tokens).ravel().tolist())
    assert len(seen) > 2 or name == 'V-MoE'
