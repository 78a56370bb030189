import random
import time

import pytest

from vlm.errors import UserError
from vlm.vocab import Tokenizer
from vlm.vocab_training import MIN_LEARNED, train_vocabulary

WORDS = ['a', 'blue', 'red', 'triangle', 'circle', 'what', 'color', 'is', 'the', 'shape', 'yes']
FIXED = 3 + 256  # control ids and bytes


def made_texts(count: int = 500) -> list[str]:
    rng = random.Random(0)
    return [' '.join(rng.choices(WORDS, k=rng.randint(1, 8))) for _ in range(count)]


def chinese_texts(letters: int = 3000) -> list[str]:
    rng = random.Random(0)
    return [''.join(chr(0x4E00 + rng.randrange(letters)) for _ in range(20)) for _ in range(500)]


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory) -> Tokenizer:
    return train_vocabulary(made_texts(), tmp_path_factory.mktemp('vocab') / 'vocab.model')


def test_layout_of_the_ids(tokenizer):
    assert tokenizer.pieces(range(4)) == ['<pad>', '</s>', '<unk>', '<loc0000>']
    assert tokenizer.pieces([1026, 1027, 1282]) == ['<loc1023>', '<0x00>', '<0xFF>']
    assert FIXED + 1024 + MIN_LEARNED <= tokenizer.size <= 1024 + 1024


def test_no_space_is_put_in_front(tokenizer):
    assert tokenizer.pieces(tokenizer.encode('a triangle')) == ['a', '▁triangle']
    assert tokenizer.pieces(tokenizer.encode(' a triangle')) == ['▁a', '▁triangle']


def test_every_digit_is_a_piece_even_if_the_texts_have_none(tokenizer, tmp_path):
    digits = tokenizer.encode('0123456789')
    assert tokenizer.pieces(digits) == [*'0123456789']
    with_numbers = train_vocabulary(['room 1999'] * 99, tmp_path / 'v.model')
    assert with_numbers.pieces(with_numbers.encode('1999')) == ['1', '9', '9', '9']


def test_unknown_scripts_are_bytes(tokenizer):
    assert tokenizer.pieces(tokenizer.encode('ש')) == ['<0xD7>', '<0xA9>']
    assert tokenizer.pieces(tokenizer.encode('\n')) == ['<0x0A>']


def test_same_texts_give_the_same_file(tokenizer, tmp_path):
    again = train_vocabulary(iter(made_texts()), tmp_path / 'deep' / 'folder' / 'again.model')
    assert again.model_bytes == tokenizer.model_bytes


def test_file_is_small_and_holds_no_path_of_this_machine(tokenizer, tmp_path):
    assert len(tokenizer.model_bytes) < 50_000
    assert b'.tsv' not in tokenizer.model_bytes
    assert b'/tmp' not in tokenizer.model_bytes


def test_nothing_is_printed(tmp_path, capfd):
    train_vocabulary(made_texts(), tmp_path / 'v.model').encode('a')
    assert capfd.readouterr() == ('', '')


@pytest.mark.parametrize(
    'texts',
    [['a'], ['\n\t▅ a ▁'], ['a\0b'], ['12'], ['שלום'], ['</s> <pad> <0x41>'] * 99, ['<loc0001> a']],
)
def test_few_texts_shrink_the_vocabulary(tmp_path, texts):
    small = train_vocabulary(texts, tmp_path / 'v.model', size=4096)
    assert FIXED + 1024 + 10 <= small.size < FIXED + 1024 + MIN_LEARNED
    assert small.decode(small.encode('any Text 12')) == 'any Text 12'
    assert min(small.encode('</s><pad>')) > 2


def test_location_tokens_in_the_texts_are_not_learned_from(tokenizer, tmp_path):
    texts = [f'<loc{i % 7:04d}><loc0512> {text}' for i, text in enumerate(made_texts())]
    located = train_vocabulary(texts, tmp_path / 'v.model')
    learned = located.pieces(range(1283, located.size))
    assert not [piece for piece in learned if 'loc' in piece or '<' in piece]
    assert '▁triangle' in learned


def test_line_breaks_and_marks_are_not_learned(tmp_path):
    rng = random.Random(1)
    texts = [text.replace(' ', rng.choice(' \t\n▅\0▁')) for text in made_texts()]
    made = train_vocabulary(texts, tmp_path / 'v.model')
    learned = made.pieces(range(1283, made.size))
    assert {'▁triangle', 'triangle', '▁circle', 'circle'} <= set(learned)
    assert not [piece for piece in learned if set(piece) & set('\t\n▅\0</>')]


def test_size_counts_all_but_the_location_tokens(tmp_path):
    texts = made_texts() + [str(i) + chr(97 + i % 26) * (i % 5) for i in range(500)]
    for locations in (0, 1024):
        made = train_vocabulary(texts, tmp_path / 'v.model', size=320, num_locations=locations)
        assert made.size == 320 + locations


def test_large_alphabets_fall_back_to_bytes_instead_of_failing(tmp_path):
    made = train_vocabulary(chinese_texts(), tmp_path / 'v.model', size=600)
    assert made.size <= 600 + 1024
    assert made.decode(made.encode('一二三 red')) == '一二三 red'


def test_extra_pieces_follow_the_locations(tmp_path):
    extra = [*(f'<seg{i:03d}>' for i in range(4)), 'a,b', '\n', '"']
    made = train_vocabulary(made_texts(), tmp_path / 'v.model', extra_pieces=extra)
    assert made.pieces(range(1027, 1027 + len(extra))) == extra
    text = 'x<seg003>\na,b "red"'
    assert made.decode(made.encode(text)) == text
    assert made.encode(text).count(1027 + 3) == 1


@pytest.mark.parametrize('piece', ['', ' x', '▁x', 'a b', '</s>', '<pad>', '<loc0007>', '<0x41>'])
def test_impossible_extra_pieces_are_told(tmp_path, piece):
    with pytest.raises(UserError, match='extra piece'):
        train_vocabulary(['a'], tmp_path / 'v.model', extra_pieces=[piece])
    with pytest.raises(UserError, match='already'):
        train_vocabulary(['a'], tmp_path / 'v.model', extra_pieces=['x', 'x'])


def test_user_errors(tmp_path):
    with pytest.raises(UserError, match='need size=291 or more'):
        train_vocabulary(['a'], tmp_path / 'v.model', size=290)
    with pytest.raises(UserError, match='num_locations is 10001'):
        train_vocabulary(['a'], tmp_path / 'v.model', num_locations=10_001)
    for texts in ([], ['', ' \n'], ['<loc0001>']):
        with pytest.raises(UserError, match='no text'):
            train_vocabulary(texts, tmp_path / 'v.model')
    with pytest.raises(UserError, match='cannot write'):
        train_vocabulary(['a'], tmp_path)
    assert not list(tmp_path.iterdir())


def test_smallest_size(tmp_path):
    made = train_vocabulary(made_texts(), tmp_path / 'v.model', size=FIXED + MIN_LEARNED)
    assert made.size <= FIXED + MIN_LEARNED + 1024


def test_a_very_long_text_trains_in_bounded_time(tmp_path):
    start = time.perf_counter()
    train_vocabulary(['lorem ipsum ' * 20_000, 'abc' * 30_000], tmp_path / 'v.model')
    # 0.2 s on two cores; 40 s if the trainer gets the text as one sentence.
    assert time.perf_counter() - start < 10
