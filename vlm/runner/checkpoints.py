"""Orbax checkpoints of a run: saved in the background, each complete or absent."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from vlm.errors import UserError
from vlm.runner.model_file import parameter_shapes
from vlm.runner.run_dir import RunDir
from vlm.runner.state import TrainState


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    """Every `period` steps and at the end; the last `keep` stay."""

    period: int = 1000
    keep: int = 2


class Checkpoints:
    """Saves and restores training states below a run directory."""

    def __init__(self, folder: Path, config: CheckpointConfig):
        self.period = config.period
        self._manager = ocp.CheckpointManager(
            folder, options=ocp.CheckpointManagerOptions(max_to_keep=config.keep)
        )

    @property
    def latest_step(self) -> int | None:
        return self._manager.latest_step()

    def save(self, state: TrainState) -> None:
        """Starts saving; training goes on meanwhile."""
        step = int(state.step)
        if step != self._manager.latest_step():
            self._manager.save(step, args=ocp.args.StandardSave(_as_dict(state)))

    def restore(self, like: TrainState) -> TrainState:
        """The latest state, placed like `like` (arrays or shapes with shardings)."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _as_dict(like))
        try:
            restored = self._manager.restore(
                self._manager.latest_step(), args=ocp.args.StandardRestore(abstract)
            )
        except (ValueError, KeyError, TypeError) as error:
            # Parameters were compared before, so it is most likely the optimizer's state.
            reason = (str(error).splitlines() or [''])[0][:200]
            raise UserError(
                f'{self._manager.directory} cannot be gone on from, most likely because another '
                f'optimizer wrote it: keep that one or choose another MODEL_DIR. Orbax: {reason}'
            ) from error
        return TrainState(**restored)

    def close(self) -> None:
        """Waits for what is being saved."""
        self._manager.wait_until_finished()
        self._manager.close()


def _as_dict(state: TrainState) -> dict[str, Any]:
    # A dict of four entries, so that a checkpoint can be read without this package's classes.
    return {
        'step': state.step,
        'params': state.params,
        'opt_state': state.opt_state,
        'ema_params': state.ema_params,
    }


def check_same_architecture(run: RunDir, params: Any) -> None:
    """Raises `UserError` if the run directory holds a model with other parameters; writes nothing.

    `params`: shapes are enough. Names the first three parameters that differ.
    """
    saved = (run.read_json(run.model) or {}).get('parameters')
    if saved is None:
        return
    ours = parameter_shapes(params)
    if saved == ours:
        return
    lines = []
    for name in sorted({*saved, *ours}):
        if saved.get(name) != ours.get(name):
            there, here = saved.get(name, 'absent'), ours.get(name, 'absent')
            lines.append(f'{name} ({there} there, {here} here)')
    raise UserError(
        f'MODEL_DIR {run.path} holds another architecture: {", ".join(lines[:3])}'
        f'{", ..." if len(lines) > 3 else ""}. Choose another MODEL_DIR.'
    )


def restore_params(run: RunDir) -> tuple[int, Any]:
    """Step and parameters of the latest checkpoint, the averaged ones where there are.

    They are read alone, without the optimizer's state.

    Raises `UserError` if the run has no complete checkpoint.
    """
    with ocp.CheckpointManager(
        run.checkpoints, item_handlers=ocp.PyTreeCheckpointHandler()
    ) as manager:
        step = manager.latest_step()
        if step is None:
            raise UserError(f'{run.path} has no complete checkpoint yet.')
        saved = manager.item_metadata(step)
        key = 'params' if saved['ema_params'] is None else 'ema_params'
        here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        wanted = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), saved[key]
        )
        args = ocp.args.PyTreeRestore(
            {key: wanted},
            restore_args=ocp.checkpoint_utils.construct_restore_args({key: wanted}),
            partial_restore=True,
        )
        return step, manager.restore(step, args=args)[key]
