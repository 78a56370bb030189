"""Gradients of the trained parameters over a batch, at once or in microbatches."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlm.losses import Whole
from vlm.model import VisionTextModel
from vlm.nn.layers import placed
from vlm.runner.parts import frozen_parameters, joined, split

PyTree = Any
Batch = Mapping[str, Array]
Gradient = Callable[[PyTree, Batch, Array], tuple[PyTree, dict[str, Any]]]


def make_gradient(model: VisionTextModel, num_microbatches: int = 1) -> Gradient:
    """`gradient(params, batch, rng)`: gradients of the trained parameters, and metrics.

    Frozen parameters are no argument of what is differentiated, so they have no gradient and no
    memory for one. With microbatches only the activations of one are held at a time; losses are
    divided by the answer tokens (or answers) of the whole batch, so sums of gradients and of
    metrics are those of the whole batch. What is drawn at random (dropout, parallel prediction) is
    drawn for each microbatch, and V-MoE's routers group the images of one.
    """
    frozen = frozen_parameters(model)

    def loss_of(
        trained: PyTree, kept: PyTree, batch: Batch, rng: Array, whole: Whole | None
    ) -> tuple[Array, Any]:
        return model.loss_fn(joined(trained, kept), batch, rng, whole)

    gradient = jax.grad(loss_of, has_aux=True)

    def at_once(params: PyTree, batch: Batch, rng: Array) -> tuple[PyTree, dict[str, Any]]:
        return gradient(*split(params, frozen), batch, rng, None)

    def in_parts(params: PyTree, batch: Batch, rng: Array) -> tuple[PyTree, dict[str, Any]]:
        trained, kept = split(params, frozen)
        whole = model.whole(batch, num_microbatches)

        def of_part(number: Array, part: Batch) -> tuple[PyTree, dict[str, Any]]:
            return gradient(trained, kept, part, jax.random.fold_in(rng, number), whole)

        def add(sums: PyTree, numbered: tuple[Array, Batch]) -> tuple[PyTree, None]:
            return jax.tree.map(jnp.add, sums, of_part(*numbered)), None

        numbered = jnp.arange(num_microbatches), microbatches(batch, num_microbatches)
        shapes = jax.eval_shape(of_part, *jax.tree.map(lambda leaf: leaf[0], numbered))
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
        return jax.lax.scan(add, zeros, numbered)[0]

    return at_once if num_microbatches == 1 else in_parts


def microbatches(batch: Batch, count: int) -> dict[str, Array]:
    """Every array [B, ...] as [count, B / count, ...]."""

    def cut(value: Array) -> Array:
        # Every count-th row: each device then holds its share of every microbatch already.
        parts = value.reshape(len(value) // count, count, *value.shape[1:]).swapaxes(0, 1)
        return placed(parts, None, 'batch', *[None] * (value.ndim - 1))

    return {name: cut(value) for name, value in batch.items()}
