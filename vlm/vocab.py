"""Text to ids and back without TensorFlow, and the escape that keeps user text plain text.

Ids are those of a SentencePiece model file trained by `vlm.vocab_training` (or `vlm vocab`):
pad 0, end of answer 1, unknown 2 (3 in Gemma's), then the location tokens `<loc0000>`, `<loc0001>`,
... in one run. The SeqIO side (`vlm.data.vocabularies`) gives the same ids from the same file.
"""

import functools
import operator
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import SupportsIndex

import sentencepiece

from vlm.errors import UserError, nearest

PAD_ID = 0
EOS_ID = 1
UNK_ID = 2
# Padding, end and unknown: T5's and ours; Gemma's, which has <bos> at 2.
NUMBERINGS = ((PAD_ID, EOS_ID, UNK_ID), (PAD_ID, EOS_ID, 3))

# Piece of location bin i, as in PaliGemma (2407.07726, section 3): four digits, zero padded.
LOCATION_PIECE = '<loc{:04d}>'

# Regular expressions that Python's `re` and TensorFlow's RE2 read alike: a literal token of ours
# (location or PaliGemma segmentation) that carries any number of, or at least one, backslash.
TOKEN_PATTERN = r'<(\\*(?:loc[0-9]{4}|seg[0-9]{3})>)'
TOKEN_REWRITE = r'<\\\1'
ESCAPED_PATTERN = r'<\\(\\*(?:loc[0-9]{4}|seg[0-9]{3})>)'
ESCAPED_REWRITE = r'<\1'


def escape(text: str) -> str:
    r"""Makes `text` free of location tokens: `<loc0001>` becomes `<\loc0001>`.

    A caption may quote a token; without this it would be trained on, and read back, as a box.
    Text that already looks escaped gets one more backslash, so nothing is lost and
    `unescape(escape(text)) == text` for every text. Other backslashes stay as they are.
    """
    if '<' not in text:  # nearly always, and found in a fortieth of the time
        return text
    return re.sub(TOKEN_PATTERN, TOKEN_REWRITE, text)


def unescape(text: str) -> str:
    """Undoes `escape`; real location tokens (no backslash) stay, so model output may be passed."""
    return re.sub(ESCAPED_PATTERN, ESCAPED_REWRITE, text)


class Tokenizer:
    """A SentencePiece model file: ids of a text, text of ids.

    Nothing is read before the first use. Every method and property but `path`, `pad_id` and
    `eos_id` raises `UserError` if the file is missing, is no SentencePiece model, or numbers
    padding and end of answer otherwise than this package does.
    """

    pad_id = PAD_ID
    eos_id = EOS_ID

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)

    def __repr__(self) -> str:
        return f'Tokenizer({str(self.path)!r})'

    @functools.cached_property
    def model_bytes(self) -> bytes:
        """The model file's content, for the TensorFlow op and for a copy in the run directory."""
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UserError(_unreadable(self.path, error)) from error

    @functools.cached_property
    def _processor(self) -> sentencepiece.SentencePieceProcessor:
        return _load(self.path, self.model_bytes)

    @property
    def unk_id(self) -> int:
        """The id of what the vocabulary cannot write: 2, in Gemma's 3."""
        return self._processor.unk_id()

    def id_of(self, piece: str) -> int:
        """The id of a piece, control pieces too; `UserError` if there is none."""
        found = self._processor.piece_to_id(piece)
        if found == self.unk_id and piece != self._processor.id_to_piece(found):
            raise UserError(f'the vocabulary {self.path} has no piece {piece!r}.')
        return found

    @property
    def size(self) -> int:
        """Number of ids; an embedding table needs at least this many rows."""
        return self._processor.get_piece_size()

    @functools.cached_property
    def location_ids(self) -> range:
        """Ids of `<loc0000>`, `<loc0001>`, ...: bin i is `location_ids[i]`.

        Raises `UserError` where the vocabulary has none, or has them out of order.
        """
        ids = _location_ids(self._processor)
        if not ids:
            raise UserError(
                f'the vocabulary {self.path} has no location tokens ({LOCATION_PIECE.format(0)}, '
                '...): boxes cannot be written with it. Train one with `vlm vocab`.'
            )
        if ids != list(range(ids[0], ids[0] + len(ids))):
            raise UserError(f'the vocabulary {self.path} has location tokens with scattered ids.')
        return range(ids[0], ids[0] + len(ids))

    def encode(self, text: str) -> list[int]:
        """Returns the ids of `text`, without EOS.

        A location token in `text` becomes one id: `escape` what a user wrote. Lone surrogates,
        which UTF-8 cannot hold (they come from broken JSON or file names), are read as '?'.
        """
        return self._processor.encode(text.encode('utf-8', 'replace'))

    def decode(self, ids: Iterable[SupportsIndex]) -> str:
        r"""Returns the text of `ids` up to the first EOS, without padding.

        Exact inverse of `encode`. Takes Python, numpy and JAX integers. Ids outside the vocabulary
        (an embedding table may be padded) read as unknown, ' ⁇ '; bytes that are no UTF-8 read as
        '\ufffd'. Never raises on content.
        """
        return self._processor.decode(self._answer(ids))

    def pieces(self, ids: Iterable[SupportsIndex]) -> list[str]:
        """Returns the piece of every id, control tokens too ('▁' stands for a space)."""
        return [self._processor.id_to_piece(i) for i in self._known(ids)]

    def _answer(self, ids: Iterable[SupportsIndex]) -> list[int]:
        known = self._known(ids)
        end = known.index(EOS_ID) if EOS_ID in known else len(known)
        return [i for i in known[:end] if i != PAD_ID]

    def _known(self, ids: Iterable[SupportsIndex]) -> list[int]:
        size = self.size
        return [i if 0 <= i < size else self.unk_id for i in map(operator.index, ids)]


def _load(path: Path, content: bytes) -> sentencepiece.SentencePieceProcessor:
    # The C++ reader takes an empty file for an empty model, so that case is ours to catch.
    if not content:
        raise UserError(f'{path} is empty, not a SentencePiece model.')
    try:
        processor = sentencepiece.SentencePieceProcessor(model_proto=content)
    except RuntimeError as error:
        raise UserError(
            f'{path} ({len(content)} bytes) is not a SentencePiece model, or was cut short.'
        ) from error
    found = processor.pad_id(), processor.eos_id(), processor.unk_id()
    if found not in NUMBERINGS:
        raise UserError(
            f'{path} has pad, eos, unk = {found}; this package needs {NUMBERINGS[0]}, or '
            f"{NUMBERINGS[1]} as Gemma's. `vlm vocab` trains such a vocabulary."
        )
    return processor


def _unreadable(path: Path, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f'cannot read the vocabulary {path}: {error.strerror}.'
    siblings = nearest(path.name, [p.name for p in path.parent.glob('*.model')])
    hint = f'Nearest there: {", ".join(siblings)}.' if siblings else '`vlm vocab` trains one.'
    return f'no vocabulary at {path}: no such file. {hint}'


def _location_ids(processor: sentencepiece.SentencePieceProcessor) -> list[int]:
    """Ids of the location pieces in order of their bin, up to the first that is absent."""
    ids = []
    while (piece := processor.piece_to_id(LOCATION_PIECE.format(len(ids)))) != processor.unk_id():
        ids.append(piece)
    return ids
