"""Task features to model features."""

import io
import json
from pathlib import Path

import gin
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from vlm.data import converter
from vlm.data.converter import MODEL_FEATURES, ImageTextFeatureConverter
from vlm.data.envelope import tag_image
from vlm.data.frames import Frame
from vlm.data.image_files import encode_png
from vlm.data.images import load_image
from vlm.data.views import View, attach_view
from vlm.errors import UserError

HOSTILE = Path(__file__).parents[3] / 'shared/data/hostile'
SMALL = {'images': 1, 'inputs': 4, 'targets': 3}


def flat(value: int, height: int = 8, width: int = 8) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def png(value: int, name: str = 'a', **size: int) -> bytes:
    return tag_image(encode_png(flat(value, **size)), name)


def examples(*rows: tuple[list[bytes], list[int], list[int]]) -> tf.data.Dataset:
    """Task features of (images, inputs, targets)."""
    spec = {
        'images': tf.TensorSpec([None], tf.string),
        'inputs': tf.TensorSpec([None], tf.int32),
        'targets': tf.TensorSpec([None], tf.int32),
    }
    elements = [dict(zip(spec, row, strict=True)) for row in rows]
    return tf.data.Dataset.from_generator(lambda: elements, output_signature=spec)


def shown(features: dict, prefix: str = 'decoder_') -> dict[str, list[int]]:
    return {
        name.removeprefix(prefix): value.astype(int).tolist()
        for name, value in features.items()
        if not name.startswith('image')
    }


@pytest.mark.parametrize('count', [0, 3, 9])
def test_as_many_examples_are_known_of_as_went_in(count):
    rows = examples(*[([png(i)], [10, 1], [20, 1]) for i in range(count)])
    known = rows.apply(tf.data.experimental.assert_cardinality(count))
    for dataset, want in [(known, count), (rows, tf.data.UNKNOWN_CARDINALITY)]:
        made = ImageTextFeatureConverter(frame=Frame((8, 8)))(dataset, SMALL)
        assert made.cardinality() == want
        assert [int(e['images'][0, 0, 0, 0]) for e in made.as_numpy_iterator()] == [*range(count)]


def test_features_of_the_decoder_prefix(convert):
    pair, cut = ([png(7)], [10, 1], [20, 1]), ([png(9)], [10, 11, 12, 1], [20, 21, 22])
    made, full = convert(examples(pair, cut), SMALL)
    assert {name: (v.dtype, v.shape) for name, v in made.items()} == {
        'images': (np.uint8, (1, 16, 16, 3)),
        'image_mask': (bool, (1,)),
        'decoder_input_tokens': (np.int32, (7,)),
        'decoder_target_tokens': (np.int32, (7,)),
        'decoder_loss_weights': (np.float32, (7,)),
        'decoder_prefix_mask': (bool, (7,)),
        'decoder_segment_ids': (np.int32, (7,)),
    }
    assert (made['images'] == 7).all()
    assert made['image_mask'].tolist() == [True]
    assert shown(made) == {
        'input_tokens': [0, 10, 1, 20, 0, 0, 0],
        'target_tokens': [10, 1, 20, 1, 0, 0, 0],
        'loss_weights': [0, 0, 1, 1, 0, 0, 0],
        'prefix_mask': [1, 1, 1, 0, 0, 0, 0],
        'segment_ids': [1, 1, 1, 1, 0, 0, 0],
    }
    assert shown(full)['target_tokens'] == [10, 11, 12, 1, 20, 21, 22]


def test_fusion_encoder_takes_groups_apart(convert):
    group = ([png(7)], [10, 1, 11, 12, 1, 1], [20, 1, 1, 21, 22, 1])
    cut = ([png(9)], [10, 11, 12, 13, 14, 15], [20, 21, 22, 23, 24, 25])
    made = convert(
        examples(group, cut), {'images': 1, 'inputs': 6, 'targets': 6}, wiring='fusion_encoder'
    )
    assert [row['images'].max() for row in made] == [7, 7, 7, 9]
    assert [shown(row) for row in made[:3]] == [
        {
            'encoder_input_tokens': [10, 1, 0, 0, 0, 0],
            'input_tokens': [0, 20, 0, 0, 0, 0],
            'target_tokens': [20, 1, 0, 0, 0, 0],
            'loss_weights': [1, 1, 0, 0, 0, 0],
        },
        {
            'encoder_input_tokens': [11, 12, 1, 0, 0, 0],
            'input_tokens': [0, 0, 0, 0, 0, 0],
            'target_tokens': [1, 0, 0, 0, 0, 0],
            'loss_weights': [1, 0, 0, 0, 0, 0],
        },
        {
            'encoder_input_tokens': [1, 0, 0, 0, 0, 0],
            'input_tokens': [0, 21, 22, 0, 0, 0],
            'target_tokens': [21, 22, 1, 0, 0, 0],
            'loss_weights': [1, 1, 1, 0, 0, 0],
        },
    ]
    assert shown(made[3])['encoder_input_tokens'] == [10, 11, 12, 13, 14, 15]
    assert shown(made[3])['target_tokens'] == [20, 21, 22, 23, 24, 25]


def test_prefix_lm_takes_groups_apart_unless_pairs_share_a_row(convert):
    group = ([png(7)], [10, 1, 11, 1], [20, 1, 21, 1])
    lengths = {'images': 1, 'inputs': 4, 'targets': 4}
    apart = convert(examples(group), lengths, wiring='prefix_lm')
    assert [shown(row) for row in apart] == [
        {
            'input_tokens': [0, first, 1, second, 0, 0, 0, 0],
            'target_tokens': [first, 1, second, 1, 0, 0, 0, 0],
            'loss_weights': [0, 0, 1, 1, 0, 0, 0, 0],
            'prefix_mask': [1, 1, 1, 0, 0, 0, 0, 0],
            'segment_ids': [1, 1, 1, 1, 0, 0, 0, 0],
        }
        for first, second in ((10, 20), (11, 21))
    ]
    (shared,) = convert(examples(group), lengths, wiring='prefix_lm', pairs_share_row=True)
    (prefix,) = convert(examples(group), lengths)
    assert shown(shared) == shown(prefix)
    assert shown(shared)['segment_ids'] == [1, 1, 1, 1, 2, 2, 2, 2]


def test_rows_of_an_image_stay_together(convert):
    group = ([png(7)], [10, 1, 11, 12, 1, 1], [20, 1, 1, 21, 22, 1])
    few = ([png(9)], [10, 1], [20, 21, 22, 1])
    lengths = {'images': 1, 'inputs': 6, 'targets': 6}
    made = convert(
        examples(group, few), lengths, wiring='fusion_encoder', rows_per_image=2, names=True
    )
    assert [row['images'].max() for row in made] == [7, 9]
    assert [json.loads(row.pop('name'))[1] for row in made] == ['a', 'a']
    assert [shown(row) for row in made] == [
        {  # the third pair has no row
            'encoder_input_tokens': [[10, 1, 0], [11, 12, 1]],
            'input_tokens': [[0, 20, 0], [0, 0, 0]],
            'target_tokens': [[20, 1, 0], [1, 0, 0]],
            'loss_weights': [[1, 1, 0], [1, 0, 0]],
        },
        {  # the only pair is cut to its half of the lengths
            'encoder_input_tokens': [[10, 1, 0], [0, 0, 0]],
            'input_tokens': [[0, 20, 21], [0, 0, 0]],
            'target_tokens': [[20, 21, 22], [0, 0, 0]],
            'loss_weights': [[1, 1, 1], [0, 0, 0]],
        },
    ]


def test_rows_of_an_image_are_those_of_single_examples(convert):
    group = ([png(7)], [10, 1, 11, 1], [20, 1, 21, 1])
    lengths, single = {'inputs': 8, 'targets': 6}, {'inputs': 4, 'targets': 3}
    (rows,) = convert(examples(group), lengths, wiring='prefix_lm', rows_per_image=2)
    apart = convert(examples(group), single, wiring='prefix_lm')
    for name in rows.keys() - {'images', 'image_mask'}:
        np.testing.assert_array_equal(rows[name], [row[name] for row in apart])


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'wiring': 'prefix_lm', 'rows_per_image': 0}, 'ROWS_PER_IMAGE = 0 is less than 1'),
        ({'rows_per_image': 2}, 'ROWS_PER_IMAGE = 2 in the wiring decoder_prefix: .* bind it to 1'),
        (
            {'wiring': 'prefix_lm', 'pairs_share_row': True, 'rows_per_image': 2},
            'ROWS_PER_IMAGE = 2 in the wiring prefix_lm: .* bind it to 1',
        ),
        ({'wiring': 'fusion_encoder', 'rows_per_image': 3}, r"'inputs': 4.* = 3 rows .* multiples"),
    ],
)
def test_rows_that_cannot_be_are_told(options, message, convert):
    with pytest.raises(UserError, match=message):
        convert(examples(([png(7)], [10, 1], [20, 1])), SMALL, **options)


@pytest.mark.parametrize('wiring', MODEL_FEATURES)
def test_lengths_agree_with_the_features(wiring):
    converter = ImageTextFeatureConverter(wiring, frame=Frame((16, 16)))
    found = converter.get_model_feature_lengths({'images': 2, 'inputs': 5, 'targets': 3})
    assert set(found) == set(MODEL_FEATURES[wiring])
    assert (found['images'], found['image_mask']) == (2, 2)
    row = {'decoder_prefix': 8, 'fusion_encoder': 3, 'prefix_lm': 8}[wiring]
    assert found['decoder_target_tokens'] == found['decoder_loss_weights'] == row
    assert found.get('encoder_input_tokens', 5) == 5


def test_undecodable_images_are_masked_counted_and_named(convert, bad):
    pair = [10, 1], [20, 1]
    rows = [
        ([png(7, 'good')], *pair),
        ([tag_image(b'not an image', 'bad/text')], *pair),
        ([tag_image(b'', 'bad/empty')], *pair),
        ([tag_image(encode_png(flat(3))[:-20], 'bad/cut')], *pair),
        ([png(1, 'bad/large', height=11, width=10)], *pair),
    ]
    good, *others = convert(examples(*rows), SMALL, max_pixels=100)
    assert good['decoder_loss_weights'].sum() == 2
    for row in others:
        assert row['image_mask'].tolist() == [False]
        assert not row['images'].any()
        assert not row['decoder_loss_weights'].any()
        # All else is as ever: an evaluation still has the example.
        assert row['decoder_target_tokens'].tolist() == good['decoder_target_tokens'].tolist()
    assert bad.counts() == {'undecodable_images': 4}
    named = bad.named('undecodable_images')
    assert set(named) == {'bad/text', 'bad/empty', 'bad/cut', 'bad/large'}
    assert 'not a JPEG' in named['bad/text']
    assert 'at most 100' in named['bad/large']


def test_hostile_images_never_stop_the_pipeline(convert, bad):
    if not HOSTILE.exists():
        pytest.skip(f'the hostile files are not part of the product and {HOSTILE} is absent')
    files = [p for p in sorted(HOSTILE.iterdir()) if p.suffix in ('.jpg', '.png', '.gif', '.webp')]
    rows = [([tag_image(p.read_bytes(), p.name)], [10, 1], [20, 1]) for p in files]
    made = convert(examples(*rows), SMALL)
    read = {p.name for p, row in zip(files, made, strict=True) if row['image_mask'].all()}
    assert {'good_reference.jpg', 'cmyk.jpg', 'gray16.png', 'animated.gif', 'photo.webp'} <= read
    broken = {'truncated.jpg', 'truncated.png', 'crc_idat.png', 'zero_bytes.jpg', 'text_named.jpg'}
    assert not (broken | {'bomb_header_50000.png'}) & read
    assert bad.counts() == {'undecodable_images': len(files) - len(read)}


def test_several_images_and_padding_frames(convert, bad):
    pair = [10, 1], [20, 1]
    rows = [
        ([png(7), png(8)], *pair),
        ([png(7), tag_image(b'broken', 'half'), png(9)], *pair),
        ([tag_image(b'broken', 'none')] * 2, *pair),
        ([], *pair),
    ]
    made = convert(examples(*rows), {**SMALL, 'images': 3})
    masks = [row['image_mask'].tolist() for row in made]
    assert masks == [[True, True, False], [True, False, True], [False] * 3, [False] * 3]
    assert [row['images'].max(axis=(1, 2, 3)).tolist() for row in made] == [
        [7, 8, 0],
        [7, 0, 9],
        [0, 0, 0],
        [0, 0, 0],
    ]
    # One readable image is enough to answer from.
    assert [row['decoder_loss_weights'].sum() for row in made] == [2, 2, 0, 0]
    assert set(bad.named('undecodable_images')) == {'half', 'none'}


def test_questions_about_one_image_have_it_decoded_once(convert, monkeypatch):
    decoded = []

    def load(data: bytes, *args, **options) -> np.ndarray:
        decoded.append(data)
        return load_image(data, *args, **options)

    monkeypatch.setattr(converter, 'load_image', load)
    broken = tag_image(b'no image', 'c')
    shown = [png(7), png(7), broken, broken, png(9), png(7)]
    one_thread = tf.data.Options()
    one_thread.threading.private_threadpool_size = 1
    data = examples(*(([image], [10, 1], [20, 1]) for image in shown)).with_options(one_thread)
    made = convert(data, SMALL)
    assert [int(row['images'].max()) for row in made] == [7, 7, 0, 0, 9, 7]
    assert [bool(row['image_mask'][0]) for row in made] == [True, True, False, False, True, True]
    assert len(decoded) == 5  # the second is the first, and a broken one is tried each time


def test_views_frames_and_formats(convert):
    left_red = np.zeros((10, 20, 3), np.uint8)
    left_red[:, :10, 0] = 255
    jpeg = io.BytesIO()
    Image.fromarray(flat(100)).save(jpeg, 'JPEG')
    rows = [
        tag_image(attach_view(encode_png(left_red), View((0, 0, 1, 0.5))), 'a'),
        tag_image(jpeg.getvalue(), 'b'),
        encode_png(flat(50)),  # without an id
    ]
    made = convert(
        examples(*(([row], [1], [1]) for row in rows)), SMALL, frame=Frame((8, 6), 'pad', 'nearest')
    )
    red, gray, untagged = (row['images'][0] for row in made)
    assert red.shape == (8, 6, 3)
    # The view is square: it fills 6 x 6 and the rest is the padding's mid-grey.
    assert (red[:6] == [255, 0, 0]).all()
    assert (red[6:] == 127).all()
    assert (gray[:6] == 100).all()
    assert (untagged[:6] == 50).all()


def test_the_frame_is_that_of_gin(clean_gin):
    gin.parse_config('vlm.data.frames.image_frame.size = (12, 10)')
    converter = ImageTextFeatureConverter()
    (row,) = converter(examples(([png(7)], [1], [1])), SMALL).as_numpy_iterator()
    assert row['images'].shape == (1, 12, 10, 3)


def test_options_of_other_engines():
    # T5X passes both of these in training.
    converter = ImageTextFeatureConverter(pack=False, use_custom_packing_ops=False)
    assert not converter.pack
    with pytest.raises(UserError, match='pack=True'):
        ImageTextFeatureConverter(pack=True)


def test_unknown_wiring_names_the_nearest():
    with pytest.raises(UserError, match=r"'fusion_encodr'.*Nearest: fusion_encoder"):
        ImageTextFeatureConverter('fusion_encodr')


def test_names_are_task_and_id_where_they_are_asked_for(vocabulary, convert):
    tagged = tag_image(encode_png(flat(3)), 'ü"1', 'a_task')
    rows = [([tagged], [10, 1], [20, 1]), ([], [10, 1], [20, 1])]
    found = convert(examples(*rows), names=True)
    assert [json.loads(row['name']) for row in found] == [['a_task', 'ü"1'], ['', '']]
    assert set(found[0]) - {'name'} == set(convert(examples(*rows))[0])
