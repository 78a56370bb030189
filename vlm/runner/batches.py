"""Batches of an endless tf.data pipeline whose position is saved with every checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import seqio
import tensorflow as tf

Batch = dict[str, np.ndarray]
# All of the data, for a run of one process.
WHOLE = seqio.ShardInfo(index=0, num_shards=1)


class Batches:
    """An iterator over a pipeline, let go of before the interpreter ends.

    A pipeline that still runs Python functions at exit waits for an interpreter that is gone.

    Args:
      make: `make(n)` is the pipeline of this process without its first n examples.
      batch_size: examples of a batch, of this process.
      identity: says what is read and how; a position is that of one identity.
      part: which part of the examples this process reads.

    A position is tf.data's own: where every source stands, the shuffle buffers (of encoded images)
    and what was prepared ahead. It is exact, and restoring it reads no example again but those of
    the files that were open. With another identity, another number of processes or a source that
    tf.data cannot save, the examples seen so far are passed over instead: all of them are read and
    tokenised again, but no image is decoded.
    """

    def __init__(
        self,
        make: Callable[[int], tf.data.Dataset],
        batch_size: int,
        identity: str,
        part: seqio.ShardInfo = WHOLE,
    ):
        self._make, self._batch_size, self._parts = make, batch_size, part.num_shards
        self._identity = {
            'data': identity,
            'process': [part.index, part.num_shards],
            'tensorflow': tf.__version__,
        }
        self._taken = 0
        self._last: Batch = {}
        self._returned = False  # whether `_last` comes again
        self._iterator: Any = None

    def __iter__(self) -> 'Batches':
        return self

    def __next__(self) -> Batch:
        if self._returned:
            self._returned = False
        else:
            if self._iterator is None:
                self._iterator = self._iterate()
            self._last = {k: _as_numpy(value) for k, value in next(self._iterator).items()}
        self._taken += 1
        return self._last

    def _iterate(self, examples_before: int = 0) -> Any:
        # TensorFlow cannot know that our Python functions keep no state of their own.
        options = tf.data.Options()
        options.experimental_external_state_policy = tf.data.experimental.ExternalStatePolicy.IGNORE
        dataset = self._make(examples_before).with_options(options)
        self._identity['features'] = str(dataset.element_spec)
        return iter(dataset)

    def save(self, folder: Path, step: int) -> None:
        """Writes the position after `step` batches; one batch more may have been taken already."""
        assert self._taken - step in (0, 1), (self._taken, step)
        name = f'process_{jax.process_index()}'
        described = {'identity': self._identity, 'examples': self._examples_before(step)}
        try:
            tf.train.Checkpoint(iterator=self._iterator).write(str(folder / name))
        except tf.errors.UnimplementedError as error:  # a source that tf.data cannot save
            described['only_counted'] = error.message[:200]
        if self._taken > step:
            np.savez(folder / f'{name}.npz', **self._last)
        (folder / f'{name}.json').write_text(json.dumps(described))

    def _examples_before(self, step: int) -> int:
        return step * self._batch_size * self._parts

    def restore(self, folder: Path, step: int) -> str:
        """Goes to what `save(folder, step)` wrote; returns why if that was not exactly possible."""
        name = f'process_{jax.process_index()}'
        saved = _read_json(folder / f'{name}.json')
        self._taken = step
        self._iterator = self._iterate()
        if reason := _why_inexact(saved, self._identity):
            seen = saved.get('examples', self._examples_before(step))
            self._iterator = self._iterate(seen // self._parts)
            return f'{reason}; the first {seen:,} examples are passed over instead'
        tf.train.Checkpoint(iterator=self._iterator).read(str(folder / name)).assert_consumed()
        pending = folder / f'{name}.npz'
        if pending.exists():
            with np.load(pending) as arrays:
                self._last = dict(arrays)
            self._returned = True
        return ''

    def close(self) -> None:
        self._iterator = None

    def __enter__(self) -> 'Batches':
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()


def _as_numpy(value: tf.Tensor) -> np.ndarray:
    # Text as bytes[n]: what numpy would hold as objects, it can save as pickles only.
    return value.numpy().astype(bytes) if value.dtype == tf.string else value.numpy()


def _why_inexact(saved: dict[str, Any], identity: dict[str, Any]) -> str:
    if not saved:
        return 'the checkpoint has no position of this process'
    if 'only_counted' in saved:
        return 'the sources could not tell their position'
    changed = [name for name, value in identity.items() if saved['identity'].get(name) != value]
    return f'not the same as before: {", ".join(changed)}' if changed else ''


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}
