"""Answers of a model for every example of a data set, in order, none left out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import seqio
import tensorflow as tf

from vlm.decoding import DecodingConfig, check_prompts
from vlm.errors import UNANSWERED
from vlm.model import VisionTextModel
from vlm.runner.mesh import DataMesh
from vlm.runner.shared_images import IMAGES, each_image_once
from vlm.vocab import EOS_ID, escape

SHARE = 8  # rows of text to one of images; with fewer a program of its own seldom pays
OnBatch = Callable[[int], None]
Rows = Mapping[str, np.ndarray]


class BatchPredictor:
    """Answers in batches of one shape, so that prediction is compiled once.

    Questions about one image that follow each other have it encoded once, where the first batch of
    a data set shows no more than an eighth as many images as it has rows: the one other shape.

    Args:
      model: the model.
      params: its parameters, on the mesh.
      batch_size: examples at once; a last, smaller batch is filled up and the filling dropped.
      answer_length: tokens of an answer at most.
      unanswered: the ids written for an example without a readable image.
      decoding: how answers are chosen; the best of several is kept. What is drawn depends on the
        place of an example in the data set and on `batch_size`, and on nothing else.
      labels: ids of all answers there are, each ended by EOS; the likeliest of them is the answer
        and nothing is decoded. None where answers are free.
    """

    def __init__(
        self,
        model: VisionTextModel,
        mesh: DataMesh,
        batch_size: int,
        answer_length: int,
        unanswered: list[int],
        decoding: DecodingConfig = DecodingConfig(),  # noqa: B008  (frozen)
        labels: Sequence[Sequence[int]] | None = None,
    ):
        mesh.check_batch_size(batch_size, 'EVAL_BATCH_SIZE')
        self._mesh = mesh
        self._batch_size = batch_size
        self._unanswered = unanswered
        self._width = max(answer_length, len(unanswered))
        self._answer_length = answer_length
        # Processes would have to agree on the shape of every batch.
        alone = mesh.reader.num_shards == 1
        few = batch_size // SHARE
        self._few_images = few if alone and few % mesh.batch_shards == 0 else 0

        if labels is not None:
            self._predict = _LabelPrediction(model, labels, answer_length, mesh)
            self._width = max(self._width, max(map(len, labels)))
            return

        def predict(params: Any, batch: Any, told: Any, rng: Any) -> tuple[Any, Any]:
            return model.predict_batch(
                params, batch, rng, max_decode_length=answer_length, decoding=decoding
            ), told

        # Every process gets the answers to all rows, and what each process told of its own.
        self._predict = mesh.jit(predict, out_shardings=mesh.replicated)

    def __call__(
        self, params: Any, dataset: tf.data.Dataset, on_batch: OnBatch = lambda count: None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (index, int32[T]) for an enumerated data set of model features.

        With several processes `dataset` is the part that this one reads (`OwnPart`), numbered from
        0; every process yields the answers to all parts, numbered as in the whole.

        Raises `UserError` for rows that hold several prompts, or one that is too long.
        """
        start, few = 0, self._few_images
        for batch, told in self._own_batches(dataset):
            shared = _shared(batch, few) if few else None
            if shared is None and not start:
                few = 0  # a last batch of few rows is no reason to compile
            batch = shared or batch
            rng = jax.random.fold_in(jax.random.key(0), start)
            sent = self._mesh.put(batch), self._mesh.put(told)
            answers, told = jax.device_get(self._predict(params, *sent, rng))
            rows = np.zeros((len(answers), self._width), np.int32)
            rows[:, : answers.shape[1]] = answers
            rows[~told['readable']] = 0
            rows[~told['readable'], : len(self._unanswered)] = self._unanswered
            asked = told['index'] >= 0
            yield from zip(told['index'][asked].tolist(), rows[asked], strict=True)
            on_batch(int(asked.sum()))
            start += self._batch_size
            if not told['more'].any():
                return

    def _own_batches(self, dataset: tf.data.Dataset) -> Iterator[tuple[Rows, Rows]]:
        """This process's rows of batches of one size, and what the others must know of them.

        Goes on for ever with rows that ask nothing: a program of all processes needs them all.
        """
        reader = self._mesh.reader
        size = self._batch_size // reader.num_shards
        empty = jax.tree.map(
            lambda spec: np.zeros((0, *spec.shape), spec.dtype.as_numpy_dtype),
            dataset.element_spec,
        )
        batches = dataset.batch(size).prefetch(2).as_numpy_iterator()
        current = next(batches, empty)
        while True:
            following = next(batches, empty)
            indices, batch = current
            check_prompts(batch, self._answer_length)
            numbers = (indices * reader.num_shards + reader.index).astype(np.int32)
            told = {
                'index': _filled(numbers, size, -1),
                'readable': _filled(batch['image_mask'].any(axis=1), size),
                'more': np.full(size, len(following[0]) > 0),
            }
            yield {name: _filled(value, size) for name, value in batch.items()}, told
            current = following


def _shared(batch: Rows, few: int) -> Rows | None:
    """The batch with `few` rows of images, None where it shows more."""
    shared = each_image_once(batch, few)
    return shared and {**shared, **{name: _filled(shared[name], few) for name in IMAGES}}


def _filled(rows: np.ndarray, size: int, value: int = 0) -> np.ndarray:
    room = [(0, size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return np.pad(rows, room, constant_values=value)


class OwnPart:
    """A feature converter of the examples that this process reads: every n-th of them.

    The others are passed over before their images are decoded.
    """

    def __init__(self, converter: Any, reader: seqio.ShardInfo):
        self._converter, self._reader = converter, reader

    def __call__(self, examples: tf.data.Dataset, lengths: Mapping[str, int]) -> tf.data.Dataset:
        own = examples.shard(self._reader.num_shards, self._reader.index)
        return self._converter(own, lengths)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._converter, name)


class _LabelPrediction:
    """The likeliest of some labels, in place of decoding.

    LABELS of them are scored at a time, so that a thousand classes need no thousand caches.
    """

    LABELS = 64

    def __init__(
        self, model: VisionTextModel, labels: Sequence[Sequence[int]], length: int, mesh: DataMesh
    ):
        width = max(map(len, labels))
        self._ids = np.zeros((len(labels), width), np.int32)
        for row, label in zip(self._ids, labels, strict=True):
            row[: len(label)] = label

        def score(params: Any, batch: Any, some: Any) -> Any:
            return model.score_labels(params, batch, some, max_decode_length=length)

        self._score = mesh.jit(score, out_shardings=mesh.replicated)
        self._tell = mesh.jit(lambda told: told, out_shardings=mesh.replicated)

    def __call__(
        self, params: Any, batch: Mapping[str, Any], told: Any, rng: Any
    ) -> tuple[np.ndarray, Any]:
        """Ids of the answers, and what every process told; nothing is drawn with `rng`."""
        scores = []
        for start in range(0, len(self._ids), self.LABELS):
            some = self._ids[start : start + self.LABELS]
            # Of one shape always: the last are filled up with the first label, which is dropped.
            missing = min(self.LABELS, len(self._ids)) - len(some)
            filled = np.concatenate([some, np.repeat(self._ids[:1], missing, axis=0)])
            scores.append(np.asarray(self._score(params, batch, filled))[:, : len(some)])
        return self._ids[np.concatenate(scores, axis=1).argmax(axis=1)], self._tell(told)


def label_ids(labels: Sequence[str], vocabulary: Any) -> list[list[int]] | None:
    """The ids of labels, each ended by EOS; None for no labels."""
    return [[*vocabulary.encode(escape(label)), EOS_ID] for label in labels] or None


def unanswered_ids(vocabulary: Any) -> list[int]:
    """The ids that decode to the answer of an example that could not be asked."""
    return list(vocabulary.encode(UNANSWERED))
