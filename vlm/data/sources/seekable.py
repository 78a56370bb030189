"""Elements of a Python function as a tf.data pipeline whose position can be saved and restored.

`tf.data.Dataset.from_generator` cannot say where it stands. Here the pipeline is a count, which
tf.data saves like any other state, and Python is asked for the element of that number.
"""

import itertools
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

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
    elements = _Elements(make, spec)
    dtypes = [tf.bool, *(each.dtype for each in spec.values())]

    def read(key: tf.Tensor) -> tf.data.Dataset:
        def element(number: tf.Tensor) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
            found, *values = numpy_function(elements, [key, number, *args], dtypes)
            named = zip(spec, values, strict=True)
            return tf.ensure_shape(found, ()), {
                name: tf.ensure_shape(value, spec[name].shape) for name, value in named
            }

        numbers = tf.data.Dataset.counter().map(element)
        return numbers.take_while(lambda found, _: found).map(lambda _, value: value)

    # A key of its own for every pass and every iterator, so that none disturbs another.
    key = tf.data.Dataset.from_tensors(0).map(
        lambda _: tf.ensure_shape(numpy_function(_new_key, [], tf.string), ())
    )
    return key.flat_map(read)


def _new_key() -> bytes:
    return uuid.uuid4().bytes


class _Elements:
    """Elements by number; in order, as they are asked for, each is made once."""

    def __init__(self, make: Callable[..., Iterator[Element]], spec: Spec):
        self._make = make
        self._nothing = {name: [] if each.shape.rank else b'' for name, each in spec.items()}
        self._open: dict[bytes, tuple[Iterator[Element], int]] = {}

    def __call__(self, key: bytes, number: np.integer, *args: np.generic) -> list[Any]:
        elements, at = self._open.pop(key, (None, -1))
        if at != number:
            elements = itertools.islice(self._make(*args), int(number), None)
        element = next(elements, None)
        if element is not None:
            self._open[key] = elements, int(number) + 1
        values = element or self._nothing
        return [element is not None, *(_as_array(values[name]) for name in self._nothing)]


def _as_array(value: Any) -> Any:
    return np.array(value, dtype=object) if isinstance(value, list) else value


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
