import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import sentencepiece
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vlm.errors import UserError
from vlm.vocab import EOS_ID, PAD_ID, UNK_ID, Tokenizer, escape, unescape
from vlm.vocab_training import train_vocabulary

HOSTILE = Path(__file__).parents[2] / 'shared' / 'data' / 'hostile'
TEXTS = ['a blue triangle', 'a red circle', 'what color is the shape?', 'answer en how many? 42']

# What goes wrong in tokenizers: tokens, escapes of tokens, halves of tokens, spaces, marks.
FRAGMENTS = ['<loc0001>', '<loc1023>', '<loc9999>', '<seg007>', '<', '\\', 'loc0001>', '<loc', '>']
FRAGMENTS += ['</s>', '<pad>', '<unk>', '<0x41>', ' ', '  ', '\n', '\t', '▁', '\U000f0000', 'a']
tricky_text = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=4), max_size=12).map(''.join)


@pytest.fixture(scope='module')
def tokenizer(tmp_path_factory) -> Tokenizer:
    return train_vocabulary(TEXTS * 5, tmp_path_factory.mktemp('vocab') / 'vocab.model')


def hostile_targets(name: str) -> list[str]:
    path = HOSTILE / name
    if not path.exists():
        pytest.skip(f'the hostile files are not part of the product and {path} is absent')
    return [json.loads(line)['target'] for line in path.read_text('utf-8').splitlines()]


def test_ids_by_hand(tokenizer):
    assert (tokenizer.pad_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, 2)
    assert tokenizer.pieces(range(5)) == ['<pad>', '</s>', '<unk>', '<loc0000>', '<loc0001>']
    ids = tokenizer.encode('<loc0000><loc1023> 7')
    assert ids[:2] == [3, 1026]
    assert tokenizer.pieces(ids) == ['<loc0000>', '<loc1023>', '▁', '7']


def test_location_ids_are_one_run(tokenizer):
    assert tokenizer.location_ids == range(3, 3 + 1024)
    assert tokenizer.pieces(tokenizer.location_ids) == [f'<loc{i:04d}>' for i in range(1024)]


def test_no_location_tokens_is_an_error_that_names_the_file(tmp_path):
    bare = train_vocabulary(TEXTS, tmp_path / 'bare.model', num_locations=0)
    with pytest.raises(UserError, match='bare.model has no location tokens'):
        _ = bare.location_ids


def test_decode_stops_at_eos_and_skips_padding(tokenizer):
    ids = tokenizer.encode('a red circle')
    assert tokenizer.decode([*ids, EOS_ID, *tokenizer.encode('blue')]) == 'a red circle'
    assert tokenizer.decode([PAD_ID, *ids[:1], PAD_ID, *ids[1:], PAD_ID]) == 'a red circle'
    assert tokenizer.decode(np.array([*ids, EOS_ID, PAD_ID], np.int32)) == 'a red circle'
    assert tokenizer.decode([]) == tokenizer.decode([EOS_ID]) == ''


@settings(deadline=None)  # the first call loads the model
@given(st.lists(st.integers(-5, 3000), max_size=20))
def test_decode_never_raises(tokenizer, ids):
    assert isinstance(tokenizer.decode(ids), str)
    assert len(tokenizer.pieces(ids)) == len(ids)


def test_ids_outside_the_vocabulary_are_unknown(tokenizer):
    assert tokenizer.pieces([tokenizer.size, -1]) == ['<unk>', '<unk>']
    assert tokenizer.decode([tokenizer.size]) == tokenizer.decode([UNK_ID])


@settings(deadline=None)  # the first call loads the model
@given(st.text() | tricky_text)
@example('  leading, trailing  ')
@example('▁▁ \U000f0000a\U000f0000b')
@example('e\u0301 é \r\n\0')
def test_decode_is_the_exact_inverse_of_encode(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    # Control symbols match no text, and byte fallback leaves nothing unknown.
    assert not {PAD_ID, EOS_ID, UNK_ID} & set(ids)


def test_literal_control_symbols_stay_text(tokenizer):
    for text in ('</s>', '<pad>', '<unk>', 'a </s> b', '<s>', '<0x41>'):
        ids = tokenizer.encode(text)
        assert min(ids) > UNK_ID
        assert tokenizer.decode(ids) == text


def test_lone_surrogates_are_replaced(tokenizer):
    assert tokenizer.decode(tokenizer.encode('a\ud800b')) == 'a?b'


def test_escape_by_hand():
    assert escape('the sign says <loc0001>.') == 'the sign says <\\loc0001>.'
    assert escape('<\\loc0001>') == '<\\\\loc0001>'
    assert escape('<<seg012>') == '<<\\seg012>'
    assert escape(r'a\b <loc1> <b> <loc00011>') == r'a\b <loc1> <b> <loc00011>'
    assert unescape('<loc0001> <\\loc0002>') == '<loc0001> <loc0002>'


@given(st.text() | tricky_text)
def test_escape_round_trip(text):
    assert unescape(escape(text)) == text


@given(tricky_text, tricky_text)
def test_escape_is_one_to_one(left, right):
    assert (escape(left) == escape(right)) == (left == right)


@settings(deadline=None)  # the first call loads the model
@given(tricky_text)
def test_escaped_text_has_no_location_token(tokenizer, text):
    ids = tokenizer.encode(escape(text))
    assert not any(i in tokenizer.location_ids for i in ids)
    assert unescape(tokenizer.decode(ids)) == text


@pytest.mark.parametrize('name', ['unicode.jsonl', 'special_tokens.jsonl', 'caption_100k.jsonl'])
def test_hostile_texts_come_back(tokenizer, name):
    for text in hostile_targets(name):
        assert tokenizer.decode(tokenizer.encode(text)) == text
        ids = tokenizer.encode(escape(text))
        assert not set(ids) & {PAD_ID, EOS_ID, UNK_ID, *tokenizer.location_ids}
        assert unescape(tokenizer.decode(ids)) == text


@pytest.mark.parametrize('unit', ['lorem ipsum ', 'a', '<loc', '<\\\\', '▁', ' '])
def test_encoding_takes_linear_time(tokenizer, unit):
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        start = time.perf_counter()
        tokenizer.decode(tokenizer.encode(escape(text)))
        return time.perf_counter() - start

    # Sixteen times the text: quadratic would be 256 times the time. The second's grace keeps a
    # busy machine from failing the test.
    short, long = min(seconds(25_000) for _ in range(3)), seconds(400_000)
    assert long < 64 * short + 1


def test_missing_file_names_its_nearest_sibling(tmp_path):
    (tmp_path / 'vocab.model').write_bytes(b'')
    with pytest.raises(
        UserError, match=r'no vocabulary at .*vocaab\.model.*Nearest.*: vocab\.model'
    ):
        Tokenizer(tmp_path / 'vocaab.model').encode('a')
    with pytest.raises(UserError, match='cannot read'):
        _ = Tokenizer(tmp_path).size


def test_nothing_is_read_before_use():
    assert 'nowhere' in repr(Tokenizer('nowhere.model'))


@pytest.mark.parametrize('length', [0, 100, 20_000, -1])
def test_broken_files_are_told(tokenizer, tmp_path, length):
    content = b'garbage' * 50 if length < 0 else tokenizer.model_bytes[:length]
    (tmp_path / 'broken.model').write_bytes(content)
    with pytest.raises(UserError, match='broken.model'):
        Tokenizer(tmp_path / 'broken.model').encode('a')


def test_a_vocabulary_with_other_control_ids_is_refused(tmp_path):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_prefix=str(tmp_path / 'other'),
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(UserError, match=r'pad, eos, unk = \(-1, 2, 0\)'):
        Tokenizer(tmp_path / 'other.model').encode('a')


def test_imports_without_tensorflow(tokenizer):
    code = (
        'import sys\n'
        "for name in ('tensorflow', 'tensorflow_text', 'seqio', 'gin'): sys.modules[name] = None\n"
        'from vlm.vocab import Tokenizer\n'
        'import vlm.vocab_training\n'
        'print(Tokenizer(sys.argv[1]).encode("a red circle"))\n'
    )
    done = subprocess.run(
        [sys.executable, '-c', code, str(tokenizer.path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(tokenizer.encode('a red circle'))
    assert done.stderr == ''
