"""Records of a Python function as a SeqIO data source: what every other source builds on."""

import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import seqio
import tensorflow as tf

from vlm.data.examples import Record
from vlm.data.sources.seekable import Kept, seekable_dataset
from vlm.data.threads import untuned

SIGNATURE = {
    'id': tf.TensorSpec((), tf.string),
    'images': tf.TensorSpec((None,), tf.string),
    'record': tf.TensorSpec((), tf.string),
}
# Of a record, but not handed to readers: where each image was read from, None for one inside a row.
PATHS = 'image_paths'
# A source with fewer records a process is kept in memory for training; SeqIO's own bound.
KEPT_RECORDS = 10_000


class RecordSource(seqio.DataSource):
    """A source over a Python function that yields records.

    Args:
      read: `read(split)` yields records (see `vlm.data.examples`), in the same order every time. It
        runs when the data is first read, never at registration.
      splits: the names of the splits and how many records each has (None if unknown).
      random_order: the records come in random order as they are: training reads them as they come,
        in the same order in every pass, and no thousand of them are made before the first is used.

    Elements are `{'id', 'images': string[n], 'record'}`; `record` is the other fields as JSON.
    """

    def __init__(
        self,
        read: Callable[[str], Iterable[Record]],
        splits: Mapping[str, int | None],
        random_order: bool = False,
    ):
        self._read = read
        known = {split: count for split, count in splits.items() if count is not None}
        counts = known if len(known) == len(splits) else None
        super().__init__(
            splits=tuple(splits),
            num_input_examples=counts,
            performs_internal_shuffling=random_order,
        )

    @property
    def supports_arbitrary_sharding(self) -> bool:
        return True

    def list_shards(self, split: str) -> list[str]:
        return [split]

    def records(self, split: str) -> Iterable[Record]:
        """Every record of a split once, in the source's order."""
        return self._read(split)

    def get_dataset(
        self,
        split: str = 'train',
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        **unused: Any,
    ) -> tf.data.Dataset:
        """Records of `split`, in the source's order; every `num_shards`-th one of a shard."""
        shard = shard_info or seqio.ShardInfo(index=0, num_shards=1)

        def elements():
            records = itertools.islice(self._read(split), shard.index, None, shard.num_shards)
            return (as_element(record) for record in records)

        count = self.num_input_examples(split)
        # Shuffled reading repeats. SeqIO would keep small sources as tensors, which could then only
        # be saved whole with every position.
        kept = shuffle and count is not None and count < KEPT_RECORDS * shard.num_shards
        return untuned(seekable_dataset(Kept(elements) if kept else elements, (), SIGNATURE))


def as_element(record: Record) -> dict[str, Any]:
    """A record as what `SIGNATURE` describes."""
    fields = {k: v for k, v in record.items() if k not in ('id', 'images', PATHS)}
    return {
        'id': record['id'].encode('utf-8', 'replace'),
        'images': list(record['images']),
        'record': json.dumps(fields).encode('ascii'),
    }
