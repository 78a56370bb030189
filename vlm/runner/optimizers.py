"""Optimizers from gin: any optax transformation, a schedule, clipping and frozen parts.

optimizers.Optimizer.make = @optax.adamw          # called with learning_rate=schedule
optax.adamw.weight_decay = 1e-4
optimizers.Optimizer.schedule = @optimizers.warmup_cosine()
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from optax import contrib

from vlm.errors import UserError, unknown_name
from vlm.model import VisionTextModel
from vlm.runner.parts import PARTS, frozen_parameters, on_all, on_trained, scale_parts
from vlm.runner.state import path_name

Schedule = Callable[[Any], Any]

# Of x, x**3 and x**5 in an iteration of Muon (Jordan 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """How parameters are updated.

    Attributes:
      make: called with `learning_rate=schedule`, gives an optax transformation.
      schedule: step -> learning rate.
      clip_norm: gradients are scaled down to at most this global norm; None for never.
      ema_decay: parameters are averaged over time with this decay for evaluation; None for not.
      multipliers: of the learning rate, by part: `{'vision': 0.1}`; parts are vision, connector and
        text, and 1 is meant where nothing is said.
    """

    make: Callable[..., optax.GradientTransformation]
    schedule: Schedule
    clip_norm: float | None = 1.0
    ema_decay: float | None = None
    multipliers: Mapping[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        if self.ema_decay is not None and not 0.0 < self.ema_decay < 1.0:
            raise UserError(f'Optimizer.ema_decay = {self.ema_decay} is not between 0 and 1.')
        for part, factor in self.multipliers.items():
            if part not in PARTS:
                raise unknown_name('part', part, PARTS, 'LEARNING_RATE_MULTIPLIERS')
            if not factor > 0:
                raise UserError(
                    f'LEARNING_RATE_MULTIPLIERS: {part} = {factor} is not above 0; to keep the '
                    'vision encoder as it is, bind FREEZE_VISION.'
                )

    def transformation(self, frozen: Callable[[str], bool]) -> optax.GradientTransformation:
        """The whole chain, for the parameters whose name is not `frozen` (see `on_trained`)."""
        chain = [] if self.clip_norm is None else [optax.clip_by_global_norm(self.clip_norm)]
        chain.append(self.make(learning_rate=self.schedule))
        if self.multipliers:
            chain.append(scale_parts(self.multipliers))
        return on_trained(optax.chain(*chain), frozen)

    def of_all_parameters(self, model: VisionTextModel) -> optax.GradientTransformation:
        """The same for an engine that has gradients of frozen parameters too, such as T5X."""
        frozen = frozen_parameters(model)
        return on_all(self.transformation(frozen), frozen)


def warmup_cosine(
    peak: float = 1e-3, warmup_steps: int = 100, total_steps: int = 1000, final: float = 0.0
) -> Schedule:
    """Linear from 0 to `peak`, then half a cosine down to `final * peak` at `total_steps`.

    A run shorter than its warm-up ends before the peak.
    """

    def rate(step: Any) -> Any:
        warm = step / max(warmup_steps, 1)
        share = jnp.clip((step - warmup_steps) / max(total_steps - warmup_steps, 1), 0.0, 1.0)
        cosine = final + (1.0 - final) * 0.5 * (1.0 + jnp.cos(math.pi * share))
        return peak * jnp.where(step < warmup_steps, warm, cosine)

    return rate


def warmup_stable_decay(
    peak: float = 1e-3,
    warmup_steps: int = 100,
    decay_share: float = 0.3,
    total_steps: int = 1000,
    final: float = 0.0,
) -> Schedule:
    """Linear from 0 to `peak`, there until the last `decay_share` of the run, then linear down.

    Ends at `final * peak` (WSD, MiniCPM, 2404.06395). What a short run learns late, it learns at
    the full rate.
    """

    def rate(step: Any) -> Any:
        warm = jnp.minimum(step / max(warmup_steps, 1), 1.0)
        left = jnp.clip((total_steps - step) / max(decay_share * total_steps, 1.0), 0.0, 1.0)
        return peak * warm * (final + (1.0 - final) * left)

    return rate


def warmup_rsqrt(
    peak: float = 1e-3, warmup_steps: int = 1000, cooldown_steps: int = 0, total_steps: int = 0
) -> Schedule:
    """Linear warm-up, then peak * sqrt(warmup / step) (T5, PaliGemma); linear to 0 at the end."""
    if cooldown_steps and warmup_steps + cooldown_steps > total_steps:
        raise UserError(
            f'warmup_rsqrt needs {warmup_steps} + {cooldown_steps} steps to warm up and cool down, '
            f'but total_steps is {total_steps}.'
        )

    def rate(step: Any) -> Any:
        warm = step / max(warmup_steps, 1)
        decay = jnp.sqrt(max(warmup_steps, 1) / jnp.maximum(step, 1))
        left = (total_steps - step) / max(cooldown_steps, 1) if cooldown_steps else 1.0
        return peak * jnp.where(step < warmup_steps, warm, decay) * jnp.clip(left, 0.0, 1.0)

    return rate


def muon(
    learning_rate: Schedule,
    adam_share: float = 0.3,
    weight_decay: float = 0.0,
    adam_b2: float = 0.99,
    momentum: float = 0.95,
) -> optax.GradientTransformation:
    """Muon for matrices, AdamW at `adam_share` of the learning rate for everything else.

    Muon (Jordan 2024, as optax.contrib has it) orthogonalises a matrix's mean gradient, in which
    that of a step before counts `momentum` times as much, in [0, 1); its rate is that of an update
    of unit norm, so AdamW beside it wants a smaller one.
    """
    return contrib.muon(
        learning_rate,
        # Five iterations as ever; given a row for each they are a loop, which is compiled sooner.
        ns_coeffs=(NEWTON_SCHULZ,) * 5,
        weight_decay=weight_decay,
        beta=momentum,
        adam_b2=adam_b2,
        adam_learning_rate=lambda step: adam_share * learning_rate(step),
        muon_weight_dimension_numbers=matrix_axes,
    )


def matrix_axes(params: Any) -> Any:
    """The axes of every parameter that is a matrix, or a stack of matrices; None for the others.

    A `kernel` is [I, O], or [layers, I, O] in a scanned stack; a convolution's [H, W, I, O] is one
    matrix of H * W * I rows. Embedding tables are matrices too, that of the relative positions
    included: at AdamW's smaller rate a short run ends before the decoder knows what comes next to
    what.
    """
    rows = {2: 0, 3: 1, 4: (0, 1, 2)}

    def axes(path: tuple, value: Any) -> contrib.MuonDimensionNumbers | None:
        name = path_name(path[-1:])
        if name != 'kernel' and not name.endswith('embedding'):
            return None
        return contrib.MuonDimensionNumbers(rows[value.ndim], value.ndim - 1)

    return jax.tree_util.tree_map_with_path(axes, params)
