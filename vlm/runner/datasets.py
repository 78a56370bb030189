"""Batches of a task or mixture."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from vlm.errors import UserError, unknown_name

Batch = dict[str, np.ndarray]
# All of the data, for a run of one process.
WHOLE = seqio.ShardInfo(index=0, num_shards=1)
MakeConverter = Callable[..., seqio.FeatureConverter]


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Which examples, how long, how many at once; the fields are T5X's.

    `task_feature_lengths`: number of images, prompt tokens and answer tokens of an example; for a
    group of pairs, of all its prompts and all its answers.
    """

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]
    split: str = 'train'
    batch_size: int = 32
    shuffle: bool = True
    seed: int = 0

    def __post_init__(self):
        expected = {'images', 'inputs', 'targets'}
        if set(self.task_feature_lengths) != expected:
            raise UserError(
                f'TASK_FEATURE_LENGTHS = {dict(self.task_feature_lengths)} must have exactly the '
                f'keys {", ".join(sorted(expected))}.'
            )

    def provider(self) -> seqio.Task | seqio.Mixture:
        """The registered task or mixture, which must have the split."""
        provider = find_task_or_mixture(self.mixture_or_task_name)
        if self.split not in provider.splits:
            raise unknown_name(
                'split', self.split, provider.splits, f'of {self.mixture_or_task_name}'
            )
        return provider

    def task_names(self) -> list[str]:
        """The tasks of the mixture, or the task itself."""
        return [task.name for task in seqio.get_subtasks(self.provider())]

    def examples(
        self, epochs: int | None = 1, part: seqio.ShardInfo | None = None
    ) -> tf.data.Dataset:
        """Task examples, or a part of them, before conversion; `epochs=None` repeats for ever."""
        return self.provider().get_dataset(
            dict(self.task_feature_lengths),
            split=self.split,
            shuffle=self.shuffle,
            seed=self.seed,
            num_epochs=epochs,
            shard_info=part,
        )

    def training_batches(
        self, make_converter: MakeConverter, start: int, part: seqio.ShardInfo = WHOLE
    ) -> 'Batches':
        """An endless stream of batches from batch `start` on, or of this part's rows of them.

        The order is a function of the seed, so a resumed run goes on where it stopped: the
        examples before are passed over while their images are still encoded. Each batch has the
        feature `name` of the converter beside those of the model.
        """
        size = self.batch_size // part.num_shards
        examples = self.examples(epochs=None, part=part).skip(start * size)
        batches = make_converter(pack=False, names=True)(examples, dict(self.task_feature_lengths))
        batches = batches.batch(size, drop_remainder=True).prefetch(4)
        return Batches(batches)


class Batches:
    """An iterator over a tf.data pipeline that is let go of before the interpreter ends.

    A pipeline that still runs Python functions at exit waits for an interpreter that is gone.
    """

    def __init__(self, dataset: tf.data.Dataset):
        self._iterator: Iterator[Batch] | None = iter(dataset.as_numpy_iterator())

    def __iter__(self) -> 'Batches':
        return self

    def __next__(self) -> Batch:
        return next(self._iterator)

    def close(self) -> None:
        self._iterator = None

    def __enter__(self) -> 'Batches':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def find_task_or_mixture(name: str) -> seqio.Task | seqio.Mixture:
    """The registered task or mixture; `UserError` with the nearest names if there is none."""
    known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
    if name not in known:
        raise unknown_name('task or mixture', name, known, 'MIXTURE_OR_TASK_NAME')
    return seqio.get_mixture_or_task(name)
