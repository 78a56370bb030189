"""The training loop: fetch a batch, step, log, save, evaluate."""

import concurrent.futures
import dataclasses
import functools
import signal
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from vlm.data.prompts import check_overrides, check_room
from vlm.data.tasks import declared, prompts_of
from vlm.errors import UserError
from vlm.model import FEATURE_DTYPES, VisionTextModel
from vlm.runner.batches import Batches
from vlm.runner.checkpoints import CheckpointConfig, Checkpoints
from vlm.runner.compilation import run_once_options
from vlm.runner.datasets import DatasetConfig
from vlm.runner.evaluate import Evaluation
from vlm.runner.feed import TASK_ROWS, Fed, feed
from vlm.runner.guards import Guard, Watch
from vlm.runner.initial import InitialCheckpoint
from vlm.runner.interrupt import Interruption
from vlm.runner.logs import MetricsLog
from vlm.runner.mesh import DataMesh, MeshConfig
from vlm.runner.meter import Meter
from vlm.runner.optimizers import Optimizer
from vlm.runner.parts import frozen_parameters
from vlm.runner.placement import (
    Axes,
    shapes_and_axes,
    shardings,
    shardings_of,
    with_shardings,
)
from vlm.runner.pretrained import Pretrained
from vlm.runner.progress import ProgressBar
from vlm.runner.resume import restore_state
from vlm.runner.run_dir import RunDir
from vlm.runner.state import TrainState
from vlm.runner.train_step import StepFn, make_train_steps
from vlm.runner.utilisation import matrix_rate, step_flops


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
      initial, pretrained: what the first run begins with: a run of ours, public checkpoints.
      guard: what is done about losses that are not finite or jump.
      mesh: the devices' axes, and what is split over them.
      num_microbatches: a batch is run in so many parts, one after the other, whose gradients are
        added: the same step in less memory.
    """

    model: VisionTextModel
    dataset: DatasetConfig
    optimizer: Optimizer
    total_steps: int
    checkpoints: CheckpointConfig = CheckpointConfig()
    initial: InitialCheckpoint = InitialCheckpoint()
    pretrained: Pretrained = Pretrained()
    evaluation: Evaluation | None = None
    eval_period: int | None = None
    log_period: int = 20
    seed: int = 0
    guard: Guard = Guard()
    mesh: MeshConfig = MeshConfig()  # noqa: RUF009  (frozen)
    num_microbatches: int = 1

    def check(self) -> None:
        """Raises `UserError` for what would fail later, before anything is compiled."""
        if self.num_microbatches < 1:
            raise UserError(f'NUM_MICROBATCHES = {self.num_microbatches} is less than 1.')
        self.dataset.provider()
        check_overrides(declared())
        room = self.dataset.task_feature_lengths['inputs'] // self.dataset.rows_per_image
        prompts = prompts_of(self.dataset.task_names())
        check_room(prompts, room, "TASK_FEATURE_LENGTHS['inputs']")
        room = self.model.max_answer_tokens
        longest = self.dataset.task_feature_lengths['targets']
        if room is not None and room < longest:
            raise UserError(
                f'VisionTextModel.max_answer_tokens = {room} is less than the {longest} answer '
                "tokens a row may hold (TASK_FEATURE_LENGTHS['targets']): some would not be "
                'trained on.'
            )
        evaluated: list[str] = []
        if self.evaluation is not None:
            self.evaluation.check()
            if self.eval_period:
                evaluated = self.evaluation.task_names()
            vocab_size = self.model.module.config.text.vocab_size
            self.evaluation.decoding.check_vocabulary(vocab_size)
        self.checkpoints.check(evaluated)

    def build_mesh(self) -> DataMesh:
        """The mesh of this run; raises `UserError` for batches that it cannot share evenly."""
        mesh = self.mesh.build()
        mesh.check_batch_size(self.dataset.batch_size, 'BATCH_SIZE', self.num_microbatches)
        if self.evaluation is not None:
            mesh.check_batch_size(self.evaluation.batch_size, 'EVAL_BATCH_SIZE')
        return mesh

    def run(self, run: RunDir, log: MetricsLog, mesh: DataMesh) -> Training:
        """Trains from the latest checkpoint of `run`, or from the start, to `total_steps`."""
        checkpoints = Checkpoints(run, self.checkpoints)
        try:
            start = checkpoints.latest_step or 0
            log.go_on_after(start)
            converter = self.model.FEATURE_CONVERTER_CLS
            with self.dataset.training_batches(converter, mesh.reader) as batches:
                if start and (why := checkpoints.restore_data(batches)):
                    print(f'note: the position in the data is not exact: {why}.')
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
        fed = feed(batches, mesh.put, self.dataset.task_names())
        rng = jax.random.key(self.seed + 1)
        threads = concurrent.futures.ThreadPoolExecutor(2)
        try:
            # The first examples take seconds to read, and each program seconds to compile.
            first = threads.submit(next, fed)
            planned = self.planned_state(mesh)
            compiled = threads.submit(self._compiled_steps, start, planned, mesh, rng)
            state = self._first_state(run, checkpoints, planned, mesh)
            step_fn_of, batch = _results(compiled, first)
        finally:
            # Nothing interrupts a compiler: neither Ctrl-C nor a mistake in the data waits for it.
            threads.shutdown(wait=False, cancel_futures=True)
        meter = self._meter(run, log, mesh, state, batch)
        with ProgressBar('train', self.total_steps, start) as bar, Interruption() as stop:
            for step in range(start, self.total_steps):
                with meter.timed('step'):
                    state, metrics = step_fn_of(step)(state, batch.arrays, rng)
                    origin = batch.origin
                    # One step in flight: the next batch is fetched, and sent, meanwhile.
                with meter.timed('wait'):
                    if step + 1 < self.total_steps:
                        batch = next(fed)
                with meter.timed('step'):
                    jax.block_until_ready(metrics)
                bar.update(step + 1, meter.after(step + 1, metrics, origin))
                checkpoints.check()
                if checkpoints.is_due(step + 1, self._evaluates_after(step + 1)):
                    checkpoints.save(state, batches)
                if stop.is_due():
                    break
                if self._evaluates_after(step + 1):
                    self.evaluation.run(self.model, state.best_params, run, log, step + 1, mesh)
        checkpoints.save(state, batches)
        return Training(state, *meter.totals(), stop.stopped_by)

    def _compiled_steps(
        self, start: int, planned: TrainState, mesh: DataMesh, rng: Array
    ) -> Callable[[int], StepFn]:
        """The function of each step, that of step `start` compiled."""
        step_fn_of = make_train_steps(
            self.model,
            self.optimizer.transformation(frozen_parameters(self.model)),
            self.optimizer,
            self.seed,
            self.num_microbatches,
            functools.partial(mesh.jit, out_shardings=(shardings_of(planned), mesh.replicated)),
        )
        if start < self.total_steps:
            step_fn_of(start).lower(planned, self.planned_batch(mesh), rng).compile()
        return step_fn_of

    def _meter(
        self, run: RunDir, log: MetricsLog, mesh: DataMesh, state: TrainState, batch: Fed
    ) -> Meter:
        # Shapes: when they are asked for, the arrays have been given away.
        shapes = jax.eval_shape(lambda *arrays: arrays, state.params, batch.arrays)

        def utilisation() -> tuple[float, float]:
            rate = mesh.mesh.size * matrix_rate(self.model.module.config.text.dtype)
            return step_flops(self.model, *shapes), rate

        return Meter(
            log,
            Watch(self.guard, run.flagged),
            self.dataset.task_names(),
            self.dataset.batch_size,
            self.log_period,
            self.total_steps,
            utilisation,
        )

    def _evaluates_after(self, step: int) -> bool:
        # The end is evaluated by the caller, with the time it takes counted apart.
        return bool(
            self.evaluation
            and self.eval_period
            and step % self.eval_period == 0
            and step < self.total_steps
        )

    def _first_state(
        self, run: RunDir, checkpoints: Checkpoints, planned: TrainState, mesh: DataMesh
    ) -> TrainState:
        """What training goes on from: the latest checkpoint or, in a new run, new parameters."""
        if checkpoints.latest_step:
            return restore_state(checkpoints, run, planned, self.state_of)
        places = shardings_of(planned)
        draw = mesh.jit(
            self._drawn_state, out_shardings=places, compiler_options=run_once_options()
        )
        state = draw(jax.random.key(self.seed))
        config = self.model.module.config
        state = self.initial.load_into(state, config.vision, self.state_of)
        return self.pretrained.into(state, config)

    def _drawn_state(self, rng: Array) -> TrainState:
        return self.state_of(self.model.get_initial_variables(rng, self.batch_shapes())['params'])

    def planned_state(self, mesh: DataMesh) -> TrainState:
        """Shapes of the state, each with the sharding of where it is to live."""
        params, axes = self.parameters
        state = jax.eval_shape(self.state_of, params)
        return with_shardings(state, shardings(state, axes, mesh))

    @functools.cached_property
    def parameters(self) -> tuple[Any, Axes]:
        """Shapes of the parameters, and their logical axes by name; allocates and reads nothing."""
        return shapes_and_axes(self.model, self.batch_shapes())

    def planned_batch(self, mesh: DataMesh) -> dict[str, jax.ShapeDtypeStruct]:
        """What a step is fed: shapes of the whole batch, each with its sharding."""
        shapes, tasks = self.batch_shapes(), self.dataset.task_names()
        if len(tasks) > 1:
            shapes[TASK_ROWS] = (self.dataset.batch_size, len(tasks))
        types = {**FEATURE_DTYPES, TASK_ROWS: jnp.float32}
        return {
            name: jax.ShapeDtypeStruct(shape, types.get(name, jnp.int32), sharding=mesh.batch)
            for name, shape in shapes.items()
        }

    def batch_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the model's features in the batch of a step."""
        converter = self.dataset.converter(self.model.FEATURE_CONVERTER_CLS)
        shapes = converter.feature_shapes(self.dataset.task_feature_lengths)
        return {name: (self.dataset.batch_size, *shape) for name, shape in shapes.items()}

    def state_of(self, params: Any) -> TrainState:
        """The state of a run that begins with these parameters."""
        optimizer = self.optimizer.transformation(frozen_parameters(self.model))
        return TrainState.create(params, optimizer, self.optimizer.ema_decay is not None)


def _results(*futures: concurrent.futures.Future) -> list[Any]:
    """What all of them return, or at once what the first of them to fail raises."""
    done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
    for future in done:
        future.result()
    return [future.result() for future in futures]
