import copy
import json
import pickle
import random
from pathlib import Path

import gin
import numpy as np
import pytest
import seqio
import tensorflow as tf

from vlm.data import vocabularies
from vlm.data.vocabularies import SentencePieceVocabulary, task_vocabulary
from vlm.errors import UserError
from vlm.vocab import Tokenizer, escape
from vlm.vocab_training import train_vocabulary

HOSTILE = Path(__file__).parents[3] / 'shared' / 'data' / 'hostile'

PARTS = [
    *('a blue triangle', 'red', 'what color is the shape?', 'Größe', 'naïve', 'e\u0301'),
    *('<loc0000>', '<loc0511>', '<loc1023>', '<loc1024>', '<\\loc0001>', '</s>', '<pad>', '<0x41>'),
    *('👩‍👩‍👧', '🇫🇷', '👍🏽', 'שלום', 'مرحبا', '\u202eabc\u202c', 'สวัสดีครับ', '漢字', 'कि'),
    *('0', '42', '1999', '3.14', '٣', '!?', '...', '"', "'", ';', '@#%', '▁', '▅', '⁇', '\ufffd'),
    *(' ', '  ', '    ', '\n', '\t', '\r\n', '\u00a0', '\u3000', '\u200b', '\ufeff', '\0', '\x7f'),
]


def strings(count: int = 1000, seed: int = 0) -> list[str]:
    """Strings of one to eight parts, half of them with spaces between."""
    rng = random.Random(seed)
    return [
        rng.choice(['', ' ']).join(rng.choices(PARTS, k=rng.randint(1, 8))) for _ in range(count)
    ]


@pytest.fixture(scope='module')
def model_path(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp('vocab') / 'vocab.model'
    train_vocabulary(PARTS + strings(200, seed=1), path)
    return str(path)


@pytest.fixture
def clean_gin():
    yield
    gin.clear_config()


@pytest.fixture
def other_path(tmp_path) -> str:
    return str(train_vocabulary(['some other text'], tmp_path / 'other.model').path)


def test_ids_of_the_tensorflow_op_equal_those_of_the_wrapper(model_path):
    vocabulary, tokenizer = SentencePieceVocabulary(model_path), Tokenizer(model_path)
    texts = strings()
    batch = vocabulary.encode_tf(tf.constant(texts)).to_list()
    for text, ids in zip(texts, batch, strict=True):
        assert ids == tokenizer.encode(text) == vocabulary.encode(text), repr(text)
        assert tokenizer.decode(ids) == vocabulary.decode(ids) == text


def test_every_character_has_the_same_ids(model_path):
    # One of 101 code points (surrogates apart), so that the test stays at a second.
    texts = [f'x{chr(c)} y' for c in range(0, 0x110000, 101) if not 0xD800 <= c < 0xE000]
    vocabulary, tokenizer = SentencePieceVocabulary(model_path), Tokenizer(model_path)
    batch = vocabulary.encode_tf(tf.constant(texts)).to_list()
    assert batch == [tokenizer.encode(text) for text in texts]
    assert [tokenizer.decode(ids) for ids in batch] == texts


@pytest.mark.parametrize('name', ['unicode.jsonl', 'special_tokens.jsonl', 'caption_100k.jsonl'])
def test_hostile_texts_have_the_same_ids(model_path, name):
    path = HOSTILE / name
    if not path.exists():
        pytest.skip(f'the hostile files are not part of the product and {path} is absent')
    vocabulary, tokenizer = SentencePieceVocabulary(model_path), Tokenizer(model_path)
    for line in path.read_text('utf-8').splitlines():
        text = json.loads(line)['target']
        assert vocabulary.encode_tf(tf.constant(text)).numpy().tolist() == tokenizer.encode(text)
        escaped = vocabularies.escape_tf(tf.constant(text))
        assert vocabulary.encode_tf(escaped).numpy().tolist() == tokenizer.encode(escape(text))


def test_decode_tf_is_exact_with_leading_spaces(model_path):
    vocabulary = SentencePieceVocabulary(model_path)
    texts = ['  two before', ' ', 'red\n', '<loc0001> <loc0002>', '▁', '']
    ids = vocabulary.encode_tf(tf.constant(texts)).to_tensor()
    padded = tf.concat([ids, tf.ones((len(texts), 1), tf.int32), ids], axis=1)
    decoded = vocabulary.decode_tf(padded).numpy().tolist()
    assert [text.decode() for text in decoded] == texts
    row = vocabulary.decode_tf(ids[0])
    assert (row.shape, row.numpy()) == ((), b'  two before')
    assert vocabulary.decode_tf(tf.zeros([0], tf.int32)).numpy() == b''
    inside = tf.data.Dataset.from_tensor_slices(padded).map(vocabulary.decode_tf)
    assert list(inside.as_numpy_iterator()) == decoded


def test_sizes_and_special_ids(model_path):
    vocabulary, tokenizer = SentencePieceVocabulary(model_path), Tokenizer(model_path)
    assert vocabulary.vocab_size == tokenizer.size
    assert (vocabulary.pad_id, vocabulary.eos_id, vocabulary.unk_id) == (0, 1, 2)
    assert vocabulary.bos_id is None
    assert vocabulary.extra_ids == 0
    ids = tokenizer.encode('red')
    for given in ([*ids, 1, *ids], tf.constant(ids), [np.int32(i) for i in ids]):
        assert vocabulary.decode(given) == 'red'
    assert vocabulary.decode([tokenizer.size + 5]) == tokenizer.decode([2])


def test_escape_tf_equals_escape():
    texts = strings(seed=2) + ['<\\\\loc0001>', '<<loc0001>>', '<seg001>', '\\', '<\\']
    escaped = vocabularies.escape_tf(tf.constant(texts)).numpy().tolist()
    assert [text.decode() for text in escaped] == [escape(text) for text in texts]


def test_nothing_is_read_before_use():
    missing = SentencePieceVocabulary('nowhere.model')
    feature = seqio.Feature(vocabulary=missing, add_eos=True)
    assert feature.vocabulary.eos_id == 1
    with pytest.raises(UserError, match='no vocabulary at nowhere.model'):
        _ = missing.vocab_size


def test_task_vocabulary_follows_gin_at_each_use(model_path, other_path, clean_gin):
    vocabulary = task_vocabulary()
    assert vocabulary.path == vocabularies.demo_vocabulary_path()
    gin.parse_config(f"vlm.data.vocabularies.vocabulary_path.path = '{model_path}'")
    assert vocabulary.encode('red') == Tokenizer(model_path).encode('red')
    assert model_path in repr(vocabulary)
    gin.parse_config(f"vocabulary_path.path = '{other_path}'")
    assert vocabulary.vocab_size == Tokenizer(other_path).size


def test_where_many_texts_are_decoded_gin_is_asked_once(model_path, other_path, clean_gin):
    vocabulary = task_vocabulary()
    gin.parse_config(f"vocabulary_path.path = '{model_path}'")
    with pytest.raises(RuntimeError), vocabularies.one_vocabulary_path():
        gin.parse_config(f"vocabulary_path.path = '{other_path}'")
        assert vocabulary.path == model_path
        assert SentencePieceVocabulary(other_path).path == other_path
        raise RuntimeError
    assert vocabulary.path == other_path


def test_equality(model_path, other_path, tmp_path, clean_gin):
    named, twin = SentencePieceVocabulary(model_path), SentencePieceVocabulary(Path(model_path))
    copied = tmp_path / 'copied.model'
    copied.write_bytes(Path(model_path).read_bytes())
    assert named == twin
    assert named == SentencePieceVocabulary(copied)
    assert named != SentencePieceVocabulary(other_path)
    assert named != vocabularies.ByteVocabulary()
    gin.parse_config(f"vocabulary_path.path = '{model_path}'")
    assert task_vocabulary() == named
    gin.parse_config(f"vocabulary_path.path = '{other_path}'")
    assert task_vocabulary() != named


def test_lazy_vocabularies_are_equal_without_their_file(clean_gin):
    gin.parse_config("vocabulary_path.path = 'nowhere.model'")
    assert task_vocabulary() == task_vocabulary()


def test_copies_stay_lazy_and_pickles_carry_the_path(model_path, other_path, clean_gin):
    vocabulary = task_vocabulary()
    copies = [copy.copy(vocabulary), copy.deepcopy(vocabulary)]
    gin.parse_config(f"vocabulary_path.path = '{model_path}'")
    assert [c.path for c in copies] == [model_path] * 2
    sent = pickle.loads(pickle.dumps(vocabulary))
    gin.parse_config(f"vocabulary_path.path = '{other_path}'")
    assert sent.path == model_path


def test_tasks_of_a_mixture_share_the_lazy_vocabulary(model_path, clean_gin):
    def source(split, shuffle_files=False, seed=None):
        texts = {'inputs': ['what?', 'where?'], 'targets': ['a red circle', '<loc0001><loc0002>']}
        return tf.data.Dataset.from_tensor_slices(texts)

    names = ['test_vocabularies_one', 'test_vocabularies_two']
    for name in names:
        seqio.TaskRegistry.add(
            name,
            source=seqio.FunctionDataSource(source, splits=('train',)),
            preprocessors=[seqio.preprocessors.tokenize_and_append_eos],
            output_features={
                key: seqio.Feature(vocabulary=task_vocabulary()) for key in ('inputs', 'targets')
            },
        )
    seqio.MixtureRegistry.add('test_vocabularies_mixture', names, default_rate=1.0)
    gin.parse_config(f"vocabulary_path.path = '{model_path}'")
    tokenizer = Tokenizer(model_path)
    task = seqio.get_mixture_or_task(names[0])
    dataset = task.get_dataset({'inputs': 16, 'targets': 16}, 'train', shuffle=False)
    targets = [example['targets'].tolist() for example in dataset.as_numpy_iterator()]
    assert targets == [
        [*tokenizer.encode('a red circle'), 1],
        [*tokenizer.encode('<loc0001><loc0002>'), 1],
    ]
    assert targets[1][:2] == [tokenizer.location_ids[1], tokenizer.location_ids[2]]


def test_byte_vocabulary():
    assert vocabularies.ByteVocabulary().encode('a') == [ord('a') + 3]


def test_demo_vocabulary_ships_with_the_package():
    path = Path(vocabularies.demo_vocabulary_path())
    assert path.parent == Path(vocabularies.__file__).parent
    if not path.exists():
        pytest.skip(f'{path.name} has not been trained yet')
    demo = vocabularies.demo_vocabulary()
    assert len(demo.tokenizer.location_ids) == 1024
    assert path.stat().st_size < 100_000
    for text in strings(100):
        ids = demo.encode(text)
        assert demo.encode_tf(tf.constant(text)).numpy().tolist() == ids
        assert demo.decode(ids) == text


def test_ids_that_answers_may_be_limited_to(vocabulary):
    words = vocabulary.encode('red') + vocabulary.encode('blue')
    assert vocabularies.answer_ids(['red', 'blue'], locations=False) == tuple(sorted(set(words)))
    both = vocabularies.answer_ids(['red', 'blue'])
    assert set(both) == {*words, *vocabulary.location_ids} and list(both) == sorted(both)
