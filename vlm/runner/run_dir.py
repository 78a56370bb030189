"""The files of a run directory: who writes what, in one place.

config.gin       every binding of the run; `vlm eval` and `vlm infer` need nothing else
model.json       network, frame, prompts: what `vlm ask` needs (no gin, no TensorFlow)
vocab/           the vocabulary's model file
checkpoints/     Orbax
weights.json     what public checkpoints gave: restored, resized, new, unused
initial_checkpoint.json  where every parameter came from, if not from the seed alone
metrics.jsonl    one line a log point; the same numbers as TensorBoard events beside it
flagged_batches.jsonl  tasks and ids of batches that were skipped or whose loss jumped
scores.json      the last evaluation
predictions.jsonl  the last evaluation's answers, of all tasks
inference/       the same, one file a task and step; files for evaluation servers
summary.json     machine, versions, time
report.html      all of it as one page
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from vlm.errors import UserError, nearest


def is_run(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a run directory, and no checkpoint of another program."""
    return (Path(path).expanduser() / 'checkpoints').is_dir()


class RunDir:
    """Paths below a run directory, and reading and writing its JSON files."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path).expanduser().resolve()
        self.config = self.path / 'config.gin'
        self.model = self.path / 'model.json'
        self.vocabulary = self.path / 'vocab' / 'vocab.model'
        self.initial = self.path / 'initial_checkpoint.json'
        self.checkpoints = self.path / 'checkpoints'
        self.weights = self.path / 'weights.json'
        self.metrics = self.path / 'metrics.jsonl'
        self.scores = self.path / 'scores.json'
        self.flagged = self.path / 'flagged_batches.jsonl'
        self.inference = self.path / 'inference'
        self.predictions = self.path / 'predictions.jsonl'
        self.summary = self.path / 'summary.json'

    def create(self) -> None:
        """Makes the directory; a path that cannot be one is the user's mistake."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / 'vocab').mkdir(exist_ok=True)
        except OSError as error:
            raise UserError(f'MODEL_DIR {self.path} cannot be made: {error.strerror}.') from error

    @classmethod
    def existing(cls, path: str | os.PathLike[str]) -> 'RunDir':
        """A directory that `vlm train` wrote; `UserError` for any other path."""
        run = cls(path)
        if not run.path.is_dir():
            beside = [p.name for p in run.path.parent.glob('*/') if (p / 'model.json').exists()]
            close = nearest(run.path.name, beside) or beside[:3]
            hint = f' Runs beside it: {", ".join(close)}.' if close else ''
            raise UserError(f'there is no run directory {path}.{hint}')
        if not run.model.exists():
            raise UserError(f'{path} is no run directory of `vlm train`: it has no model.json.')
        return run

    def write_json(self, path: Path, content: Any) -> None:
        """Writes a file that a reader never sees half-written."""
        text = json.dumps(content, indent=1, ensure_ascii=False, default=str) + '\n'
        self.write_bytes(path, text.encode())

    def write_bytes(self, path: Path, content: bytes) -> None:
        """Writes a file that is there as a whole or as it was."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + '.partial')
        partial.write_bytes(content)
        partial.replace(path)

    def read_json(self, path: Path) -> Any:
        """Content of a JSON file, None if there is none."""
        if not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except json.JSONDecodeError as error:
            raise UserError(f'{path} is damaged: {error}.') from error

    def write_lines(self, path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes JSON lines, replacing the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open('w', encoding='utf-8') as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + '\n')
