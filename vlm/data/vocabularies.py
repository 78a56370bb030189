"""The vocabularies of tasks on SeqIO's side: same file and same ids as `vlm.vocab.Tokenizer`.

Tasks are registered when their module is imported, before gin files are read. They register with
`task_vocabulary()`, which asks `vocabulary_path()` for its model file every time it is used:

    vlm.data.vocabularies.vocabulary_path.path = 'my_vocab.model'
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import SupportsIndex

import gin
import numpy as np
import seqio
import tensorflow as tf
import tensorflow_text as tf_text

from vlm.data.python_calls import numpy_function
from vlm.vocab import (
    EOS_ID,
    PAD_ID,
    TOKEN_PATTERN,
    TOKEN_REWRITE,
    Tokenizer,
)

# For tests and for the first look at a new data set: ids are UTF-8 bytes plus 3, no location
# tokens.
ByteVocabulary = seqio.ByteVocabulary

# What T5, Gemma and `vlm export` call their model file.
CHECKPOINT_MODELS = ('spiece.model', 'tokenizer.model', 'vocab.model')


class SentencePieceVocabulary(seqio.Vocabulary):
    """A model file as SeqIO wants it: ids from TensorFlow and from Python are the same.

    Nothing is read before the first use; a missing or broken file raises `vlm.errors.UserError`.
    Without a path it is the vocabulary that `vocabulary_path()` names at the time of each use.

    Two of them are equal if they read the same path or hold the same model: this is what lets
    SeqIO mix a task that names a file with one that leaves it to gin.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None):
        super().__init__()
        self._path = None if path is None else str(path)
        self._tokenizer: Tokenizer | None = None

    @property
    def path(self) -> str:
        """The model file, as of now."""
        if self._path is not None:
            return self._path
        return _path_now or vocabulary_path()

    @property
    def tokenizer(self) -> Tokenizer:
        """The light tokenizer of the same file."""
        if self._tokenizer is None or self._tokenizer.path != Path(self.path):
            self._tokenizer = Tokenizer(self.path)
        return self._tokenizer

    @property
    def bos_id(self) -> None:
        return None

    @property
    def eos_id(self) -> int:
        return EOS_ID

    @property
    def pad_id(self) -> int:
        return PAD_ID

    @property
    def unk_id(self) -> int:
        return self.tokenizer.unk_id

    @property
    def _base_vocab_size(self) -> int:
        return self.tokenizer.size

    def _encode(self, s: str) -> list[int]:
        return self.tokenizer.encode(s)

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        """The text up to the first EOS, an id that is none read as unknown, as SeqIO has it.

        SeqIO's own way there asks for the tokenizer, and so gin for its file, three times a text.
        """
        return self._decode(ids.numpy() if isinstance(ids, tf.Tensor) else ids)

    def _decode(self, ids) -> str:
        return self.tokenizer.decode(ids)

    def _encode_tf(self, s: tf.Tensor) -> tf.Tensor | tf.RaggedTensor:
        """string[...] -> int32[..., T] (ragged for a batch)."""
        return tf_text.SentencepieceTokenizer(model=self.tokenizer.model_bytes).tokenize(s)

    def _decode_tf(self, ids: tf.Tensor) -> tf.Tensor:
        """int32[..., T] -> string[...]."""
        # Not by TensorFlow's own op: it strips every leading space of the text, not only the one
        # that encoding put there.
        text = numpy_function(self._decode_rows, [ids], tf.string)
        return tf.ensure_shape(text, ids.shape[:-1])

    def _decode_rows(self, ids: np.ndarray) -> np.ndarray:
        rows = ids.reshape(-1, ids.shape[-1])
        texts = [self.tokenizer.decode(row).encode() for row in rows]
        return np.array(texts, dtype=object).reshape(ids.shape[:-1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SentencePieceVocabulary):
            return NotImplemented
        # The first comparison reads no gin binding and no file: mixtures compare at import.
        if self._path == other._path or self.path == other.path:
            return True
        return self.tokenizer.model_bytes == other.tokenizer.model_bytes

    # Which model it is may change with gin, so it has no lasting hash.
    __hash__ = None

    def __repr__(self) -> str:
        return f'SentencePieceVocabulary({self.path!r})'

    def __copy__(self) -> 'SentencePieceVocabulary':
        return self

    def __deepcopy__(self, memo: dict) -> 'SentencePieceVocabulary':
        # gin copies its arguments deeply: the copy must stay as lazy as the original.
        return self

    def __reduce__(self):
        # A worker process has not read our gin files: the path that holds here goes along.
        return SentencePieceVocabulary, (self.path,)


@gin.configurable(module='vlm.data.vocabularies')
def vocabulary_path(path: str | None = None, beside: Sequence[str | None] = ()) -> str:
    """Returns the model file that tasks use: the one bound in gin, or the demo's.

    Between the two comes that of a pretrained model, found in one of the folders `beside`.
    """
    if path is not None:
        return path
    found = (model_beside(folder) for folder in beside if folder)
    return next((str(each) for each in found if each is not None), demo_vocabulary_path())


# Within `one_vocabulary_path`: what `vocabulary_path` said at its beginning.
_path_now: str | None = None


@contextlib.contextmanager
def one_vocabulary_path() -> Iterator[None]:
    """Within it `vocabulary_path` is asked once: gin takes longer over it than decoding a text.

    For where many texts are decoded one by one and no gin file is read meanwhile.
    """
    global _path_now
    before, _path_now = _path_now, vocabulary_path()
    try:
        yield
    finally:
        _path_now = before


def model_beside(folder: str) -> Path | None:
    """The SentencePiece model in the folder of a checkpoint, None if there is none."""
    paths = (Path(folder).expanduser() / name for name in CHECKPOINT_MODELS)
    return next((path for path in paths if path.is_file()), None)


def task_vocabulary() -> SentencePieceVocabulary:
    """Returns what tasks register with: the model of `vocabulary_path()`, asked at each use."""
    return SentencePieceVocabulary()


def demo_vocabulary_path() -> str:
    """Returns the small model that ships with the package, trained on the demo's texts."""
    return str(Path(__file__).with_name('demo_vocab.model'))


def demo_vocabulary() -> SentencePieceVocabulary:
    """Returns the demo's vocabulary, whatever gin says."""
    return SentencePieceVocabulary(demo_vocabulary_path())


def answer_ids(texts: Sequence[str] = (), locations: bool = True) -> tuple[int, ...]:
    """Ids of the run's vocabulary that write `texts` and, if asked, all locations.

    For `vlm.decoding.DecodingConfig.allowed_ids`. Give the texts as they stand in answers: the
    pieces of 'cat' and of ' ; cat' may differ.
    """
    tokenizer = task_vocabulary().tokenizer
    ids = {i for text in texts for i in tokenizer.encode(text)}
    return tuple(sorted(ids.union(tokenizer.location_ids if locations else ())))


def escape_tf(text: tf.Tensor) -> tf.Tensor:
    """`vlm.vocab.escape` on a string tensor of any shape, inside tf.data."""
    return tf.strings.regex_replace(text, TOKEN_PATTERN, TOKEN_REWRITE)


@gin.configurable(module='vlm.data.vocabularies')
def embedding_rows(multiple: int = 128, at_least: int = 0) -> int:
    """Rows of an embedding table for the run's vocabulary: its size, rounded up to `multiple`.

    Accelerators compute with rows of 128; the rows beyond the vocabulary are never asked for. A
    published model has `at_least` so many.
    """
    size = task_vocabulary().vocab_size
    return max(-(-size // multiple) * multiple, at_least)
