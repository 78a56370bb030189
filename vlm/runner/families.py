"""Mean scores of tasks that belong together, such as one caption task a language."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from vlm.data.tasks import spec_of


def family_rows(scores: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns, for each family of tasks and metric, a row of scores.json with the plain mean.

    Every task weighs the same, however many examples it has; `n` is the number of all examples. A
    family of which one task alone was scored gives none: its mean would look like all of it.
    """
    members = defaultdict(list)
    for row in scores:
        if family := spec_of(row['task']).family:
            members[family, row['metric']].append(row)
    return [_mean_row(family, rows) for (family, _), rows in members.items() if len(rows) > 1]


def _mean_row(family: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    tasks = ', '.join(row['task'] for row in rows)
    return {
        **rows[0],
        'task': family,
        'value': sum(row['value'] for row in rows) / len(rows),
        'n': sum(row['n'] for row in rows),
        'definition': f'mean over {len(rows)} tasks ({tasks}) of: {rows[0]["definition"]}',
    }
