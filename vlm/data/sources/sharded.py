"""Sources that read files: shared out among hosts, shuffled, read ahead, repeated by weight."""

import abc
import collections
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from vlm.data.bad_data import bad_data
from vlm.data.examples import Record
from vlm.data.sources.records import SIGNATURE, RecordSource, as_element
from vlm.data.sources.seekable import seekable_dataset
from vlm.data.threads import untuned
from vlm.errors import unknown_name

Transform = Callable[[Record], Record]
# A row as found in a file, and its name in messages: ('captions.jsonl:12', what was found).
Row = tuple[str, Any]

# SeqIO's own numbers: so many files are read in turns, so many records at a time.
CYCLE, BLOCK = 16, 16
READERS, AHEAD = 4, 8
MAX_WEIGHT = 1000
# What a row lacks or has in a wrong form; its message becomes the reason of what was skipped.
FAULTS = (LookupError, ValueError, TypeError, AttributeError, RecursionError)


class BadRow(ValueError):
    """A row that no record can be made of; the message says why."""


class ShardedSource(RecordSource):
    """A source of files with rows in them.

    A subclass says which files a split has (`list_shards`), what rows a file has (`rows`: cheap,
    for every host may look at all of them) and which record a row makes (`record`: reads images).

    Hosts get whole files where there are at least as many files as hosts, else every n-th row of
    every file. Shuffling draws the order of the files anew in each epoch, as a function of the
    seed, and SeqIO's buffer mixes what comes out; `indexed` sources, whose rows are in memory
    anyway, shuffle those as well.

    Args:
      splits: names of the splits.
      weight: the field that says how often a record is seen in an epoch of training, on average:
        0.25 in one epoch of four, 2.5 two or three times. Only shuffled reading looks at it.
      transform: `f(record) -> record`, run on every record.
    """

    indexed = False

    def __init__(
        self,
        splits: Iterable[str],
        weight: str | None = None,
        transform: Transform | None = None,
    ):
        super().__init__(self._in_order, dict.fromkeys(splits))
        self._weight = weight
        self._transform = transform

    @abc.abstractmethod
    def list_shards(self, split: str) -> list[str]:
        """The files of a split, always in the same order; UserError where there are none."""

    @abc.abstractmethod
    def rows(self, file: str) -> Iterator[Row]:
        """The rows of a file, in order."""

    @abc.abstractmethod
    def record(self, file: str, row: Row) -> Record:
        """The record of a row, with its images; raises one of FAULTS for a bad row."""

    def get_dataset(
        self,
        split: str = 'train',
        shuffle: bool = True,
        seed: int | None = None,
        shard_info: seqio.ShardInfo | None = None,
        **unused: Any,
    ) -> tf.data.Dataset:
        """This shard's records, in an order that is a function of the seed."""
        if split not in self.splits:
            raise unknown_name('split', split, self.splits, type(self).__name__)
        shard = shard_info or seqio.ShardInfo(index=0, num_shards=1)
        files = self.list_shards(split)
        numbers, first, step = _share(len(files), shard)

        def elements(number: np.integer, draw: np.integer) -> Iterator[dict[str, Any]]:
            rng = np.random.default_rng([int(draw) % 2**32, shard.index]) if shuffle else None
            # From another row in each file, so that one-row files do not all go to one host.
            start = (first - int(number)) % step
            rows = itertools.islice(self.rows(files[number]), start, None, step)
            return self._elements(files[number], rows, rng)

        def read(number: tf.Tensor, draw: tf.Tensor) -> tf.data.Dataset:
            return seekable_dataset(elements, (number, draw), SIGNATURE)

        order = tf.data.Dataset.from_tensor_slices(np.array(numbers, np.int64))
        draws = tf.data.Dataset.random(seed, rerandomize_each_iteration=True)
        if not shuffle:
            return untuned(tf.data.Dataset.zip(order, draws).flat_map(read))
        order = order.shuffle(len(numbers), seed)
        cycle = min(CYCLE, len(numbers))
        return untuned(tf.data.Dataset.zip(order, draws).interleave(read, cycle, BLOCK))

    def _elements(
        self, file: str, rows: Iterator[Row], rng: np.random.Generator | None
    ) -> Iterator[dict[str, Any]]:
        if rng is not None and self.indexed:
            rows = list(rows)
            rng.shuffle(rows)
        for record in self._records(file, rows):
            for _ in range(1 if rng is None else self._times(record, rng)):
                yield as_element(record)

    def _records(self, file: str, rows: Iterable[Row]) -> Iterator[Record]:
        made = read_ahead(lambda row: self._record_or_none(file, row), rows)
        return (record for record in made if record is not None)

    def _record_or_none(self, file: str, row: Row) -> Record | None:
        try:
            record = self.record(file, row)
            return record if self._transform is None else self._transform(record)
        except FAULTS as error:
            told = isinstance(error, ValueError)  # the others say next to nothing by themselves
            reason = str(error) if told else f'{type(error).__name__}: {error}'
            bad_data.add('unreadable_rows', row[0], reason)
            return None

    def _times(self, record: Record, rng: np.random.Generator) -> int:
        """How often to yield a record now: the weight, rounded at random so that its mean stays."""
        if self._weight is None:
            return 1
        weight = record.get(self._weight)
        known = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not known or not 0 <= weight <= MAX_WEIGHT:
            reason = f'{self._weight} is {weight!r}; a weight is a number in 0..{MAX_WEIGHT}'
            bad_data.add('unreadable_rows', record['id'], reason)
            return 0
        return math.floor(weight + rng.random())

    def _in_order(self, split: str) -> Iterator[Record]:
        for file in self.list_shards(split):
            yield from self._records(file, self.rows(file))


def read_ahead(
    function: Callable[[Any], Any], items: Iterable[Any], readers: int = READERS, ahead: int = AHEAD
) -> Iterator[Any]:
    """`map(function, items)` by threads, in order; at most `ahead` results wait to be taken."""
    with ThreadPoolExecutor(readers) as pool:
        waiting: collections.deque = collections.deque()
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _share(count: int, shard: seqio.ShardInfo) -> tuple[Sequence[int], int, int]:
    """Numbers of the files a shard reads; the first row it takes of file 0, and every which row."""
    if count >= shard.num_shards:
        return range(shard.index, count, shard.num_shards), 0, 1
    return range(count), shard.index, shard.num_shards
