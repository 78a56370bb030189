"""The training step: gradient, update, averages; left out whole where it is not finite."""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array

from vlm.model import VisionTextModel
from vlm.runner.gradients import make_gradient
from vlm.runner.guards import SKIPPED, keep_if
from vlm.runner.optimizers import Optimizer
from vlm.runner.parts import apply_updates, average, frozen_parameters
from vlm.runner.state import TrainState

# (state, batch, rng) -> (state, metrics); jitted, so that it can be compiled before it is called.
StepFn = jax.stages.Wrapped


def make_train_step(
    model: VisionTextModel,
    optimizer: optax.GradientTransformation,
    config: Optimizer,
    num_microbatches: int = 1,
    jit: Callable[..., StepFn] = jax.jit,
) -> StepFn:
    """The jitted step; the state's buffers are given away. `jit` is that of a mesh."""
    gradient, frozen = make_gradient(model, num_microbatches), frozen_parameters(model)

    @functools.partial(jit, donate_argnums=0)
    def step(
        state: TrainState, batch: Mapping[str, Array], rng: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        rng = jax.random.fold_in(rng, state.step)
        grads, metrics = gradient(state.params, batch, rng)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None:
            ema_params = average(ema_params, params, config.ema_decay, frozen)
        values = {name: metric.compute() for name, metric in metrics.items()}
        values['grad_norm'] = optax.tree.norm(grads)
        values['learning_rate'] = config.schedule(state.step)
        finite = jnp.isfinite(values['loss']) & jnp.isfinite(values['grad_norm'])
        values[SKIPPED] = ~finite
        new = TrainState(state.step + 1, params, opt_state, ema_params)
        return keep_if(finite, new, state), values

    return step


def make_train_steps(
    model: VisionTextModel,
    optimizer: optax.GradientTransformation,
    config: Optimizer,
    seed: int,
    num_microbatches: int = 1,
    jit: Callable[..., StepFn] = jax.jit,
) -> Callable[[int], StepFn]:
    """The step function of each step number: that of a patch size drawn for it, if there are some.

    Every size is a program of its own with static shapes, compiled when it is first drawn. The draw
    depends on seed and step alone, so a continued run goes on with the same ones.
    """
    sizes = model.module.config.vision.train_patch_sizes
    models = [model.with_patch_size(size) for size in sizes] or [model]
    steps = [make_train_step(each, optimizer, config, num_microbatches, jit) for each in models]
    return lambda step: steps[np.random.default_rng((seed, step)).integers(len(steps))]
