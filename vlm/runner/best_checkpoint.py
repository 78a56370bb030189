"""The checkpoint whose evaluation scored best, by what `metrics.jsonl` says of it."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from vlm.runner.run_dir import RunDir


def scores_by_step(run: RunDir, metric: str) -> dict[int, float]:
    """Value of 'TASK/METRIC' at every evaluated step; the last one of a step evaluated twice."""
    if not run.metrics.exists():
        return {}
    rows = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    evaluated = [row for row in rows if row['kind'] == 'eval' and metric in row['values']]
    return {row['step']: row['values'][metric] for row in evaluated}


def best_step(scores: dict[int, float], lowest: bool) -> int | None:
    """The step with the best score, the earliest of several; None where there is none."""
    order = sorted(scores, key=lambda step: (scores[step] if lowest else -scores[step], step))
    return order[0] if order else None


@dataclasses.dataclass(frozen=True)
class BestScore:
    """Orbax's policy that preserves the best of the checkpoints there are.

    Scores come from the log, so that a checkpoint is saved before it is evaluated: a run that is
    killed meanwhile loses no step.
    """

    run: RunDir
    metric: str
    lowest: bool

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        scores = scores_by_step(self.run, self.metric)
        here = {info.step: scores[info.step] for info in checkpoints if info.step in scores}
        best = best_step(here, self.lowest)
        return [info.step == best for info in checkpoints]
