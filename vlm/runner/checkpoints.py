"""Orbax checkpoints of a run: saved in the background, each complete or absent.

A checkpoint holds `state` (step, parameters, optimizer state, averaged parameters) and `data` (the
position in the data, one file a process). Random numbers have no state: they are functions of the
seed and the step.
"""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
import orbax.checkpoint as ocp

from vlm.errors import UserError, unknown_name
from vlm.runner.best_checkpoint import BestScore, best_step, scores_by_step
from vlm.runner.run_dir import RunDir
from vlm.runner.state import TrainState
from vlm.runner.storage import storage_errors_told

_policies = ocp.checkpoint_managers.preservation_policy


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """When to save and what to keep; there is always a checkpoint of the last step.

    Attributes:
      period: steps between two.
      keep: the latest so many stay.
      keep_period: those of steps that are a multiple of it stay for ever; None for none.
      best_metric: 'TASK/METRIC', as `vlm eval` names them; the checkpoint whose evaluation scored
        best stays too, and every evaluated step has a checkpoint. None for none.
      lowest_is_best: of that metric.
    """

    period: int = 1000
    keep: int = 2
    keep_period: int | None = None
    best_metric: str | None = None
    lowest_is_best: bool = False

    def __post_init__(self):
        for name in ('period', 'keep', 'keep_period'):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f'CheckpointConfig.{name} = {value} must be at least 1.')

    def check(self, evaluated: Sequence[str]) -> None:
        """Raises `UserError` if `best_metric` is of no task that is evaluated during training."""
        if self.best_metric is None:
            return
        task = self.best_metric.partition('/')[0]
        if not evaluated:
            raise UserError(
                f'CheckpointConfig.best_metric = {self.best_metric!r} needs evaluations during '
                'training: set EVAL_PERIOD.'
            )
        if task not in evaluated:
            raise unknown_name('task', task, evaluated, 'CheckpointConfig.best_metric')

    def policy(self, run: RunDir) -> Any:
        """Which checkpoints stay."""
        rules = [_policies.LatestN(self.keep)]
        if self.keep_period is not None:
            rules.append(_policies.EveryNSteps(self.keep_period))
        if self.best_metric is not None:
            rules.append(BestScore(run, self.best_metric, self.lowest_is_best))
        return _policies.AnyPreservationPolicy(rules)


@runtime_checkable
class Position(Protocol):
    """What knows where it stands in the data: `vlm.runner.batches.Batches`."""

    def save(self, folder: Path, step: int) -> None: ...

    def restore(self, folder: Path, step: int) -> str: ...


class Checkpoints:
    """Saves and restores training states below a run directory.

    Every method raises `UserError` where the disk does not do what it should; checkpoints that were
    complete stay as they are.
    """

    def __init__(self, run: RunDir, config: CheckpointConfig):
        self._run, self._config = run, config
        options = ocp.CheckpointManagerOptions(
            preservation_policy=config.policy(run), cleanup_tmp_directories=True
        )
        self._manager = ocp.CheckpointManager(run.checkpoints, options=options)

    @property
    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def is_due(self, step: int, evaluated: bool) -> bool:
        """Whether step `step` is to be saved; `evaluated`: it is evaluated next."""
        best = evaluated and self._config.best_metric is not None
        return best or step % self._config.period == 0

    def check(self) -> None:
        """Raises what saving in the background has met."""
        with self._told():
            self._manager.check_for_errors()

    def save(self, state: TrainState, data: Position) -> None:
        """Starts saving; training goes on meanwhile."""
        step = int(state.step)
        if step == self.latest_step:
            return
        with self._told():
            # Orbax would make the folder again, without the files beside it.
            if not self._run.checkpoints.is_dir():
                raise FileNotFoundError('the run directory has vanished')
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(as_dict(state)), data=_SaveData(data, step)
            )
            self._manager.save(step, args=args)

    def restore(self, like: TrainState) -> TrainState:
        """The latest state, placed like `like` (arrays or shapes with shardings)."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, as_dict(like))
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract))
        return TrainState(**self._manager.restore(self.latest_step, args=args)['state'])

    def restore_data(self, data: Position) -> str:
        """Goes to the latest position; returns why if that was not exactly possible."""
        step = self.latest_step
        args = ocp.args.Composite(data=_RestoreData(data, step))
        return self._manager.restore(step, args=args)['data']

    def close(self) -> None:
        """Waits for what is being saved."""
        with self._told():
            self._manager.wait_until_finished()
        self._manager.close()

    def _told(self) -> contextlib.AbstractContextManager[None]:
        return storage_errors_told(self._run, writing=self._run.checkpoints)


class _DataHandler(ocp.CheckpointHandler):
    """Lets a `Position` write and read its files in a checkpoint."""

    def save(self, directory: Any, args: '_SaveData') -> None:
        args.data.save(Path(directory), args.step)

    def restore(self, directory: Any, args: '_RestoreData') -> str:
        return args.data.restore(Path(directory), args.step)


@ocp.args.register_with_handler(_DataHandler, for_save=True)
@dataclasses.dataclass
class _SaveData(ocp.args.CheckpointArgs):
    data: Position
    step: int


@ocp.args.register_with_handler(_DataHandler, for_restore=True)
@dataclasses.dataclass
class _RestoreData(ocp.args.CheckpointArgs):
    data: Position
    step: int


def as_dict(state: TrainState) -> dict[str, Any]:
    """A dict of four entries, so that a checkpoint can be read without this package's classes."""
    return {
        'step': state.step,
        'params': state.params,
        'opt_state': state.opt_state,
        'ema_params': state.ema_params,
    }


def latest_step(run: RunDir) -> int | None:
    """The step of the latest complete checkpoint of a run, None if there is none.

    Waits for no other process, as a manager would: of several that start, one may find the folder
    that another has just made, and the others none.
    """
    steps = ocp.path.step
    found = steps.latest_step_metadata(run.checkpoints, steps.standard_name_format())
    return None if found is None else found.step


def saved_shapes(run: RunDir, step: int | None = None) -> tuple[int, dict[str, Any]]:
    """Step and shapes (as Orbax describes them) of a checkpoint, the latest if None is asked for.

    Raises `UserError` if the run has no such complete checkpoint.
    """
    with _reader(run) as manager:
        found = _existing_step(manager, run, step)
        return found, _saved_state(manager, run, found)


def best_params_key(saved: dict[str, Any]) -> str:
    """Where a saved state has what is evaluated and served: the average where there is one."""
    return 'params' if saved['ema_params'] is None else 'ema_params'


def restore_params(run: RunDir, step: int | None = None, on_host: bool = False) -> tuple[int, Any]:
    """Step and parameters of a checkpoint, the averaged ones where there are; the latest for None.

    They are read alone, without the optimizer's state, onto the first device or, `on_host`, into
    numpy arrays.

    Raises `UserError` if the run has no such complete checkpoint.
    """
    with _reader(run) as manager:
        step = _existing_step(manager, run, step)
        saved = _saved_state(manager, run, step)
        key = best_params_key(saved)
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), saved[key]
        )
        how = ocp.checkpoint_utils.construct_restore_args({key: wanted})
        if on_host:
            how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), {key: wanted})
        args = ocp.args.PyTreeRestore({key: wanted}, restore_args=how, partial_restore=True)
        return step, manager.restore(step, args=ocp.args.Composite(state=args))['state'][key]


def _saved_state(manager: ocp.CheckpointManager, run: RunDir, step: int) -> dict[str, Any]:
    items = manager.item_metadata(step)
    if 'state' not in items:
        raise UserError(
            f'{run.checkpoints / str(step)} is no checkpoint of `vlm train`: it holds '
            f"{', '.join(items.keys()) or 'nothing'} and no 'state'."
        )
    return items['state'].tree


def step_named(run: RunDir, name: str, config: CheckpointConfig) -> int | None:
    """The step that 'latest' (None), 'best' (by `best_metric`) or a number names."""
    if name == 'latest':
        return None
    if name.isdecimal():
        return int(name)
    if name != 'best':
        raise unknown_name('checkpoint', name, ['latest', 'best'], '--checkpoint, or a step')
    if config.best_metric is None:
        raise UserError('--checkpoint=best: this run has no CheckpointConfig.best_metric.')
    with _reader(run) as manager:
        steps = manager.all_steps()
    scores = scores_by_step(run, config.best_metric)
    best = best_step({s: scores[s] for s in steps if s in scores}, config.lowest_is_best)
    if best is None:
        raise UserError(f'--checkpoint=best: none of {run.path} was scored by that metric yet.')
    return best


def _reader(run: RunDir) -> ocp.CheckpointManager:
    # Without the other processes: whether there is something to read they may find out at another
    # moment, when the first of them has begun to write, and Orbax would wait for all to look.
    own = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=own, active_processes={own})
    state = ocp.PyTreeCheckpointHandler(multiprocessing_options=alone)
    return ocp.CheckpointManager(
        run.checkpoints,
        # The position in the data is not read here; Orbax warns of what it has no handler for.
        item_handlers={'state': state, 'data': _DataHandler()},
        options=ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone),
    )


def _existing_step(manager: ocp.CheckpointManager, run: RunDir, step: int | None) -> int:
    steps = manager.all_steps()
    if not steps:
        raise UserError(f'{run.path} has no complete checkpoint yet.')
    if step is not None and step not in steps:
        raise UserError(f'{run.path} has no checkpoint of step {step}, only of {steps}.')
    return max(steps) if step is None else step
