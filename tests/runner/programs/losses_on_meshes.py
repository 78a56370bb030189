"""Losses of five steps on several meshes of 8 fake devices, as JSON: run by test_mesh.py."""

import functools
import json
import sys

import gin
import jax
import numpy as np
import optax

from vlm.model import VisionTextModel
from vlm.runner.config import GinFlags, load
from vlm.runner.mesh import MeshConfig
from vlm.runner.optimizers import Optimizer
from vlm.runner.parts import frozen_parameters
from vlm.runner.placement import shapes_and_axes, shardings
from vlm.runner.state import TrainState, flat_names
from vlm.runner.train_step import make_train_step

FAMILIES = ('pali_tiny', 'paligemma_tiny', 'locca_tiny')
# Of these on one mesh, where not all are tried on all.
QUICK = {'pali_tiny': '2x2x2 in parts'}
SMALL = [
    'IMAGE_SIZE = (16, 16)',
    'vit.VitConfig.num_layers = 1',
    't5.TextConfig.num_layers = 1',
    'model.VisionTextModel.parallel_prediction = 0.0',
]
MESHES = {
    '8x1x1': {'data': 8},
    '1x8x1': {'fsdp': 8},
    '2x2x2': {'fsdp': 2, 'tensor': 2},
}
BATCH, PROMPT, ANSWER = 8, 4, 4


def random_batch(model: VisionTextModel) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    fusion = model.module.config.wiring == 'fusion_encoder'
    length = ANSWER if fusion else PROMPT + ANSWER

    def ids(count: int) -> np.ndarray:
        return rng.integers(2, 50, (BATCH, count), np.int32)

    batch = {
        'images': rng.integers(0, 256, (BATCH, 1, 16, 16, 3), np.uint8),
        'image_mask': np.ones((BATCH, 1), bool),
        'decoder_input_tokens': ids(length),
        'decoder_target_tokens': ids(length),
        # Rows of different length, so that devices and microbatches have different numbers of them.
        'decoder_loss_weights': np.tril(np.ones((BATCH, length), np.float32), length - BATCH + 1),
    }
    if fusion:
        return batch | {'encoder_input_tokens': ids(PROMPT)}
    segments = np.ones((BATCH, length), np.int32)
    prefix = np.broadcast_to(np.arange(length) < PROMPT, (BATCH, length))
    return batch | {'decoder_prefix_mask': prefix, 'decoder_segment_ids': segments}


def five_steps(model, batch, mesh, params, axes, microbatches: int) -> dict:
    """Losses and gradient norms, clipped well below what they would be."""
    config = Optimizer(optax.adamw, lambda step: 1e-3, clip_norm=0.1, ema_decay=0.9)
    optimizer = config.transformation(frozen_parameters(model))

    def make(params) -> TrainState:
        return TrainState.create(params, optimizer, ema=True)

    places = shardings(jax.eval_shape(make, params), axes, mesh)
    state = jax.tree.map(jax.device_put, make(params), places)
    jit = functools.partial(mesh.jit, out_shardings=(places, mesh.replicated))
    step = make_train_step(model, optimizer, config, microbatches, jit)
    told = {'loss': [], 'grad_norm': [], 'token_accuracy': []}
    for _ in range(5):
        state, values = step(state, mesh.put(batch), jax.random.key(1))
        for name, numbers in told.items():
            numbers.append(float(values[name]))
    kernel = state.opt_state[1][0].mu['connector']['projection']['kernel']
    averages = map(np.asarray, jax.tree.leaves(state.ema_params))
    return told | {
        'average': sum(float(np.abs(leaf).sum()) for leaf in averages),
        'bytes': kernel.addressable_shards[0].data.nbytes,
        'programs': step._cache_size(),
    }


def runs_of(family: str, every: bool) -> dict[str, tuple[dict, int]]:
    """(Axes, microbatches) by name: one device first, then a mesh of the family's own or every."""
    runs = {'one': ({}, 1)} | {name: (axes, 1) for name, axes in MESHES.items()}
    runs |= {'2x2x2 in parts': (MESHES['2x2x2'], 2)}
    return runs if every else {name: runs[name] for name in ('one', QUICK[family])}


def main(every: bool) -> None:
    results = {}
    for family in FAMILIES if every else QUICK:
        load(GinFlags([f'models/{family}.gin'], [], SMALL))
        model = gin.get_configurable(VisionTextModel)()
        batch = random_batch(model)
        shapes = {name: value.shape for name, value in batch.items()}
        axes = shapes_and_axes(model, shapes)[1]
        params = None
        for name, (sizes, microbatches) in runs_of(family, every).items():
            mesh = MeshConfig(sizes).build(jax.devices() if sizes else jax.devices()[:1])
            if params is None:
                params = first_parameters(model, batch, axes)
            result = five_steps(model, batch, mesh, params, axes, microbatches)
            results[f'{family} {name}'] = result
    print(json.dumps(results))


def first_parameters(model, batch, axes) -> dict[str, np.ndarray]:
    """Drawn on one device; for one family also on eight, which must give the same."""
    shapes = {name: value.shape for name, value in batch.items()}

    def make(rng):
        return model.get_initial_variables(rng, shapes)['params']

    key = jax.random.key(0)
    one = MeshConfig().build(jax.devices()[:1])
    drawn = jax.tree.map(np.asarray, one.jit(make)(key))
    if model.module.config.wiring == 'fusion_encoder':
        mesh = MeshConfig({'fsdp': 8}).build()
        places = shardings(jax.eval_shape(make, key), axes, mesh)
        together = flat_names(mesh.jit(make, out_shardings=places)(key))
        for name, leaf in flat_names(drawn).items():
            np.testing.assert_array_equal(together[name], leaf)
    return drawn


if __name__ == '__main__':
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', 8)
    main('--every' in sys.argv)
