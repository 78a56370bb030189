"""Runs of many processes: how they find each other, and who of them writes."""

import dataclasses
import os
import sys
from collections.abc import Mapping
from typing import Any

import jax

from vlm.errors import UserError


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The flags of a run's processes; None where JAX shall look in the environment."""

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

    def check(self) -> None:
        """Raises `UserError` for some of the three without the others."""
        given = dataclasses.asdict(self)
        missing = [f'--{name}' for name, value in given.items() if value is None]
        if 0 < len(missing) < len(given):
            raise UserError(
                f'{" and ".join(missing)} missing: --coordinator, --num_processes and --process_id '
                'belong together.'
            )
        if self.process_id is not None and not 0 <= self.process_id < self.num_processes:
            raise UserError(
                f'--process_id={self.process_id} is not between 0 and --num_processes='
                f'{self.num_processes}, exclusive.'
            )


def join(cluster: Cluster) -> None:
    """Joins the other processes of the run, if there are others; before any use of a device.

    Where no flag is given: JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or what
    SLURM and TPU slices say, which JAX reads by itself.
    """
    cluster.check()
    env = os.environ
    if cluster.coordinator is None and 'JAX_COORDINATOR_ADDRESS' in env:
        try:
            number, count = int(env['JAX_PROCESS_ID']), int(env['JAX_NUM_PROCESSES'])
        except (KeyError, ValueError) as error:
            raise UserError(
                'JAX_COORDINATOR_ADDRESS is set, so JAX_NUM_PROCESSES and JAX_PROCESS_ID must be '
                f'numbers: {error}.'
            ) from error
        cluster = Cluster(env['JAX_COORDINATOR_ADDRESS'], count, number)
    if cluster.coordinator is not None:
        jax.distributed.initialize(cluster.coordinator, cluster.num_processes, cluster.process_id)
    elif _in_slurm_step() or _in_tpu_slice():
        jax.distributed.initialize()
    else:
        return
    if not is_first():
        # One voice on the terminal; mistakes go to standard error, from whom they are found.
        sys.stdout = open(os.devnull, 'w')  # noqa: SIM115  (to the end)


def _in_slurm_step() -> bool:
    # The shell of `salloc` has the variables of the job; `srun` starts the processes of a step.
    return 'SLURM_STEP_ID' in os.environ and int(os.environ.get('SLURM_STEP_NUM_TASKS', 1)) > 1


def _in_tpu_slice() -> bool:
    return len(os.environ.get('TPU_WORKER_HOSTNAMES', '').split(',')) > 1


def fake(devices: int) -> None:
    """Makes the CPU look like so many devices; only before any use of a device."""
    if devices < 1:
        raise UserError(f'--fake_devices={devices} is less than 1.')
    jax.config.update('jax_platforms', 'cpu')
    jax.config.update('jax_num_cpu_devices', devices)


class NoLog:
    """The log of processes that do not write; see `vlm.runner.logs.MetricsLog`."""

    def go_on_after(self, step: int) -> None:
        pass

    def write(self, step: int, kind: str, values: Mapping[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


def is_first() -> bool:
    """Whether this process writes what all know: logs, scores, reports, configuration."""
    return jax.process_index() == 0
