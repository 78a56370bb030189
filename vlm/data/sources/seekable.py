"""Elements of a Python function as a tf.data pipeline whose position can be saved and restored.

`tf.data.Dataset.from_generator` cannot say where it stands. Here the pipeline is a count, which
tf.data saves like any other state, and Python is asked for the elements of that number.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from vlm.data.chunks import CHUNK, apart, filled
from vlm.data.python_calls import numpy_function

Element = dict[str, Any]
Spec = dict[str, tf.TensorSpec]


def seekable_dataset(
    make: Callable[..., Iterator[Element]], args: tuple[tf.Tensor, ...], spec: Spec
) -> tf.data.Dataset:
    """A data set of what `make(*args)` yields, in order.

    A pipeline that is restored in the middle calls `make` anew and passes over the elements before.

    Args:
      make: yields dictionaries of strings, bytes or lists of bytes; every call with the same `args`
        yields the same.
      args: scalars that `make` is called with.
      spec: name -> string scalars and vectors.
    """
    chunks = _Chunks(make, spec)
    scalars, vectors = chunks.scalars, chunks.vectors
    dtypes = [tf.int32] + [tf.string] * (len(scalars) + CHUNK * len(vectors))

    def read(key: tf.Tensor) -> tf.data.Dataset:
        def chunk(number: tf.Tensor) -> tuple[tf.Tensor, ...]:
            columns = numpy_function(chunks, [key, number, *args], dtypes)
            return tuple(tf.ensure_shape(column, (None,)) for column in columns)

        def elements(owners: tf.Tensor, *columns: tf.Tensor) -> tf.data.Dataset:
            rest = columns[len(scalars) :]
            lists = {name: rest[CHUNK * i :][:CHUNK] for i, name in enumerate(vectors)}
            rows = dict(zip(scalars, columns, strict=False))
            return apart(rows, owners, lists, lambda row: {name: row[name] for name in spec})

        found = tf.data.Dataset.counter().map(chunk)
        return found.take_while(lambda owners, *_: tf.size(owners) > 0).flat_map(elements)

    # A key of its own for every pass and every iterator, so that none disturbs another.
    key = tf.data.Dataset.from_tensors(0).map(
        lambda _: tf.ensure_shape(numpy_function(_new_key, [], tf.string), ())
    )
    return key.flat_map(read)


def _new_key() -> bytes:
    return uuid.uuid4().bytes


class _Chunks:
    """Chunks of elements by number; in order, as they are asked for, each is made once."""

    def __init__(self, make: Callable[..., Iterator[Element]], spec: Spec):
        self._make = make
        self.scalars = [name for name, each in spec.items() if not each.shape.rank]
        self.vectors = [name for name, each in spec.items() if each.shape.rank]
        self._open: dict[bytes, tuple[Iterator[Element], int]] = {}

    def __call__(self, key: bytes, number: np.integer, *args: np.generic) -> list[np.ndarray]:
        elements, at = self._open.pop(key, (None, -1))
        if at != number:
            elements = itertools.islice(self._make(*args), int(number) * CHUNK, None)
        chunk = list(itertools.islice(elements, CHUNK))
        if chunk:
            self._open[key] = elements, int(number) + 1
        columns = [np.arange(len(chunk), dtype=np.int32)]
        columns += [np.array([each[name] for each in chunk], object) for name in self.scalars]
        for name in self.vectors:
            columns += filled([each[name] for each in chunk])
        return columns


class Kept:
    """What `make()` yields, made once and kept in memory as it is asked for."""

    def __init__(self, make: Callable[[], Iterator[Element]]):
        self._make = make
        self._elements: Iterator[Element] | None = None
        self._kept: list[Element] = []

    def __call__(self) -> Iterator[Element]:
        if self._elements is None:
            self._elements = self._make()
        for number in itertools.count():
            if number == len(self._kept):
                element = next(self._elements, None)
                if element is None:
                    return
                self._kept.append(element)
            yield self._kept[number]
