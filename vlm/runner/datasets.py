"""Batches of a task or mixture."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import seqio
import tensorflow as tf

from vlm.errors import UserError, unknown_name
from vlm.runner.batches import WHOLE, Batches

MakeConverter = Callable[..., seqio.FeatureConverter]


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """Which examples, how long, how many at once; the fields are T5X's.

    `task_feature_lengths`: number of images, prompt tokens and answer tokens of an example; for a
    group of pairs, of all its prompts and all its answers. `rows_per_image`: into how many rows of
    a pair each a group is laid out, where its pairs do not share one (see the converter); its
    images are encoded once.
    """

    mixture_or_task_name: str
    task_feature_lengths: Mapping[str, int]
    split: str = 'train'
    batch_size: int = 32
    shuffle: bool = True
    seed: int = 0
    rows_per_image: int = 1

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
            # A cache would be saved whole with every position; see `RecordSource`.
            try_in_mem_cache=not self.shuffle,
        )

    def converter(self, make_converter: MakeConverter, **options: Any) -> seqio.FeatureConverter:
        """What lays these examples out for training."""
        return make_converter(pack=False, rows_per_image=self.rows_per_image, **options)

    def training_batches(
        self, make_converter: MakeConverter, part: seqio.ShardInfo = WHOLE
    ) -> Batches:
        """An endless stream of batches, or of this part's rows of them.

        The order is a function of the seed. Each batch has the feature `name` of the converter
        beside those of the model.
        """
        lengths = dict(self.task_feature_lengths)
        converter = self.converter(make_converter, names=True)
        size = self.batch_size // part.num_shards

        def batches(examples_before: int) -> tf.data.Dataset:
            examples = self.examples(epochs=None, part=part).skip(examples_before)
            return converter(examples, lengths).batch(size, drop_remainder=True).prefetch(4)

        return Batches(batches, size, identity=repr(self), part=part)


def find_task_or_mixture(name: str) -> seqio.Task | seqio.Mixture:
    """The registered task or mixture; `UserError` with the nearest names if there is none."""
    known = [*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()]
    if name not in known:
        raise unknown_name('task or mixture', name, known, 'MIXTURE_OR_TASK_NAME')
    return seqio.get_mixture_or_task(name)
