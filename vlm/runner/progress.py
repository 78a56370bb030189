"""What a person sees while a run goes on: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

PLAIN_PERIOD = 10.0  # seconds between plain lines
LEAST_BAR = 10  # characters
TIMES = len('0:00:00 · 0:00:00 left')


class ProgressBar:
    """Progress over `total` units from `start` on; `update` also takes the numbers to show.

    `total` is None where nobody knows how many there are, or not yet: `update` can tell it.
    """

    def __init__(self, title: str, total: int | None, start: int = 0):
        self._title, self._total, self._done = title, total, start
        self._console = Console(file=sys.stdout)
        self._bar: Progress | None = None
        self._printed = time.monotonic()
        self._start, self._start_time = start, time.monotonic()

    def __enter__(self) -> 'ProgressBar':
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn('[bold]{task.description}'),
                BarColumn(bar_width=None),
                MofNCompleteColumn(table_column=Column(no_wrap=True)),
                TextColumn('{task.fields[numbers]}'),
                TimeElapsedColumn(table_column=Column(no_wrap=True)),
                TextColumn('·'),
                TimeRemainingColumn(table_column=Column(no_wrap=True)),
                TextColumn('left'),
                console=self._console,
                expand=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self._title, total=self._total, completed=self._start, numbers=''
            )
        return self

    def update(
        self, done: int, numbers: Mapping[str, float] | None = None, total: int | None = None
    ) -> None:
        """Shows that `done` units are behind, of `total` if that is given."""
        self._done = done
        if total is not None:
            self._total = total
        words = [f'{k} {v:.4g}' for k, v in (numbers or {}).items()]
        if self._bar is not None:
            changes = {} if numbers is None else {'numbers': '  '.join(self._fitting(words))}
            self._bar.update(self._task, completed=done, total=self._total, **changes)
        elif numbers is not None and time.monotonic() - self._printed > PLAIN_PERIOD:
            self._printed = time.monotonic()
            line = self._plain_line('  '.join(words))
            self._console.print(line, highlight=False, soft_wrap=True)

    def _fitting(self, words: list[str]) -> list[str]:
        """As many as a line of the terminal has room for, beside all that must be readable."""
        count = 2 * len(str(self._total or self._done)) + 1
        room = self._console.width - len(self._title) - LEAST_BAR - count - TIMES - 4  # and spaces
        while words and len('  '.join(words)) > room:
            words = words[:-1]
        return words

    def _plain_line(self, numbers: str) -> str:
        if self._total is None:
            return f'{self._title} {self._done}  {numbers}'
        passed = time.monotonic() - self._start_time
        behind = max(self._done - self._start, 1)
        left = passed / behind * (self._total - self._done)
        return f'{self._title} {self._done}/{self._total}  {numbers}  {clock(left)} left'

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def clock(seconds: float) -> str:
    """'1:02:03' or '2:03'."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
