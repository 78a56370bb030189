"""The list that `vlm tasks` prints, remembered: it is asked for often, and TensorFlow loads slowly.

What is remembered holds as long as no source file of the package has changed.
"""

import contextlib
import hashlib
import importlib.util
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm.paths import user_cache_dir

Rows = dict[str, list[list[str]]]
COLUMNS = {
    'tasks': ('name', 'splits', 'prompt', 'metrics'),
    'mixtures': ('name', 'tasks and rates'),
}


def print_lists(rows: Rows) -> None:
    """Prints a table of tasks and one of mixtures; `rows` has the cells of each."""
    console = Console(highlight=False, soft_wrap=True)
    for title, columns in COLUMNS.items():
        table = Table(title=title)
        for column in columns:
            table.add_column(column)
        for row in rows[title]:
            table.add_row(*map(escape, row))
        console.print(table)


def remember(rows: Rows) -> None:
    """Keeps the lists of the package's own tasks; where that cannot be, nothing happens."""
    path = _file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix('.partial')
        partial.write_text(json.dumps({'of': fingerprint(_folders()), **rows}))
        partial.replace(path)


def remembered() -> Rows | None:
    """What was kept last, if the package is still the same."""
    try:
        kept = json.loads(_file().read_text())
        if kept['of'] == fingerprint(_folders()):
            return {title: kept[title] for title in COLUMNS}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def fingerprint(folders: Iterable[Path]) -> str:
    """Of the names, sizes and times of all source files below `folders`, and of this Python."""
    digest = hashlib.sha256(sys.version.encode())
    for folder in folders:
        for path in sorted(folder.rglob('*.py')):
            stat = path.stat()
            digest.update(f'{path} {stat.st_size} {stat.st_mtime_ns}\n'.encode())
    return digest.hexdigest()


def _file() -> Path:
    return user_cache_dir() / 'tasks.json'


def _folders() -> list[Path]:
    specs = map(importlib.util.find_spec, ('vlm', 'vlm.tasks', 'vlm.mixtures'))
    return [Path(folder) for spec in specs for folder in spec.submodule_search_locations]
