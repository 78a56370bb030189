"""The training loop: fetch a batch, step, log, save, evaluate."""

import dataclasses
import functools
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jaxtyping import Array

from vlm.data.bad_data import bad_data
from vlm.data.prompts import check_overrides
from vlm.data.tasks import declared
from vlm.errors import UserError
from vlm.model import VisionTextModel
from vlm.runner.checkpoints import CheckpointConfig, Checkpoints
from vlm.runner.datasets import Batch, Batches, DatasetConfig
from vlm.runner.evaluate import Evaluation
from vlm.runner.interrupt import Interruption
from vlm.runner.logs import MetricsLog
from vlm.runner.mesh import DataMesh
from vlm.runner.optimizers import Optimizer
from vlm.runner.pretrained import Pretrained
from vlm.runner.progress import ProgressBar
from vlm.runner.run_dir import RunDir
from vlm.runner.state import TrainState, path_name

StepFn = Callable[[TrainState, Mapping[str, Array], Array], tuple[TrainState, dict[str, Any]]]


@dataclasses.dataclass
class Training:
    """What a finished (or interrupted) training leaves behind."""

    state: TrainState
    seconds: float  # of the whole loop
    step_seconds: float  # of it, in the train step on the device
    wait_seconds: float  # of it, waiting for data
    interrupted: signal.Signals | None = None  # what stopped it early; the state is saved


@dataclasses.dataclass
class Trainer:
    """A model, its data and its optimizer; `run` trains.

    Attributes:
      total_steps: where training ends, counted from the first step of the first run.
      log_period: steps between log points.
      seed: of the parameters and of dropout; the data have their own.
      pretrained: public checkpoints that the first run starts from.
    """

    model: VisionTextModel
    dataset: DatasetConfig
    optimizer: Optimizer
    total_steps: int
    checkpoints: CheckpointConfig = CheckpointConfig()
    evaluation: Evaluation | None = None
    eval_period: int | None = None
    log_period: int = 20
    seed: int = 0
    pretrained: Pretrained = Pretrained()

    def check(self) -> None:
        """Raises `UserError` for what would fail later, before anything is compiled."""
        self.dataset.provider()
        check_overrides(declared())
        room = self.model.max_answer_tokens
        longest = self.dataset.task_feature_lengths['targets']
        if room is not None and room < longest:
            raise UserError(
                f'VisionTextModel.max_answer_tokens = {room} is less than the {longest} answer '
                "tokens a row may hold (TASK_FEATURE_LENGTHS['targets']): some would not be "
                'trained on.'
            )
        if self.evaluation is not None:
            self.evaluation.check()
            vocab_size = self.model.module.config.text.vocab_size
            self.evaluation.decoding.check_vocabulary(vocab_size)

    def run(self, run: RunDir, log: MetricsLog, mesh: DataMesh) -> Training:
        """Trains from the latest checkpoint of `run`, or from the start, to `total_steps`."""
        mesh.check_batch_size(self.dataset.batch_size, 'BATCH_SIZE')
        checkpoints = Checkpoints(run.checkpoints, self.checkpoints)
        try:
            start = checkpoints.latest_step or 0
            converter = self.model.FEATURE_CONVERTER_CLS
            with self.dataset.training_batches(converter, start) as batches:
                return self._loop(run, log, mesh, checkpoints, batches, start)
        finally:
            checkpoints.close()

    def _loop(
        self,
        run: RunDir,
        log: MetricsLog,
        mesh: DataMesh,
        checkpoints: Checkpoints,
        batches: Batches,
        start: int,
    ) -> Training:
        batch = next(batches)
        optimizer = self.optimizer.transformation(frozen_parameters(self.model))
        state = self.initial_state(batch, optimizer, mesh)
        if start:
            state = checkpoints.restore(state)
        else:
            state = self.pretrained.into(state, self.model.module.config)
        step_fn_of = make_train_steps(self.model, optimizer, self.optimizer, self.seed)
        rng = jax.random.key(self.seed + 1)
        meter = _Meter(self, log)
        with ProgressBar('train', self.total_steps, start) as bar, Interruption() as stop:
            for step in range(start, self.total_steps):
                with meter.timed('step'):
                    state, metrics = step_fn_of(step)(state, mesh.put(batch), rng)
                    # One step in flight: the next batch is fetched while the device computes.
                with meter.timed('wait'):
                    if step + 1 < self.total_steps:
                        batch = next(batches)
                with meter.timed('step'):
                    jax.block_until_ready(metrics)
                bar.update(step + 1, meter.after(step + 1, metrics))
                if (step + 1) % checkpoints.period == 0:
                    checkpoints.save(state)
                if stop.signal:
                    break
                if self._evaluates_after(step + 1):
                    self.evaluation.run(self.model, state.best_params, run, log, step + 1, mesh)
        checkpoints.save(state)
        return meter.finish(state, stop.signal)

    def _evaluates_after(self, step: int) -> bool:
        # The end is evaluated by the caller, with the time it takes counted apart.
        return bool(
            self.evaluation
            and self.eval_period
            and step % self.eval_period == 0
            and step < self.total_steps
        )

    def initial_state(
        self, batch: Batch, optimizer: optax.GradientTransformation, mesh: DataMesh
    ) -> TrainState:
        """Parameters drawn from the seed, on every device of the mesh."""
        shapes = {name: value.shape for name, value in batch.items()}
        ema = self.optimizer.ema_decay is not None

        def make(rng: Array) -> TrainState:
            params = self.model.get_initial_variables(rng, shapes)['params']
            return TrainState.create(params, optimizer, ema)

        return jax.jit(make, out_shardings=mesh.replicated)(jax.random.key(self.seed))


def frozen_parameters(model: VisionTextModel) -> Callable[[str], bool]:
    """Which parameters are never updated: the vision encoder's, if it is frozen."""
    if model.module.config.freeze_vision:
        return lambda name: name.startswith('vision/')
    return lambda name: False


def make_train_step(
    model: VisionTextModel, optimizer: optax.GradientTransformation, config: Optimizer
) -> StepFn:
    """The jitted step; the state's buffers are given away."""
    frozen = frozen_parameters(model)

    def loss_of(params: Any, batch: Mapping[str, Array], rng: Array) -> tuple[Array, Any]:
        # Without this a frozen part would still get a gradient of zeros, and memory for it.
        stopped = jax.tree_util.tree_map_with_path(
            lambda path, leaf: jax.lax.stop_gradient(leaf) if frozen(path_name(path)) else leaf,
            params,
        )
        return model.loss_fn(stopped, batch, rng)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(
        state: TrainState, batch: Mapping[str, Array], rng: Array
    ) -> tuple[TrainState, dict[str, Array]]:
        rng = jax.random.fold_in(rng, state.step)
        gradient = jax.grad(loss_of, has_aux=True)
        grads, metrics = gradient(state.params, batch, rng)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        ema_params = state.ema_params
        if ema_params is not None:
            ema_params = optax.incremental_update(params, ema_params, 1.0 - config.ema_decay)
        values = {name: metric.compute() for name, metric in metrics.items()}
        values['grad_norm'] = optax.tree.norm(grads)
        values['learning_rate'] = config.schedule(state.step)
        return TrainState(state.step + 1, params, opt_state, ema_params), values

    return step


def make_train_steps(
    model: VisionTextModel, optimizer: optax.GradientTransformation, config: Optimizer, seed: int
) -> Callable[[int], StepFn]:
    """The step function of each step number: that of a patch size drawn for it, if there are some.

    Every size is a program of its own with static shapes, compiled when it is first drawn. The draw
    depends on seed and step alone, so a continued run goes on with the same ones.
    """
    sizes = model.module.config.vision.train_patch_sizes
    models = [model.with_patch_size(size) for size in sizes] or [model]
    steps = [make_train_step(each, optimizer, config) for each in models]
    return lambda step: steps[np.random.default_rng((seed, step)).integers(len(steps))]


class _Meter:
    """Means between log points, and where the time went."""

    def __init__(self, trainer: Trainer, log: MetricsLog):
        self._trainer, self._log = trainer, log
        self._sums: list[dict[str, Array]] = []
        self._seconds = {'step': 0.0, 'wait': 0.0}
        self._began = self._last = time.monotonic()

    def timed(self, what: str) -> '_Timer':
        return _Timer(self._seconds, what)

    def after(self, step: int, metrics: dict[str, Array]) -> dict[str, float] | None:
        """Keeps the step's metrics; at a log point writes the means and returns what to show."""
        self._sums.append(metrics)
        trainer = self._trainer
        if step % trainer.log_period and step != trainer.total_steps:
            return None
        rows, self._sums = jax.device_get(self._sums), []
        values = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        now = time.monotonic()
        rate = len(rows) * trainer.dataset.batch_size / (now - self._last)
        self._last = now
        values['examples_per_second'] = rate
        values['accuracy'] = values.pop('token_accuracy')
        self._log.write(step, 'train', values)
        if counts := bad_data.counts():
            self._log.write(step, 'data', {f'data/{kind}': n for kind, n in counts.items()})
        return {'loss': values['loss'], 'accuracy': values['accuracy'], 'examples/s': rate}

    def finish(self, state: TrainState, interrupted: signal.Signals | None) -> Training:
        seconds = time.monotonic() - self._began
        spent = self._seconds
        return Training(state, seconds, spent['step'], spent['wait'], interrupted)


class _Timer:
    def __init__(self, seconds: dict[str, float], what: str):
        self._seconds, self._what = seconds, what

    def __enter__(self) -> None:
        self._start = time.monotonic()

    def __exit__(self, *error: Any) -> None:
        self._seconds[self._what] += time.monotonic() - self._start
