"""`vlm tasks check`: reads a whole data set and says what is wrong with it."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import seqio
from rich.console import Console
from rich.markup import escape

from vlm.data.bad_data import BadData, bad_data
from vlm.data.checking import Checked, RecordCheck
from vlm.data.examples import Record
from vlm.data.sources.jsonl import encode_inline
from vlm.data.sources.records import PATHS
from vlm.data.sources.sharded import read_ahead
from vlm.data.tasks import asked_of
from vlm.errors import UserError, unknown_name
from vlm.runner.config import GinFlags
from vlm.runner.datasets import find_task_or_mixture
from vlm.runner.progress import ProgressBar
from vlm.runner.quiet import quiet_libraries
from vlm.runner.show_tasks import prepare

console = Console(highlight=False, soft_wrap=True)

SHOW_PERIOD = 50  # records between two looks at the bar
Write = Callable[[Record], Any]


def check(
    flags: GinFlags, modules: list[str], name: str | None, split: str, write_clean: str | None
) -> int:
    """Checks every record of a split; returns 1 if something is wrong, else 0.

    Args:
      flags: gin's, which may register the task and give its lengths.
      modules: imported first.
      name: a task, a group or a mixture; of a mixture every part is checked in its turn.
      split: one of its splits.
      write_clean: a new file for the good rows, which `sources.Jsonl` reads back.
    """
    if name is None:
        raise UserError('`vlm tasks check` wants the name of a task: vlm tasks check NAME')
    with quiet_libraries():
        lengths = prepare(flags, modules)
        tasks = seqio.get_subtasks(find_task_or_mixture(name))
        if write_clean and len(tasks) > 1:
            raise UserError(f'--write_clean writes the rows of one task; {name} is a mixture.')
        for task in tasks:
            if split not in task.splits:
                raise unknown_name('split', split, task.splits, f'of {task.name}')
        wrong = [_check_task(task, lengths, split, write_clean) for task in tasks]
    return int(any(wrong))


def _check_task(
    task: seqio.Task, lengths: Mapping[str, int], split: str, write_clean: str | None
) -> bool:
    """Checks and reports one task or group; returns whether anything is wrong."""
    bad_data.clear()
    checks = RecordCheck(asked_of(task.name), task.output_features, lengths)
    results = read_ahead(checks, task.source.records(split), readers=os.cpu_count() or 1)
    total = task.source.num_input_examples(split)
    with _writer(write_clean) as write, ProgressBar(f'check {task.name}', total) as bar:
        tally = _Tally()
        for checked in results:
            if tally.add(checked):
                write(checked.record)
            if tally.records % SHOW_PERIOD == 0:
                bar.update(tally.records, {'good': float(tally.good)})
        bar.update(tally.records)
    tally.show(task.name, split, write_clean)
    return tally.anything_wrong


class _Tally:
    """Counts of what was found, with a few ids of each kind."""

    def __init__(self):
        self.records = self.good = self.tokens = self.cut = self.unknown = 0
        self._found = BadData()
        self._ids: set[bytes] = set()

    def add(self, checked: Checked) -> bool:
        """Counts a record; returns whether it is good."""
        self.records += 1
        self.tokens += checked.tokens
        self.cut += checked.cut
        self.unknown += checked.unknown
        name = checked.record['id']
        # Sixteen bytes an id, whatever its length.
        digest = hashlib.blake2b(name.encode('utf-8', 'replace'), digest_size=16).digest()
        if digest in self._ids:
            checked.findings.append(('duplicate_ids', 'another record has this id, too'))
        self._ids.add(digest)
        for kind, reason in checked.findings:
            self._found.add(kind, name, reason)
        self.good += checked.usable
        return checked.usable

    @property
    def anything_wrong(self) -> bool:
        return bool(self._found.counts() or bad_data.counts())

    def show(self, name: str, split: str, written: str | None) -> None:
        console.print(f'{name}, {split}')
        for source in (bad_data, self._found):
            for kind, count in sorted(source.counts().items()):
                console.print(f'[yellow]{kind.replace("_", " ")}[/]: {count:,}')
                for example, reason in source.named(kind).items():
                    console.print(escape(f'    {example}: {reason}'))
        share = self.unknown / self.tokens if self.tokens else 0.0
        console.print(
            f'{self.records:,} records, {self.good:,} good. {self.tokens:,} tokens, '
            f'{self.cut:,} would be cut, {share:.2%} unknown.'
        )
        if written:
            console.print(f'{self.good:,} rows in {written}')


@contextlib.contextmanager
def _writer(name: str | None) -> Iterator[Write]:
    """A function that writes a record as a row of the file `name`; one that does nothing for None.

    UserError where there is such a file: it might be what is being read.
    """
    if name is None:
        yield lambda record: None
        return
    try:
        file = open(name, 'x', encoding='ascii')  # noqa: SIM115  (closed below)
    except OSError as error:
        raise UserError(f'--write_clean {name}: {error.strerror}; give a new file.') from None
    folder = os.path.realpath(Path(name).parent)
    with file:
        yield lambda record: file.write(json.dumps(as_row(record, folder)) + '\n')


def as_row(record: Record, folder: str) -> dict[str, Any]:
    """A record as `sources.Jsonl` reads it from a file in `folder`.

    Images are paths where they are files below the folder, else data URIs.
    """
    paths = record.get(PATHS) or [None] * len(record['images'])
    images = [
        os.path.relpath(path, folder)
        if path is not None and Path(path).is_relative_to(folder)
        else encode_inline(data)
        for path, data in zip(paths, record['images'], strict=True)
    ]
    fields = {k: v for k, v in record.items() if k not in (PATHS, 'images', 'image')}
    return {**fields, 'images': images}
