"""Trains the SentencePiece vocabulary of a project from its own texts.

Choices, and why:

* BPE, so that a frequent word is one piece however few the texts are, with byte fallback: no text
  is unknown; a script that the texts lack costs one id a UTF-8 byte.
* Control ids pad 0, eos 1, unk 2 and no bos. They match no text: a literal `</s>` is text.
* Location tokens are user-defined pieces right after them, ids 3, 4, ... in order of their bin,
  whatever the texts; then `extra_pieces`, 256 bytes, learned pieces.
* Every digit is a piece of its own, also where the texts have none: numbers are read digit by
  digit (as in OCR), never as learned lumps.
* No dummy prefix, as in Gemma's vocabulary: a digit or a box that begins an answer is its own first
  piece, with none for a space in front of it to be predicted each time.
* Nothing is normalised and spaces are kept, so `decode(encode(text)) == text` for every text that
  UTF-8 can hold, composed and decomposed accents apart, leading and multiple spaces included.
"""

import io
import os
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

from vlm.errors import UserError
from vlm.vocab import EOS_ID, LOCATION_PIECE, PAD_ID, UNK_ID, Tokenizer

CONTROL_PIECES = ('<pad>', '</s>', '<unk>')
DIGITS = '0123456789'
NUM_BYTES = 256
# Fewer than this leaves nothing to learn after the digits and a few letters.
MIN_LEARNED = 32
# Letters for this share of the text become pieces; the rarest are left to byte fallback.
CHARACTER_COVERAGE = 0.9995
# The trainer takes time quadratic in the length of one sentence (33 s for 240,000 characters).
MAX_SENTENCE = 1000

# SentencePiece writes spaces as U+2581, so a U+2581 in a text would come back as a space. The
# model's own normaliser therefore writes it as U+F0000 'a', U+F0000 (a private-use character) as
# U+F0000 'b', and its denormaliser reads them back: one pair of rules, kept in the model file, so
# every reader of the file agrees.
_SPACE_MARK = '\u2581'
_ENCODE_RULES = '2581\tF0000 61\nF0000\tF0000 62\n'
_DECODE_RULES = 'F0000 61\t2581\nF0000 62\tF0000\n'

# Stands for what is never part of a learned piece: whole pieces, line breaks, tabs, NUL, rare
# letters, and U+2585, for which the trainer would drop the whole sentence. Where it stands no
# space does, so words beside it are learned as encoding will meet them.
_BOUNDARY = '\t'
# The trainer leaves out the required letters where no two letters stand beside each other.
_ONE_PAIR = ' a'
_UNLEARNABLE = str.maketrans(dict.fromkeys(['\n', '\r', '\0', '\u2585', _SPACE_MARK], _BOUNDARY))


def train_vocabulary(
    texts: Iterable[str],
    path: str | os.PathLike[str],
    size: int = 1024,
    num_locations: int = 1024,
    extra_pieces: Sequence[str] = (),
) -> Tokenizer:
    """Trains a vocabulary on `texts`, writes it to `path` and returns it.

    Args:
      texts: prompts and answers, already escaped as the tasks escape them; location tokens in
        them are not learned from. All are held in memory. The same texts in the same order give
        the same file, byte for byte.
      path: the model file to write; missing folders are made, an older file is replaced.
      size: ids beside the location tokens: 3 control ids, 256 bytes, the extra pieces and the
        learned pieces. The whole vocabulary has at most `size + num_locations` ids, and fewer
        where the texts do not have enough to learn: read `.size` of the result.
      num_locations: location bins, 0..10,000; `vlm.boxes` needs 1,024.
      extra_pieces: strings that always become one id wherever they occur, in any text, e.g.
        '<seg000>'; no spaces.

    Raises:
      UserError: `size` is too small, an extra piece is not possible, the texts are empty, or the
        file cannot be written.
    """
    pieces = [LOCATION_PIECE.format(i) for i in range(num_locations)]
    _check_extra_pieces(extra_pieces, pieces)
    room = _room(size, num_locations, len(extra_pieces))
    sentences = _sentences(texts, extra_pieces)
    if not any(sentence.strip() for sentence in sentences):
        raise UserError('no text to train a vocabulary on: every text is empty.')
    model = _train(
        _without_rare_letters(sentences, room),
        vocab_size=size + num_locations,
        user_defined_symbols=[*pieces, *extra_pieces],
    )
    _write(Path(path), model)
    return Tokenizer(path)


def _room(size: int, num_locations: int, num_extra: int) -> int:
    """Returns how many pieces may be learned; raises `UserError` where that is too few."""
    if not 0 <= num_locations <= 10_000:
        raise UserError(f'num_locations is {num_locations}; four digits number 0 to 10,000 bins.')
    fixed = len(CONTROL_PIECES) + NUM_BYTES + num_extra
    if size < fixed + MIN_LEARNED:
        raise UserError(
            f'a vocabulary of size {size} is too small: {len(CONTROL_PIECES)} control ids, '
            f'{NUM_BYTES} bytes, {num_extra} extra pieces and at least {MIN_LEARNED} to learn '
            f'need size={fixed + MIN_LEARNED} or more (location tokens are not counted).'
        )
    return size - fixed


def _check_extra_pieces(extra_pieces: Sequence[str], locations: Sequence[str]) -> None:
    # SentencePiece accepts every one of these and then breaks: '</s>' would end an answer from
    # inside a text, a piece with a space never matches.
    taken = {*locations, *CONTROL_PIECES}
    for piece in extra_pieces:
        if not piece or ' ' in piece or _SPACE_MARK in piece or '\0' in piece:
            reason = 'is empty or holds a space'
        elif piece in taken or re.fullmatch('<0x[0-9A-Fa-f]{2}>', piece):
            reason = 'is already in the vocabulary'
        else:
            taken.add(piece)
            continue
        raise UserError(f'extra piece {piece!r} {reason}. Choose another one.')


def _sentences(texts: Iterable[str], extra_pieces: Sequence[str]) -> list[str]:
    """Cuts texts into sentences the trainer takes: no whole pieces in them, not too long."""
    whole = re.compile('|'.join(['<loc[0-9]{4}>', *map(re.escape, extra_pieces)]))
    sentences = []
    for text in texts:
        text = whole.sub(_BOUNDARY, text.encode('utf-8', 'replace').decode())
        text = text.translate(_UNLEARNABLE)
        sentences += [text[i : i + MAX_SENTENCE] for i in range(0, len(text), MAX_SENTENCE)]
    return sentences


def _without_rare_letters(sentences: Sequence[str], room: int) -> list[str]:
    """Leaves at most `room // 2` different characters, the most frequent ones.

    The trainer fails if the alphabet exceeds the vocabulary (thousands of letters in Chinese
    captions), and its own coverage option does not go below 0.98.
    """
    counts = Counter()
    for sentence in sentences:
        counts.update(sentence)
    del counts[_BOUNDARY]
    enough = CHARACTER_COVERAGE * counts.total()
    covered, rare = 0, {}
    for place, (letter, count) in enumerate(counts.most_common()):
        if place >= room // 2 or covered >= enough:
            rare[ord(letter)] = _BOUNDARY
        covered += count
    return [sentence.translate(rare) for sentence in sentences]


def _train(sentences: Sequence[str], **options) -> bytes:
    written = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        encode_rules, decode_rules = Path(folder, 'encode.tsv'), Path(folder, 'decode.tsv')
        encode_rules.write_text(_ENCODE_RULES)
        decode_rules.write_text(_DECODE_RULES)
        sentencepiece.SentencePieceTrainer.train(
            # The trainer learns a tab like a letter, but no piece across, or of, a control piece.
            sentence_iterator=(
                s.replace(_BOUNDARY, CONTROL_PIECES[EOS_ID]) for s in [*sentences, _ONE_PAIR]
            ),
            model_writer=written,
            model_type='bpe',
            hard_vocab_limit=False,
            max_sentence_length=8 * MAX_SENTENCE,
            byte_fallback=True,
            split_digits=True,
            # The space, too, where no text has one: in bytes it would come back as U+2581.
            required_chars=DIGITS + _SPACE_MARK,
            character_coverage=1.0,
            pad_id=PAD_ID,
            eos_id=EOS_ID,
            unk_id=UNK_ID,
            bos_id=-1,
            pad_piece=CONTROL_PIECES[PAD_ID],
            eos_piece=CONTROL_PIECES[EOS_ID],
            unk_piece=CONTROL_PIECES[UNK_ID],
            normalization_rule_tsv=str(encode_rules),
            denormalization_rule_tsv=str(decode_rules),
            remove_extra_whitespaces=False,
            add_dummy_prefix=False,
            # Sums over threads round differently for every number of threads.
            num_threads=1,
            minloglevel=2,
            **options,
        )
    return _without_paths(written.getvalue())


def _without_paths(model: bytes) -> bytes:
    """Removes the temporary rule files' names, which would differ from run to run."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(model)
    proto.normalizer_spec.ClearField('normalization_rule_tsv')
    proto.denormalizer_spec.ClearField('normalization_rule_tsv')
    return proto.SerializeToString(deterministic=True)


def _write(path: Path, model: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(model)
    except OSError as error:
        raise UserError(f'cannot write the vocabulary to {path}: {error.strerror}.') from error
