"""Answers of a model for every example of a data set, in order, none left out."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tensorflow as tf

from vlm.decoding import DecodingConfig, check_prompts
from vlm.errors import UNANSWERED
from vlm.model import VisionTextModel
from vlm.runner.mesh import DataMesh
from vlm.vocab import EOS_ID, escape

OnBatch = Callable[[int], None]


class BatchPredictor:
    """Answers in batches of one shape, so that prediction is compiled once.

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
        if labels is None:
            self._predict = jax.jit(
                functools.partial(
                    model.predict_batch, max_decode_length=answer_length, decoding=decoding
                )
            )
        else:
            self._predict = _LabelPrediction(model, labels, answer_length)
            self._width = max(self._width, max(map(len, labels)))

    def __call__(
        self, params: Any, dataset: tf.data.Dataset, on_batch: OnBatch = lambda count: None
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Yields (index, int32[T]) for an enumerated data set of model features.

        Raises `UserError` for rows that hold several prompts, or one that is too long.
        """
        for indices, batch in dataset.batch(self._batch_size).prefetch(2).as_numpy_iterator():
            check_prompts(batch, self._answer_length)
            readable = batch['image_mask'].any(axis=1)
            rng = jax.random.fold_in(jax.random.key(0), int(indices[0]))
            filled = self._mesh.put(self._filled(batch))
            answers = np.asarray(self._predict(params, filled, rng))
            rows = np.zeros((len(indices), self._width), np.int32)
            rows[:, : answers.shape[1]] = answers[: len(indices)]
            rows[~readable] = 0
            rows[~readable, : len(self._unanswered)] = self._unanswered
            yield from zip(indices.tolist(), rows, strict=True)
            on_batch(len(indices))

    def _filled(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        missing = self._batch_size - len(batch['images'])
        return {
            name: np.pad(value, [(0, missing)] + [(0, 0)] * (value.ndim - 1))
            for name, value in batch.items()
        }


class _LabelPrediction:
    """The likeliest of some labels, in place of decoding.

    LABELS of them are scored at a time, so that a thousand classes need no thousand caches.
    """

    LABELS = 64

    def __init__(self, model: VisionTextModel, labels: Sequence[Sequence[int]], length: int):
        width = max(map(len, labels))
        self._ids = np.zeros((len(labels), width), np.int32)
        for row, label in zip(self._ids, labels, strict=True):
            row[: len(label)] = label
        self._score = jax.jit(functools.partial(model.score_labels, max_decode_length=length))

    def __call__(self, params: Any, batch: Mapping[str, Any], rng: Any) -> np.ndarray:
        scores = []
        for start in range(0, len(self._ids), self.LABELS):
            some = self._ids[start : start + self.LABELS]
            # Of one shape always: the last are filled up with the first label, which is dropped.
            missing = min(self.LABELS, len(self._ids)) - len(some)
            filled = np.concatenate([some, np.repeat(self._ids[:1], missing, axis=0)])
            scores.append(np.asarray(self._score(params, batch, filled))[:, : len(some)])
        return self._ids[np.concatenate(scores, axis=1).argmax(axis=1)]


def label_ids(labels: Sequence[str], vocabulary: Any) -> list[list[int]] | None:
    """The ids of labels, each ended by EOS; None for no labels."""
    return [[*vocabulary.encode(escape(label)), EOS_ID] for label in labels] or None


def unanswered_ids(vocabulary: Any) -> list[int]:
    """The ids that decode to the answer of an example that could not be asked."""
    return list(vocabulary.encode(UNANSWERED))
