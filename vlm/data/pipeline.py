"""The preprocessor of every task: record -> pairs -> token ids.

One call into Python does all of it for several records: the reader, the order of the pairs, the
token ids. A graph of small TensorFlow operations would cost more than their work.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import seqio
import tensorflow as tf

from vlm.boxes import BoxFormatError
from vlm.data.bad_data import bad_data
from vlm.data.chunks import CHUNK, NO_STRING, apart, filled, in_chunks
from vlm.data.envelope import tag_image
from vlm.data.examples import Augmentation, Pair, Reader, Record, is_blank
from vlm.data.frames import image_frame, place_objects, turn_objects
from vlm.data.prompts import template
from vlm.data.python_calls import numpy_function
from vlm.data.vocabularies import SentencePieceVocabulary
from vlm.vocab import Tokenizer

# (task name, reader, default prompt template)
Part = tuple[str, Reader, str]
# What a reader meets in a record that lacks a field, or has something else in its place.
FAULTS = (LookupError, ValueError, TypeError, AttributeError, BoxFormatError)
# As SeqIO hands it to a preprocessor: two int64 scalars.
Seed = tuple[tf.Tensor, tf.Tensor]
Features = Mapping[str, seqio.Feature]
Lengths = Mapping[str, int | None]
Tokenizers = Mapping[str, Tokenizer | seqio.Vocabulary]
Ids = dict[str, list[int]]  # of 'inputs', the prompts, and of 'targets', the answers
TEXTS = ('inputs', 'targets')
COLUMNS = (*TEXTS, 'meta')  # of a row, as bytes


def read_examples(
    parts: Sequence[Part],
    augment: Augmentation | None = None,
    group: bool = False,
    task: str = '',
):
    """Preprocessor: examples of token ids from what the readers make of each record.

    With `group`, all pairs of a record in random order, as many as fit, are one example; without,
    each pair is one, and they share the image's bytes in memory. Examples are
    `{'images': string[n], 'inputs': int32[I], 'targets': int32[O], 'meta'}`, every prompt and every
    answer ended by EOS; `meta` is that of the first pair. A record that a reader cannot use yields
    none, is counted and named; so is a pair whose answer is blank: it would teach silence. The
    image carries `task` and the record's id.
    """

    def preprocess(
        dataset: tf.data.Dataset, output_features: Features, sequence_length: Lengths | None = None
    ) -> tf.data.Dataset:
        make = _Rows(parts, augment, group, task, output_features, sequence_length or {})

        @seqio.map_over_dataset(num_seeds=1, num_parallel_calls=None)  # Python has one lock
        def read(chunk: Mapping[str, tf.Tensor], seed: Seed) -> tuple[tf.Tensor, ...]:
            arguments = [chunk['id'], chunk['images'], chunk['record'], seed]
            dtypes = [tf.int32] + [tf.string] * (len(COLUMNS) + CHUNK)
            columns = numpy_function(make, arguments, dtypes)
            return tuple(tf.ensure_shape(column, [None]) for column in columns)

        def rows(owners: tf.Tensor, *columns: tf.Tensor) -> tf.data.Dataset:
            texts, images = columns[: len(COLUMNS)], columns[len(COLUMNS) :]
            named = dict(zip(COLUMNS, texts, strict=True))
            return apart(named, owners, {'images': images}, _example)

        return read(in_chunks(dataset)).flat_map(rows)

    return preprocess


class _Rows:
    """Makes rows of a chunk of records: of each, which record's it is, its ids and its meta."""

    def __init__(
        self,
        parts: Sequence[Part],
        augment: Augmentation | None,
        group: bool,
        task: str,
        features: Features,
        lengths: Lengths,
    ):
        self._parts = [(read, template(name, prompt)) for name, read, prompt in parts]
        self._augment, self._group, self._task = augment, group, task
        self._tokenizers, self._lengths = tokenizers_of(features), lengths
        self._frame = image_frame()

    def __call__(
        self, ids: np.ndarray, images: np.ndarray, fields: np.ndarray, seed: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """The owners, a column each of `COLUMNS`, and the tagged images of each record."""
        owners, rows, tagged = [], [], []
        for i, (example_id, files, rest) in enumerate(zip(ids, images, fields, strict=True)):
            images_of = [data for data in files if data != NO_STRING]
            record = {**json.loads(rest), 'id': example_id.decode(), 'images': images_of}
            rng = np.random.default_rng([*seed.astype(np.uint32), i])
            record, pairs = self._pairs(record, rng)
            made = self._rows(record, pairs, rng)
            tagged.append(_images(record, self._task))
            owners += [i] * len(made)
            rows += made
        columns = [[row[name] for row in rows] for name in COLUMNS]
        texts = (np.array(column, dtype=object) for column in columns)
        return np.array(owners, np.int32), *texts, *filled(tagged)

    def _pairs(self, record: Record, rng: np.random.Generator) -> tuple[Record, list[Pair]]:
        """The record as its augmentation and frame have it, and what the readers make of it."""
        try:
            record = turn_objects(record, self._frame)
            if self._augment is not None:
                record = self._augment(record, rng)
            record = place_objects(record, self._frame)
            return record, [p for read, prompt in self._parts for p in read(record, prompt, rng)]
        except FAULTS as error:
            bad_data.add('unusable_records', record['id'], f'{type(error).__name__}: {error}')
            return record, []

    def _rows(
        self, record: Record, pairs: list[Pair], rng: np.random.Generator
    ) -> list[dict[str, bytes]]:
        named = list(_with_answers(zip(_ids(record, pairs), pairs, strict=True)))
        if self._group and named:
            rows = [[named[i] for i in rng.permutation(len(named))]]
        else:
            rows = [[pair] for pair in named]
        return [self._encoded(row) for row in rows]

    def _encoded(self, row: list[tuple[str, Pair]]) -> dict[str, bytes]:
        # As bytes, rows of any length are one array, which TensorFlow slices fast.
        ids = encode_row(row, self._tokenizers, self._lengths)
        example_id, pair = row[0]
        columns = {name: np.array(ids[name], np.int32).tobytes() for name in TEXTS}
        return {**columns, 'meta': json.dumps(pair.to_meta(example_id)).encode('ascii')}


def tokenizers_of(features: Features) -> Tokenizers:
    """What encodes each text. Our vocabulary asks gin for its file at every use: this is one."""
    vocabularies = {name: features[name].vocabulary for name in TEXTS}
    return {
        name: each.tokenizer if isinstance(each, SentencePieceVocabulary) else each
        for name, each in vocabularies.items()
    }


def encode_row(
    named: Sequence[tuple[str, Pair]], tokenizers: Tokenizers, sequence_length: Lengths
) -> Ids:
    """The ids of as many pairs, each with its id, as fit in order.

    A pair that is too long by itself is named, and passed over where another fits. Where none does
    the first is cut, its answer then without EOS: a cut answer must not teach to stop.
    """
    row: Ids = {name: [] for name in TEXTS}
    overlong: list[Ids] = []
    for example_id, pair in named:
        added = encode(pair, tokenizers)
        if too_long := _too_long(added, sequence_length):
            overlong.append(added)
            for name in too_long:
                reason = f'there is room for {sequence_length[name]} tokens of {name}'
                bad_data.add('cut_texts', example_id, reason)
            continue
        longer = {name: row[name] + added[name] for name in TEXTS}
        if _too_long(longer, sequence_length):
            break
        row = longer
    if overlong and not any(row.values()):
        return {name: ids[: sequence_length.get(name)] for name, ids in overlong[0].items()}
    return row


def encode(pair: Pair, tokenizers: Tokenizers) -> Ids:
    """The ids of a pair's prompt and answer, each ended by EOS."""
    texts = zip(TEXTS, (pair.prompt, pair.answer), strict=True)
    return {name: _encode_text(text, tokenizers[name]) for name, text in texts}


def _too_long(ids: Ids, sequence_length: Lengths) -> list[str]:
    """The texts there is no room for."""
    rooms = {name: sequence_length.get(name) for name in TEXTS}
    return [name for name, room in rooms.items() if room is not None and len(ids[name]) > room]


def _encode_text(text: str, tokenizer: Tokenizer | seqio.Vocabulary) -> list[int]:
    # As bytes and back, for lone surrogates: every vocabulary gets what UTF-8 can hold.
    readable = text.encode('utf-8', 'replace').decode()
    return [*tokenizer.encode(readable), tokenizer.eos_id]


def _ids(record: Record, pairs: Sequence[Pair]) -> list[str]:
    if len(pairs) == 1:
        return [record['id']]
    return [f'{record["id"]}#{i}' for i in range(len(pairs))]


def _with_answers(named: Iterable[tuple[str, Pair]]) -> Iterator[tuple[str, Pair]]:
    for example_id, pair in named:
        if is_blank(pair.answer):
            bad_data.add('empty_answers', example_id, f'the answer is {pair.answer[:20]!r}')
        else:
            yield example_id, pair


def _images(record: Record, task: str) -> list[bytes]:
    # An image that is missing is told as one that cannot be decoded: the bytes carry the id.
    return [tag_image(data, record['id'], task) for data in record['images'] or [b'']]


def _example(row: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    ids = {name: tf.io.decode_raw(row[name], tf.int32) for name in TEXTS}
    return {'images': row['images'], **ids, 'meta': row['meta']}
