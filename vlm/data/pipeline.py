"""The preprocessors of every task: record -> pairs -> token ids.

`read_pairs` calls the task's reader (plain Python) on each record, `one_pair_each` or
`shuffle_pairs` decides how many pairs share an example, `tokenize` makes the output features.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import seqio
import tensorflow as tf

from vlm.boxes import BoxFormatError
from vlm.data.bad_data import bad_data
from vlm.data.envelope import tag_image
from vlm.data.examples import Augmentation, Pair, Reader
from vlm.data.frames import image_frame, place_objects
from vlm.data.prompts import template

# (task name, reader, default prompt template)
Part = tuple[str, Reader, str]
# What a reader meets in a record that lacks a field, or has something else in its place.
FAULTS = (LookupError, ValueError, TypeError, AttributeError, BoxFormatError)
# As SeqIO hands it to a preprocessor: two int64 scalars.
Seed = tuple[tf.Tensor, tf.Tensor]


def read_pairs(parts: Sequence[Part], augment: Augmentation | None = None):
    """Preprocessor: each record becomes one element with all pairs that the readers make of it.

    Elements: `{'images': string[n], 'prompts', 'answers', 'metas': string[k]}`. A record that a
    reader cannot use yields no pairs, is counted and named.
    """

    def preprocess(dataset: tf.data.Dataset) -> tf.data.Dataset:
        resolved = [(read, template(task, prompt)) for task, read, prompt in parts]
        frame = image_frame()

        def call(example_id: bytes, images: np.ndarray, fields: bytes, seed: np.ndarray):
            record = {**json.loads(fields), 'id': example_id.decode(), 'images': list(images)}
            rng = np.random.default_rng(seed.astype(np.uint32))
            try:
                if augment is not None:
                    record = augment(record, rng)
                record = place_objects(record, frame)
                pairs = [pair for read, prompt in resolved for pair in read(record, prompt, rng)]
            except FAULTS as error:
                bad_data.add('unusable_records', record['id'], f'{type(error).__name__}: {error}')
                pairs = []
            return _as_arrays(record, pairs)

        @seqio.map_over_dataset(num_seeds=1)
        def read(element: Mapping[str, tf.Tensor], seed: Seed) -> dict[str, tf.Tensor]:
            images, prompts, answers, metas = tf.numpy_function(
                call,
                [element['id'], element['images'], element['record'], seed],
                [tf.string] * 4,
            )
            result = {'images': images, 'prompts': prompts, 'answers': answers, 'metas': metas}
            return {name: tf.ensure_shape(value, [None]) for name, value in result.items()}

        return read(dataset).filter(lambda element: tf.size(element['prompts']) > 0)

    return preprocess


def _as_arrays(record: Mapping[str, Any], pairs: Sequence[Pair]) -> tuple[np.ndarray, ...]:
    one = len(pairs) == 1
    ids = [record['id'] if one else f'{record["id"]}#{i}' for i in range(len(pairs))]
    metas = [json.dumps(p.to_meta(i)) for p, i in zip(pairs, ids, strict=True)]

    def column(values: Sequence[str]) -> np.ndarray:
        return np.array([value.encode('utf-8', 'replace') for value in values], dtype=object)

    # An image that is missing is told as one that cannot be decoded: the bytes carry the id.
    files = record['images'] or [b'']
    images = np.array([tag_image(data, record['id']) for data in files], dtype=object)
    prompts, answers = [p.prompt for p in pairs], [p.answer for p in pairs]
    return images, column(prompts), column(answers), column(metas)


def one_pair_each(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Preprocessor: one example a pair; the image's bytes are repeated, never its pixels."""

    def split(element: Mapping[str, tf.Tensor]) -> tf.data.Dataset:
        names = ('prompts', 'answers', 'metas')
        rows = tf.data.Dataset.from_tensor_slices({name: element[name] for name in names})
        return rows.map(
            lambda row: {**{k: v[None] for k, v in row.items()}, 'images': element['images']}
        )

    return dataset.flat_map(split)


@seqio.map_over_dataset(num_seeds=1)
def shuffle_pairs(element: Mapping[str, tf.Tensor], seed: Seed) -> dict[str, tf.Tensor]:
    """Preprocessor: the pairs of each example in random order, so that `tokenize` cuts any."""
    count = tf.size(element['prompts'])
    order = tf.argsort(tf.random.stateless_uniform([count], seed))
    names = ('prompts', 'answers', 'metas')
    return {**element, **{name: tf.gather(element[name], order) for name in names}}


def tokenize(
    dataset: tf.data.Dataset,
    output_features: Mapping[str, seqio.Feature],
    sequence_length: Mapping[str, int] | None = None,
) -> tf.data.Dataset:
    """Preprocessor: prompts and answers to ids, each ended by EOS, as many pairs as fit.

    Pairs are taken in order while both `inputs` and `targets` have room. A first pair that is too
    long by itself is cut to fit, its answer then without EOS: a cut answer must not teach to stop.
    """
    room = {k: (sequence_length or {}).get(k) for k in ('inputs', 'targets')}
    vocabularies = {k: output_features[k].vocabulary for k in room}

    # One call into Python an example: a graph of small TensorFlow operations costs more.
    def encode(prompts: np.ndarray, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows: dict[str, list[int]] = {'inputs': [], 'targets': []}
        for i, pair in enumerate(zip(prompts, answers, strict=True)):
            ids = {
                k: [*vocabularies[k].encode(text.decode()), vocabularies[k].eos_id]
                for k, text in zip(rows, pair, strict=True)
            }
            if i and any(_overfull(rows[k], ids[k], room[k]) for k in rows):
                break
            for k in rows:
                rows[k] += ids[k]
        return tuple(np.array(rows[k][: room[k]], np.int32) for k in ('inputs', 'targets'))

    def convert(element: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        columns = [element['prompts'], element['answers']]
        inputs, targets = tf.numpy_function(encode, columns, [tf.int32] * 2, stateful=False)
        features = {'inputs': inputs, 'targets': targets}
        features = {name: tf.ensure_shape(value, [None]) for name, value in features.items()}
        return {'images': element['images'], 'meta': element['metas'][0], **features}

    return dataset.map(convert, num_parallel_calls=tf.data.AUTOTUNE)


def _overfull(row: list[int], ids: list[int], room: int | None) -> bool:
    return room is not None and len(row) + len(ids) > room
