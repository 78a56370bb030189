"""Whole runs to T5X (`vlm export --format t5x`) and from it (`vlm import`)."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from vlm.errors import UserError
from vlm.runner.checkpoints import Checkpoints
from vlm.runner.config import GinFlags
from vlm.runner.quiet import quiet_libraries
from vlm.runner.run_dir import RunDir
from vlm.runner.session import Session, open_session, write_run_files
from vlm.runner.state import TrainState
from vlm.runner.t5x_checkpoints import (
    find_t5x_checkpoint,
    optimizer_state_of,
    params_of,
    read_t5x,
    write_t5x,
)


def export_t5x(run: RunDir, folder: Path) -> tuple[int, Path]:
    """Writes the latest checkpoint of a run as one that `t5x.train`, `eval` and `infer` restore.

    Returns its step and `folder/checkpoint_STEP`.
    """
    with quiet_libraries():
        session = open_session(GinFlags([], [], []), str(run.path))
        trainer = session.trainer
        checkpoints = Checkpoints(run, trainer.checkpoints)
        try:
            if checkpoints.latest_step is None:
                raise UserError(f'{run.path} has no complete checkpoint yet.')
            state = checkpoints.restore(trainer.planned_state(trainer.mesh.build()))
        finally:
            checkpoints.close()
        return int(state.step), write_t5x(folder.resolve(), state)


def import_checkpoint(flags: GinFlags, checkpoint: str) -> int:
    """Makes a run directory, MODEL_DIR, of a checkpoint that `t5x.train` wrote.

    `vlm eval`, `infer` and `ask` take it like any other, and `vlm train` goes on from its step:
    with the optimizer's state if the same optimizer of ours wrote it, else with a new one.
    """
    with quiet_libraries():
        found = find_t5x_checkpoint(checkpoint)
        session = open_session(flags)
        checkpoints = Checkpoints(session.run, session.trainer.checkpoints)
        try:
            if checkpoints.latest_step is not None:
                raise UserError(f'MODEL_DIR {session.run.path} holds a run: choose another.')
            state, kept = _state_of(session, read_t5x(found))
            write_run_files(session)
            checkpoints.save(state, _NoPosition())
        finally:
            checkpoints.close()
    with_state = "with the optimizer's state" if kept else 'the optimizer starts anew'
    print(f'{found}: step {int(state.step)}, {with_state}. Run: {session.run.path}')
    return 0


def _state_of(session: Session, tree: dict[str, Any]) -> tuple[TrainState, bool]:
    """The state of a run from T5X's tree, and whether that held the optimizer's."""
    params = params_of(tree, session.abstract_params)
    fresh = session.trainer.state_of(jax.tree.map(jnp.asarray, params))
    restored = optimizer_state_of(tree, fresh.opt_state)
    step = jnp.asarray(tree['state']['step'], jnp.int32)
    opt_state = fresh.opt_state if restored is None else jax.tree.map(jnp.asarray, restored)
    return fresh.replace(step=step, opt_state=opt_state), restored is not None


class _NoPosition:
    """T5X's position in the data says nothing here: a continued run passes over what was seen."""

    def save(self, folder: Path, step: int) -> None:
        pass

    def restore(self, folder: Path, step: int) -> str:
        return 'it was saved by T5X'
