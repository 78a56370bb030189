"""Reads what a run directory holds for its report; tolerant of what is missing or broken.

Nothing here raises on bad content: what cannot be read is left out and told in `Run.notes`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vlm.errors import UserError

# Samples kept of a task. The evaluator stores pictures of the first few examples only; where these
# are fewer than FEWEST_SAMPLES, examples without a picture make up for them.
MOST_SAMPLES = 24
FEWEST_SAMPLES = 8

Number = float | int
Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Sample:
    """One answered example; boxes are [y_min, x_min, y_max, x_max] in [0, 1], unchecked."""

    prompt: str
    prediction: str
    references: list[str]
    score: Number | None
    boxes: list[Any]
    reference_boxes: list[Any]
    image: str | None
    id: str = ''


@dataclass
class TaskSamples:
    """The samples of a task at its latest step, and counts over the whole file."""

    task: str
    step: int
    samples: list[Sample]
    total: int = 0
    scored: int = 0
    right: int = 0


@dataclass
class Run:
    """A run directory; `curves[kind][key]` are (step, value) in order of step."""

    path: Path
    name: str
    summary: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] | None = None
    curves: dict[str, dict[str, Points]] = field(default_factory=dict)
    samples: list[TaskSamples] = field(default_factory=list)
    config: str | None = None
    notes: list[str] = field(default_factory=list)


def read_run(path: Path) -> Run:
    """Reads a run directory.

    Raises:
      UserError: there is no such directory, or nothing in it to report on.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f'no run directory at {str(path)!r}.')
    if not any((path / name).is_file() for name in ('metrics.jsonl', 'scores.json')):
        raise UserError(
            f'nothing to report on in {str(path)!r}: it has neither metrics.jsonl nor scores.json. '
            'Give the MODEL_DIR of a `vlm train`.'
        )
    run = Run(path, path.resolve().name)
    run.summary = _read_object(path / 'summary.json', run.notes) or {}
    run.scores = _read_object(path / 'scores.json', run.notes)
    run.curves = _read_curves(path / 'metrics.jsonl', run.notes)
    run.samples = _read_samples(path / 'inference', run)
    config = path / 'config.gin'
    run.config = config.read_text('utf-8', errors='replace') if config.is_file() else None
    return run


def score_rows(run: Run) -> list[dict[str, Any]]:
    """The rows of scores.json that name a task and a metric."""
    rows = (run.scores or {}).get('scores')
    rows = rows if isinstance(rows, list) else []
    return [r for r in rows if isinstance(r, dict) and 'task' in r and 'metric' in r]


def as_number(value: object) -> Number | None:
    """The value if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    # False for NaN, too; near the largest float, sums and ranges would overflow.
    return value if abs(value) < 1e300 else None


def as_text(value: object) -> str:
    """A string as it is, nothing for None, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value or ''
    return json.dumps(value, ensure_ascii=False)


def _read_object(path: Path, notes: list[str]) -> dict[str, Any] | None:
    """The JSON object in a file; None, with a note, where there is a file but no object in it."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text('utf-8', errors='replace'))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        notes.append(f'{path.name} could not be read and was left out.')
        return None
    return found


def _objects(path: Path, notes: list[str]) -> Iterator[dict[str, Any]]:
    """Yields the JSON objects of a file of lines; counts the other lines in a note."""
    skipped = 0
    with path.open(encoding='utf-8', errors='replace') as lines:
        for line in lines:
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                found = None
            if isinstance(found, dict):
                yield found
            else:
                skipped += 1
    if skipped:
        plural = 'line' if skipped == 1 else 'lines'
        notes.append(f'{path.name}: skipped {skipped:,} {plural} that could not be read.')


def _read_curves(path: Path, notes: list[str]) -> dict[str, dict[str, Points]]:
    """Points by kind and key; values that are not finite are left out and told in a note."""
    curves: dict[str, dict[str, Points]] = {}
    broken: dict[str, list[Number]] = {}
    if not path.is_file():
        return curves
    for line in _objects(path, notes):
        step, values = as_number(line.get('step')), line.get('values')
        if step is None or not isinstance(values, dict):
            continue
        of_kind = curves.setdefault(as_text(line.get('kind')) or 'train', {})
        for key, value in values.items():
            if as_number(value) is not None:
                _append(of_kind.setdefault(key, []), step, value)
            elif isinstance(value, float):
                broken.setdefault(key, []).append(step)
    for key, steps in broken.items():
        notes.append(
            f'{key} was not a finite number {len(steps):,} times, first at step {steps[0]:,}.'
        )
    return curves


def _append(points: Points, step: Number, value: Number) -> None:
    """Adds a point; a resumed run does steps again, and then the later line counts."""
    while points and points[-1][0] >= step:
        points.pop()
    points.append((float(step), float(value)))


def _read_samples(folder: Path, run: Run) -> list[TaskSamples]:
    """The latest samples of each task, in the order of the scores, then by name."""
    latest: dict[str, tuple[int, Path]] = {}
    for path in sorted(folder.glob('*.jsonl')):
        match = re.fullmatch(r'(.+)-(\d{1,18})', path.stem)
        if match and path.is_file():
            task, step = match[1], int(match[2])
            latest[task] = max(latest.get(task, (-1, path)), (step, path))
    scored = [r['task'] for r in score_rows(run)]
    order = sorted(latest, key=lambda t: (scored.index(t) if t in scored else len(scored), t))
    found = (_read_task(t, *latest[t], run.notes) for t in order)
    return [task for task in found if task.samples]


def _read_task(task: str, step: int, path: Path, notes: list[str]) -> TaskSamples:
    with_picture, without = [], []
    counts = TaskSamples(task, step, [])
    for line in _objects(path, notes):
        sample = _sample(line)
        counts.total += 1
        counts.scored += sample.score is not None
        counts.right += is_right(sample)
        if sample.image is not None and len(with_picture) < MOST_SAMPLES:
            with_picture.append(sample)
        elif sample.image is None and len(without) < FEWEST_SAMPLES:
            without.append(sample)
    counts.samples = with_picture + without[: max(0, FEWEST_SAMPLES - len(with_picture))]
    return counts


def is_right(sample: Sample) -> bool:
    """Whether the answer counts as right: its score is at least one half."""
    return sample.score is not None and sample.score >= 0.5


def _sample(line: dict[str, Any]) -> Sample:
    image = line.get('image')
    references = line.get('references')
    references = references if isinstance(references, list) else [references]
    score = line.get('score')
    return Sample(
        prompt=as_text(line.get('prompt')),
        prediction=as_text(line.get('prediction')),
        references=[as_text(r) for r in references if r is not None],
        score=as_number(float(score) if isinstance(score, bool) else score),
        boxes=_as_list(line.get('boxes')),
        reference_boxes=_as_list(line.get('reference_boxes')),
        image=image if isinstance(image, str) and image else None,
        id=as_text(line.get('id')),
    )


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
