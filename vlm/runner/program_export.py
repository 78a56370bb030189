"""A run's prediction as a StableHLO program for processes that have JAX and not this package.

Its weights lie apart, so that one program serves every checkpoint of a run. The calling convention
is in docs/weights.md; `program.json` beside the program tells it to programs.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from vlm.model import VisionTextModel
from vlm.nn.network import VisionTextNetwork
from vlm.runner.model_file import Serving
from vlm.runner.state import nested
from vlm.weights.own_files import export as export_own

PROGRAM, CONVENTION = 'program.bin', 'program.json'
# Lowered for all three, whatever machine exports.
PLATFORMS = ('cpu', 'cuda', 'tpu')
OUTPUTS = ('tokens', 'scores')

Predict = Callable[..., tuple[jax.Array, jax.Array]]


def export_program(
    params: Mapping[str, Any], model: Path, vocabulary: Path, folder: Path
) -> list[Path]:
    """Writes program, convention, weights (name -> array), model file and vocabulary.

    The folder is one of `vlm.weights.own_files` too. Returns the paths of program and weights.
    """
    serving = Serving.from_json(json.loads(model.read_text()))
    shapes = {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in params.items()}
    program, inputs = lowered(serving, shapes)
    weights = export_own(params, model, vocabulary, folder)
    (folder / PROGRAM).write_bytes(program.serialize())
    end = serving.prompt_form.end_id
    convention = {
        'platforms': program.platforms,
        'weights': [_described(name, spec) for name, spec in shapes.items()],
        'inputs': [_described(name, spec) for name, spec in inputs.items()],
        'outputs': [
            _described(name, spec) for name, spec in zip(OUTPUTS, program.out_avals, strict=True)
        ],
        'image': serving.frame,
        'prompt_end': [] if end is None else [end],
    }
    (folder / CONVENTION).write_text(json.dumps(convention, indent=1) + '\n')
    return [folder / PROGRAM, weights]


def input_specs(serving: Serving, batch: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """What the program takes after its weights, in this order, for a size or a symbol of one."""
    images = serving.lengths.get('images', 1)
    return {
        'images': jax.ShapeDtypeStruct(
            (batch, images, *serving.network.vision.image_size, 3), jnp.uint8
        ),
        'image_mask': jax.ShapeDtypeStruct((batch, images), jnp.bool_),
        'prompt': jax.ShapeDtypeStruct((batch, serving.lengths['inputs']), jnp.int32),
    }


def lowered(
    serving: Serving, shapes: Mapping[str, jax.ShapeDtypeStruct]
) -> tuple[jax_export.Exported, dict[str, jax.ShapeDtypeStruct]]:
    """The program of greedy decoding, which is how `vlm ask` answers, and what it takes.

    It takes batches of any size; of one where the network groups the images of a batch (V-MoE).
    """
    (batch,) = jax_export.symbolic_shape('b')
    inputs = input_specs(serving, 1 if serving.network.vision.moe_blocks else batch)
    predict = jax.jit(predict_function(serving, list(shapes)), keep_unused=True)
    exported = jax_export.export(predict, platforms=PLATFORMS)
    return exported(list(shapes.values()), *inputs.values()), inputs


def predict_function(serving: Serving, names: Sequence[str]) -> Predict:
    """`f(weights, images, image_mask, prompt) -> (tokens, scores)`, weights in the order `names`.

    Prompts are ids, ended and then padded as the network was trained on them.
    """
    model = VisionTextModel(VisionTextNetwork(serving.network))
    answer = serving.lengths['targets']

    def predict(weights: Any, images: Any, image_mask: Any, prompt: Any) -> Any:
        batch = {'images': images, 'image_mask': image_mask}
        if serving.network.wiring == 'fusion_encoder':
            batch['encoder_input_tokens'] = prompt
            batch['decoder_input_tokens'] = jnp.zeros((prompt.shape[0], answer), jnp.int32)
        else:
            # As `vlm.data.rows` lays it out: position 0 reads the beginning of the row.
            row = jnp.pad(prompt, ((0, 0), (1, answer - 1)))
            row = row.at[:, 0].set(serving.prompt_form.bos_id)
            length = 1 + jnp.sum(prompt != 0, axis=1, keepdims=True)
            batch['decoder_input_tokens'] = row
            batch['decoder_prefix_mask'] = jnp.arange(row.shape[1]) < length
        params = nested(dict(zip(names, weights, strict=True)))
        tokens, aux = model.predict_batch_with_aux(params, batch, max_decode_length=answer)
        return tokens, aux['scores']

    return predict


def _described(name: str, spec: Any) -> dict[str, Any]:
    shape = [size if isinstance(size, int) else str(size) for size in spec.shape]
    return {'name': name, 'shape': shape, 'dtype': np.dtype(spec.dtype).name}
