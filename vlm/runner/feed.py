"""Batches on their way to the devices: sent ahead of the step, their names kept on the host."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from vlm.data.converter import NAME

# float32[B, T], one-hot: which of the T tasks of a mixture each row is of.
TASK_ROWS = 'task_rows'
Put = Callable[[Mapping[str, np.ndarray]], dict[str, Any]]


@dataclass(frozen=True)
class Origin:
    """Where the examples of a batch come from; all of it is on the host.

    Attributes:
      names: JSON of [task, id] of every example of this process.
      tokens: text tokens of all processes that are not padding, if the others have as many.
    """

    names: np.ndarray
    tokens: int

    def examples(self) -> list[tuple[str, str]]:
        """(task, id) of every example of this process, in order."""
        return [tuple(json.loads(name)) for name in self.names]


@dataclass(frozen=True)
class Fed:
    """A batch on the devices, or on its way there: the model's features, and its origin.

    For a mixture of several tasks TASK_ROWS is among the features.
    """

    arrays: dict[str, Any]
    origin: Origin


def feed(
    batches: Iterable[Mapping[str, np.ndarray]], put: Put, tasks: Sequence[str]
) -> Iterator[Fed]:
    """Yields each batch as `Fed`; it is on its way to the devices as soon as it is asked for.

    So a loop that asks for the next batch while a step is computed has the transfer, of uint8
    pixels, done meanwhile.
    """
    columns = {task: i for i, task in enumerate(tasks)}
    for batch in batches:
        features = {name: value for name, value in batch.items() if name != NAME}
        names = batch[NAME]
        if len(tasks) > 1:
            features[TASK_ROWS] = _task_rows(names, columns)
        yield Fed(put(features), Origin(names, _tokens(batch) * jax.process_count()))


def _task_rows(names: np.ndarray, columns: Mapping[str, int]) -> np.ndarray:
    rows = np.zeros((len(names), len(columns)), np.float32)
    for row, name in zip(rows, names, strict=True):
        column = columns.get(json.loads(name)[0])
        if column is not None:  # a task whose images carry no tag counts in the loss alone
            row[column] = 1.0
    return rows


def _tokens(batch: Mapping[str, np.ndarray]) -> int:
    texts = ('encoder_input_tokens', 'decoder_target_tokens')
    return sum(int(np.count_nonzero(batch[name])) for name in texts if name in batch)
