"""Records to token ids, through SeqIO tasks and mixtures."""

import json

import gin
import numpy as np
import seqio
import tensorflow as tf

from vlm.boxes import BoxCodec
from vlm.data import converter, features
from vlm.data.envelope import untag_image
from vlm.data.examples import Pair, fill
from vlm.data.frames import image_frame
from vlm.data.image_files import ImageError, encode_png
from vlm.data.pipeline import encode_row, tokenizers_of
from vlm.data.tasks import TaskSpec, add_group, add_task
from vlm.tasks.augment import zoom_and_flip
from vlm.tasks.captioning import add_captioning_task
from vlm.tasks.locca import add_aref_task, read_aref
from vlm.tasks.vqa import add_vqa_task, read

IMAGE = encode_png(np.zeros((8, 8, 3), np.uint8))
QUESTIONS = TaskSpec('questions', read, 'answer en {question}')


def record(name: str, count: int = 1, **fields) -> dict:
    """A record of `count` numbered questions."""
    return {
        'id': name,
        'images': [IMAGE],
        'questions': [f'{name} {i}?' for i in range(count)],
        'answers': [str(i) for i in range(count)],
        **fields,
    }


def meta_of(example: dict) -> dict:
    return json.loads(example['meta'])


def texts(vocabulary, tokens: np.ndarray) -> list[str]:
    """The texts that EOS ends; what is cut counts as one, too."""
    ends = [*(np.flatnonzero(tokens == 1) + 1), len(tokens)]
    starts = [0, *ends[:-1]]
    return [vocabulary.decode(tokens[a:b]) for a, b in zip(starts, ends, strict=True) if b > a]


def add_questions_group(name, source, **options):
    add_group(name, source, [QUESTIONS], **options)


# ---- one pair an example ----


def test_a_record_becomes_one_example_a_pair(new_task, dataset, vocabulary):
    name = new_task(add_vqa_task, [record('a', 1), record('b', 2)])
    found = list(dataset(name).as_numpy_iterator())
    assert [meta_of(e) for e in found] == [
        {'id': 'a', 'prompt': 'answer en a 0?', 'references': ['0']},
        {'id': 'b#0', 'prompt': 'answer en b 0?', 'references': ['0']},
        {'id': 'b#1', 'prompt': 'answer en b 1?', 'references': ['1']},
    ]
    for example in found:
        assert set(example) == {'images', 'inputs', 'targets', 'meta'}
        assert example['inputs'].tolist() == [*vocabulary.encode(meta_of(example)['prompt']), 1]
        assert example['targets'].tolist() == [
            *vocabulary.encode(meta_of(example)['references'][0]),
            1,
        ]
    assert [untag_image(e['images'][0]) for e in found] == [
        ('a', IMAGE),
        ('b', IMAGE),
        ('b', IMAGE),
    ]


def test_images_stay_encoded_until_the_converter(new_task, dataset, convert, monkeypatch, bad):
    """What is shuffled and mixed are the files' own bytes."""
    load, loaded = converter.load_image, []

    def counting(*args, **options):
        loaded.append(args)
        return load(*args, **options)

    monkeypatch.setattr(converter, 'load_image', counting)
    name = new_task(add_vqa_task, [record(each, 1) for each in 'abcdef'])
    examples = dataset(name, shuffle=True)
    spec = examples.element_spec
    assert (spec['images'].dtype, spec['images'].shape.as_list()) == (tf.string, [None])
    found = list(examples.as_numpy_iterator())
    assert all(untag_image(e['images'][0])[1] == IMAGE for e in found)
    assert loaded == []
    assert len(convert(examples)) == len(loaded) == 6


def test_records_that_cannot_be_read_are_counted_and_named(new_task, dataset, bad):
    def read_one(record, prompt, rng):
        return [Pair(prompt, record['answers'][0]), Pair(prompt, record['more'].upper())]

    def add(name, source):
        add_task(name, source, read_one, 'what?')

    good = record('good', more='text')
    records = [
        *(good, record('missing'), record('empty', 0, more='text'), record('none', more=None)),
        *(record('number', more=3.5), good),
    ]
    name = new_task(add, records)
    found = [meta_of(e)['id'] for e in dataset(name).as_numpy_iterator()]
    assert found == ['good#0', 'good#1'] * 2
    assert bad.counts() == {'unusable_records': 4}
    named = bad.named('unusable_records')
    assert named['missing'] == "KeyError: 'more'"
    assert named['empty'].startswith('IndexError')
    assert named['none'].startswith('AttributeError')
    assert named['number'].startswith('AttributeError')


def test_improper_boxes_are_counted_and_named(new_task, dataset, bad):
    def add(name, source):
        add_task(name, source, read_aref, 'ARef: {caption} :', codec=BoxCodec())

    boxes = {
        'good': [0.1, 0.2, 0.3, 0.4],
        'inverted': [0.3, 0.2, 0.1, 0.4],
        'outside': [0.1, 0.2, 0.3, 1.4],
        'nan': [0.1, 0.2, 0.3, float('nan')],
        'short': [0.1, 0.2, 0.3],
    }
    records = [
        record(name, objects=[{'label': 'cat', 'box': box}], images=[IMAGE])
        for name, box in boxes.items()
    ]
    name = new_task(add, records)
    assert [meta_of(e)['id'] for e in dataset(name).as_numpy_iterator()] == ['good']
    named = bad.named('unusable_records')
    assert sorted(named) == ['inverted', 'nan', 'outside', 'short']
    assert 'outside [0, 1]' in named['outside']


def test_a_record_without_an_image_is_an_undecodable_one(new_task, dataset, convert, bad):
    examples = dataset(new_task(add_vqa_task, [record('a', images=[])]))
    (row,) = convert(examples)
    assert not row['image_mask'].any()
    assert not row['decoder_loss_weights'].any()
    assert list(bad.named('undecodable_images')) == ['a']


def test_odd_texts_come_through(new_task, dataset, vocabulary):
    odd = {'questions': ['two\n lines\t', '', 'x \ud800 y'], 'answers': ['👍🏽 שלום', 'b', ' a']}
    found = list(dataset(new_task(add_vqa_task, [record('é\ud800', **odd)])).as_numpy_iterator())
    prompts = [vocabulary.decode(e['inputs']) for e in found]
    assert prompts == ['answer en two\n lines\t', 'answer en ', 'answer en x ? y']
    assert [vocabulary.decode(e['targets']) for e in found] == ['👍🏽 שלום', 'b', ' a']
    assert meta_of(found[0])['id'] == 'é?#0'


def test_a_blank_answer_is_named_and_the_others_are_asked(new_task, dataset, bad):
    texts = {'questions': ['a?', 'b?', 'c?', 'd?'], 'answers': ['', ' \t\u200b', 'yes', '\ufeff']}
    examples = dataset(new_task(add_vqa_task, [record('r', **texts)])).as_numpy_iterator()
    assert [meta_of(example)['id'] for example in examples] == ['r#2']
    assert set(bad.named('empty_answers')) == {'r#0', 'r#1', 'r#3'}


def test_a_text_that_is_cut_is_named(new_task, dataset, bad):
    texts = {'questions': ['a?', 'b?'], 'answers': ['yes no yes no', 'yes no']}
    task = new_task(add_vqa_task, [record('r', **texts)])
    cut, whole = dataset(task, lengths={'targets': 3}).as_numpy_iterator()
    assert len(cut['targets']) == len(whole['targets']) == 3
    assert bad.named('cut_texts') == {'r#0': 'there is room for 3 tokens of targets'}


# ---- the user's text is only text ----


def test_literal_location_tokens_stay_text(new_task, dataset, vocabulary, score):
    said = 'say <loc0001> and <\\loc0002>'
    asked = record('a', questions=[f'what is {said}?'], answers=[said])
    vqa = new_task(add_vqa_task, [asked])
    caption = new_task(add_captioning_task, [{**asked, 'caption': said}])
    for name in (vqa, caption):
        (example,) = dataset(name).as_numpy_iterator()
        ids = [*example['inputs'].tolist(), *example['targets'].tolist()]
        assert not set(ids) & set(vocabulary.location_ids)
        answer = vocabulary.decode(example['targets'])
        assert answer == 'say <\\loc0001> and <\\\\loc0002>'
        # Back to what the user wrote, on the side of predictions and on that of references.
        assert meta_of(example)['references'] == [said]
        found = score(name, [meta_of(example)], [answer])
        assert found.get('vqa_accuracy', found.get('exact_match')) == 1
    assert vocabulary.decode(example['inputs']) == 'caption en'


def test_templates_and_boxes_do_give_location_tokens(new_task, dataset, vocabulary):
    def read_box(record, prompt, rng):
        return [Pair(fill(prompt, text='<loc0007>'), BoxCodec().encode_box([0, 0, 1, 1]))]

    def add(name, source):
        add_task(name, source, read_box, 'at <loc0003> {text}')

    (example,) = dataset(new_task(add, [record('a')])).as_numpy_iterator()
    location = vocabulary.location_ids
    assert [i for i in example['inputs'] if i in location] == [location[3]]
    assert [i for i in example['targets'] if i in location] == [
        *(location[0], location[0], location[1023], location[1023])
    ]


# ---- groups: as many pairs as fit ----


def encoded(vocabulary, prompts: list[str], answers: list[str], **lengths) -> tuple:
    """(prompts, answers, ids) of one example with these pairs, read back from its ids."""
    pairs = [Pair(*texts) for texts in zip(prompts, answers, strict=True)]
    named = [(f'#{i}', pair) for i, pair in enumerate(pairs)]
    rows = encode_row(named, tokenizers_of(features.output_features()), lengths)
    return *(texts(vocabulary, np.array(rows[k], int)) for k in ('inputs', 'targets')), rows


def test_pairs_are_taken_in_order_while_both_sides_have_room(vocabulary):
    prompts, answers = ['red', 'yes', 'red red', 'no'], ['no', 'yes yes', 'no', 'no']
    assert [len(vocabulary.encode(t)) for t in [*prompts, *answers]] == [1, 1, 2, 1, 1, 2, 1, 1]

    def fit(**lengths) -> int:
        asked, said, example = encoded(vocabulary, prompts, answers, **lengths)
        assert (asked, said) == (prompts[: len(asked)], answers[: len(asked)])
        assert example['inputs'][-1] == example['targets'][-1] == 1
        return len(asked)

    assert fit(inputs=9, targets=9) == 4
    assert fit(inputs=9, targets=8) == 3
    assert fit(inputs=8, targets=9) == 3
    assert fit(inputs=9, targets=4) == 1
    # The third pair does not fit and the shorter fourth is not taken in its place.
    assert fit(inputs=6, targets=9) == 2


def test_pairs_too_long_by_themselves_are_passed_over_and_named(vocabulary, bad):
    prompts, answers = ['red', 'red red red', 'yes', 'no'], ['yes no yes no', 'no', 'no', 'yes']
    asked, said, example = encoded(vocabulary, prompts, answers, inputs=3, targets=3)
    assert (asked, said) == (['yes'], ['no'])
    assert example['inputs'][-1] == example['targets'][-1] == 1
    assert bad.named('cut_texts') == {
        '#0': 'there is room for 3 tokens of targets',
        '#1': 'there is room for 3 tokens of inputs',
    }


def test_where_no_pair_fits_the_first_is_cut_and_its_answer_has_no_end(vocabulary, bad):
    prompts, answers = ['red red red', 'blue'], ['yes no yes no', 'no yes no yes']
    asked, said, example = encoded(vocabulary, prompts, answers, inputs=9, targets=3)
    assert (asked, said) == (['red red red'], ['yes no yes'])
    assert 1 not in example['targets']
    assert example['inputs'].count(1) == 1
    prompts, answers = prompts[:1], answers[:1]
    asked, said, example = encoded(vocabulary, prompts, answers, inputs=2, targets=9)
    assert (asked, said) == (['red red'], ['yes no yes no'])
    assert 1 not in example['inputs']
    # Exactly as long as the room: nothing is cut, EOS is there.
    _, said, example = encoded(vocabulary, prompts, answers, inputs=9, targets=5)
    assert (said, example['targets'][-1]) == (['yes no yes no'], 1)


def test_empty_prompts_and_answers_are_an_end_each(vocabulary):
    asked, said, example = encoded(vocabulary, ['', 'red', ''], ['', '', 'no'])
    assert example['inputs'] == [1, *vocabulary.encode('red'), 1, 1]
    assert example['targets'] == [1, 1, *vocabulary.encode('no'), 1]
    assert (asked, said) == (['', 'red', ''], ['', '', 'no'])


def drawn(vocabulary, examples) -> list[tuple[str, ...]]:
    return [tuple(texts(vocabulary, e['inputs'])) for e in examples.as_numpy_iterator()]


def test_group_draws_differ_between_epochs_and_repeat_with_the_seed(new_task, dataset, vocabulary):
    records = [record(name, 12) for name in 'abcd']
    name = new_task(add_questions_group, records)
    first = drawn(vocabulary, dataset(name, num_epochs=3))
    epochs = [first[i : i + 4] for i in (0, 4, 8)]
    for epoch in epochs:
        for asked, letter in zip(epoch, 'abcd', strict=True):
            assert 1 < len(asked) < 12  # not all fit
            assert len(set(asked)) == len(asked)
            assert all(text.startswith(f'answer en {letter} ') for text in asked)
    assert all(len({epoch[i] for epoch in epochs}) == 3 for i in range(4))
    assert drawn(vocabulary, dataset(name, num_epochs=3)) == first
    assert drawn(vocabulary, dataset(name, num_epochs=3, seed=1)) != first


def test_answers_belong_to_their_prompts_in_groups(new_task, dataset, vocabulary):
    name = new_task(add_questions_group, [record('a', 12)])
    for example in dataset(name, num_epochs=5).as_numpy_iterator():
        asked, said = (texts(vocabulary, example[k]) for k in ('inputs', 'targets'))
        assert asked == [f'answer en a {answer}?' for answer in said]


# ---- boxes in a padded frame ----


def test_in_a_padded_frame_answers_references_and_pixels_agree(
    new_task, dataset, convert, vocabulary, score
):
    """20 x 40 pixels fill the upper half of 64 x 64; targets are of the frame, not of the image."""
    gin.parse_config("""
        vlm.data.frames.image_frame.size = (64, 64)
        vlm.data.frames.image_frame.resize = 'pad'
    """)
    pixels = np.full((20, 40, 3), 255, np.uint8)
    pixels[5:15, 10:30] = 0
    objects = [{'label': 'cat', 'box': [0.25, 0.25, 0.75, 0.75]}]
    picture = record('a', objects=objects, images=[encode_png(pixels)])
    for augment in (None, zoom_and_flip):
        name = new_task(add_aref_task, [picture] * 5, augment=augment)
        examples = dataset(name)
        found = list(examples.as_numpy_iterator())
        answers = [vocabulary.decode(e['targets']) for e in found]
        metas = [meta_of(e) for e in found]
        said = [BoxCodec().parse_strict(answer)[0].box for answer in answers]
        wanted = [meta['objects'][0][0] for meta in metas]
        np.testing.assert_allclose(said, wanted, atol=0.5 / 1023 + 1e-9)
        if augment is None:
            assert wanted[0] == [0.125, 0.25, 0.375, 0.75]
        assert score(name, metas, answers)['acc_at_0.5'] == 1
        for row, box in zip(convert(examples, frame=image_frame()), wanted, strict=True):
            dark = (row['images'][0] < 64).all(2)
            ys, xs = (dark.any(axis).nonzero()[0] for axis in (1, 0))
            seen = np.array([ys[0], xs[0], ys[-1] + 1, xs[-1] + 1]) / 64
            np.testing.assert_allclose(seen, box, atol=1 / 64)


# ---- resume ----


def plain(examples: tf.data.Dataset, count: int) -> list[dict]:
    """The first `count` elements as lists; the endless stream is let go of."""
    iterator = examples.take(count).as_numpy_iterator()
    found = [{k: v.tolist() for k, v in element.items()} for element in iterator]
    del iterator
    return found


def test_skipping_goes_on_where_the_same_stream_was(new_task, new_mixture, dataset, monkeypatch):
    objects = [{'label': 'cat', 'box': [0.25, 0.25, 0.75, 0.75]}]
    records = [record(f'r{i}', 4, objects=objects) for i in range(7)]
    names = [
        new_task(add_questions_group, records, augment=zoom_and_flip),
        new_task(add_vqa_task, records[:3]),
    ]
    for name in names:  # a buffer of a thousand takes seconds to fill
        monkeypatch.setattr(seqio.TaskRegistry.get(name), '_shuffle_buffer_size', 8)
    mixture = new_mixture(names)
    options = {'shuffle': True, 'num_epochs': None}
    whole = plain(dataset(mixture, **options), 40)
    assert plain(dataset(mixture, **options).skip(25), 15) == whole[25:]
    # It is no short loop, and augmentation is in the bytes.
    assert len({tuple(e['images']) for e in whole}) > 15


# ---- through a mixture ----


def test_undecodable_images_are_named_through_a_mixture(
    new_task, new_mixture, dataset, convert, bad
):
    broken = record('broken/one', 2, images=[b'no image'])
    names = [
        new_task(add_vqa_task, [record('good'), broken]),
        new_task(add_questions_group, [broken]),
    ]
    examples = dataset(new_mixture(names), num_epochs=None).take(20)
    assert 'meta' not in examples.element_spec
    rows = convert(examples)
    readable = [bool(row['image_mask'].any()) for row in rows]
    assert 2 < sum(readable) < 18
    assert [bool(row['decoder_loss_weights'].any()) for row in rows] == readable
    assert list(bad.named('undecodable_images')) == ['broken/one']
    assert bad.counts() == {'undecodable_images': readable.count(False)}


def test_an_unreadable_image_keeps_its_place_in_an_evaluation(new_task, dataset, convert, bad):
    """In every frame, with boxes to be placed, it stays an example, to be counted as wrong."""
    gin.parse_config("vlm.data.frames.image_frame.resize = 'pad'")

    def add(name, source):
        add_task(name, source, read_aref, 'ARef: {caption} :', codec=BoxCodec())

    objects = [{'label': 'cat', 'box': [0.25, 0.25, 0.75, 0.75]}]
    records = [
        record('a', objects=objects),
        record('b', objects=objects, images=[IMAGE[:-20]]),
        record('c', objects=objects, images=[b'text']),
    ]
    examples = dataset(new_task(add, records))
    assert [meta_of(e)['id'] for e in examples.as_numpy_iterator()] == ['a', 'b', 'c']
    assert [row['image_mask'].all() for row in convert(examples)] == [True, False, False]
    assert bad.counts() == {'undecodable_images': 2}
    assert set(bad.named('undecodable_images')) == {'b', 'c'}


def test_image_errors_of_a_reader_are_faults_of_the_record(new_task, dataset, bad):
    def read_pixels(record, prompt, rng):
        raise ImageError('cannot look into it')

    def add(name, source):
        add_task(name, source, read_pixels, 'what?')

    assert list(dataset(new_task(add, [record('a')])).as_numpy_iterator()) == []
    assert bad.named('unusable_records') == {'a': 'ImageError: cannot look into it'}
