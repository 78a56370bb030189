"""Several elements of a pipeline in one call into Python, and apart again behind it.

A call costs TensorFlow some 40 microseconds, 8 for each array that comes back, and the processor
its caches: for single records that is more than what is done to them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

# So many records are read before the first of them is used; more bring little.
CHUNK = 8
# What an example of a chunk is filled up with where its neighbours have more images or tokens.
NO_STRING = b'\x93VLMNONE'
NO_NUMBER = -1

Row = dict[str, tf.Tensor]


def filled(vectors: Sequence[Sequence[Any]]) -> list[np.ndarray]:
    """Vectors of strings, one for each element of a chunk, as exactly `CHUNK` arrays."""
    return [np.array(list(each), dtype=object) for each in (*vectors, *[[]] * CHUNK)][:CHUNK]


def in_chunks(dataset: tf.data.Dataset, size: int = CHUNK) -> tf.data.Dataset:
    """`size` elements in one, their strings and vectors filled up to a common length."""

    def fill(spec: tf.TensorSpec) -> bytes | int:
        return NO_STRING if spec.dtype == tf.string else NO_NUMBER

    return dataset.padded_batch(
        size,
        padding_values={name: fill(spec) for name, spec in dataset.element_spec.items()},
    )


def apart(
    rows: Mapping[str, tf.Tensor],
    owners: tf.Tensor,
    vectors: Mapping[str, Sequence[tf.Tensor]],
    finish: Callable[[Row], Row],
) -> tf.data.Dataset:
    """A data set of rows, each beside the vectors of the element of the chunk that it belongs to.

    It is made inside the function of a `flat_map`.

    Args:
      rows: name -> [R, ...], of which each row has a slice.
      owners: int32[R], the number of each row's element.
      vectors: name -> `CHUNK` vectors of strings of any lengths. Rows of one owner share them: the
        bytes of an image are in memory once, however many rows a shuffle buffer holds.
      finish: what is done to each row.
    """
    lists = {name: _as_list(each) for name, each in vectors.items()}

    def row_of(owner: tf.Tensor, row: Row) -> Row:
        return finish({**row, **{name: each.read(owner) for name, each in lists.items()}})

    return tf.data.Dataset.from_tensor_slices((owners, dict(rows))).map(row_of)


def _as_list(vectors: Sequence[tf.Tensor]) -> tf.TensorArray:
    held = tf.TensorArray(tf.string, CHUNK, infer_shape=False, element_shape=[None])
    for i, vector in enumerate(vectors):
        held = held.write(i, vector)
    return held
