"""Boxes: codes by hand and by published values, round trips, hostile text, geometry."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm import boxes
from vlm.boxes import BoxCodec, BoxFormatError, LabelledBox
from vlm.errors import UserError

LOC = BoxCodec()
LOCCA = BoxCodec(style='integer', bins=501)
CODECS = pytest.mark.parametrize(
    'codec', [LOC, LOCCA, BoxCodec('loc', 32), BoxCodec('integer', 99)]
)
HOSTILE = Path(__file__).parents[2] / 'shared' / 'data' / 'hostile'

GOOD = '<loc0512><loc0256><loc0895><loc0767>'
GOOD_BOX = (512 / 1023, 256 / 1023, 895 / 1023, 767 / 1023)
OTHER = '<loc0000><loc0000><loc1023><loc1023>'


@st.composite
def proper_boxes(draw, bins):
    """Boxes more than one bin wide and high, at any place."""
    thinnest = 1.001 / (bins - 1)
    low = [draw(st.floats(0, 1 - thinnest)) for _ in 'yx']
    high = [draw(st.floats(min(1.0, start + thinnest), 1)) for start in low]
    return (*low, *high)


LABELS = st.from_regex(r'[a-zé]+( [a-z0-9]+){0,2}', fullmatch=True)


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('box', 'text'),
    [
        ((0, 0, 1, 1), '<loc0000><loc0000><loc1023><loc1023>'),
        ((0.5, 0.25, 0.875, 0.75), '<loc0512><loc0256><loc0895><loc0767>'),
        ((0.1, 0.2, 0.3, 0.4), '<loc0102><loc0205><loc0307><loc0409>'),
    ],
)
def test_location_tokens_are_those_of_paligemma(box, text):
    assert LOC.encode_box(box) == text
    assert LOC.encode_box(np.array(box, np.float32)) == text


def test_integers_are_those_of_locca():
    assert LOCCA.encode_box((0.512, 0.256, 0.896, 0.768)) == '256 128 448 384'
    assert LOCCA.encode_box((0, 0, 1, 1)) == '0 0 500 500'


def test_halves_go_to_the_even_code():
    assert BoxCodec('integer', 5).encode_box((0.125, 0.375, 0.625, 0.875)) == '0 2 2 4'


def test_objects_are_joined_in_the_order_given():
    pairs = [((0, 0, 1, 1), 'black  cat'), ((0.5, 0.25, 0.875, 0.75), '')]
    assert LOC.encode_objects(pairs) == f'{OTHER} black cat ; {GOOD}'
    assert LOCCA.encode_objects([((0, 0, 1, 1), '7')] * 2) == '0 0 500 500 : 7 ; 0 0 500 500 : 7'
    assert LOC.encode_objects([]) == 'none'


@pytest.mark.parametrize(
    ('box', 'why'),
    [
        ((float('nan'), 0, 1, 1), 'no number as y_min'),
        ((0, 0, float('inf'), 1), 'y_max outside'),
        ((0, -0.1, 1, 1), 'x_min outside'),
        ((10, 20, 30, 40), 'y_min outside'),
        ((0.6, 0, 0.2, 1), 'y_max not above y_min'),
        ((0, 0.5, 1, 0.5), 'x_max not above x_min'),
        ((0.5, 0, 0.5004, 1), 'y_max 512 not above y_min 512'),
        ((0, 0, 1), 'shape'),
        ('cat', 'not made of numbers'),
    ],
)
def test_an_improper_box_is_refused_by_name(box, why):
    with pytest.raises(BoxFormatError, match=why) as caught:
        LOC.encode_box(box)
    assert str(box) in str(caught.value)
    assert isinstance(caught.value, UserError)


def test_float32_rounding_at_the_border_is_not_a_mistake():
    assert LOC.encode_box(np.array([-1e-7, 0, 1 + 1e-7, 1])) == OTHER


@pytest.mark.parametrize('label', ['cat ; dog', f'a {GOOD}', '<loc12'])
def test_a_label_that_would_not_be_read_back_is_refused(label):
    with pytest.raises(BoxFormatError, match='read back'):
        LOC.encode_objects([((0, 0, 1, 1), label)])


def test_a_wrong_codec_is_refused():
    with pytest.raises(UserError, match='Nearest: integer'):
        BoxCodec(style='integers')
    with pytest.raises(UserError, match='bins'):
        BoxCodec(bins=1)
    for separator in ('', ' ', ';', '; ', ' : ', ' a b '):
        with pytest.raises(UserError, match='separator'):
            BoxCodec(separator=separator)


# --- reading ---------------------------------------------------------------------------------


@CODECS
@given(data=st.data())
def test_a_round_trip_errs_by_half_a_bin_at_most(codec, data):
    box = data.draw(proper_boxes(codec.bins))
    [read] = codec.parse_strict(codec.encode_box(box))
    np.testing.assert_allclose(read.box, box, rtol=0, atol=0.5 / (codec.bins - 1) + 1e-12)
    assert codec.encode_box(read.box) == codec.encode_box(box)


@CODECS
@given(data=st.data())
def test_labelled_objects_round_trip(codec, data):
    boxes_ = st.tuples(proper_boxes(codec.bins), st.just('') | LABELS)
    pairs = data.draw(st.lists(boxes_, max_size=5))
    text = codec.encode_objects(pairs)
    read = codec.parse_strict(text)
    assert [o.label for o in read] == [label for _, label in pairs]
    assert codec.parse(text).objects == read
    assert not codec.parse(text).unreadable


@pytest.mark.parametrize('label', ['7', '1 2 3 4 5', 'route 66', 'a: b', '2 dogs on 1 couch'])
def test_labels_with_numbers_and_colons_survive(label):
    for codec in (LOC, LOCCA):
        [read] = codec.parse_strict(codec.encode_objects([((0, 0, 1, 1), label)]))
        assert read == LabelledBox((0.0, 0.0, 1.0, 1.0), label)


@pytest.mark.parametrize(
    ('label', 'written'),
    [
        ('TOTAL:', 'TOTAL::'),
        (':a', '::a'),
        (': a', ':: a'),
        ('a : :', 'a :: ::'),
        (':', '::'),
        ('a: b', 'a: b'),
        ('10:30', '10:30'),
    ],
)
def test_colons_at_the_ends_of_a_label_are_doubled(label, written):
    for codec, between in ((LOC, ' '), (LOCCA, ' : ')):
        text = codec.encode_objects([((0, 0, 1, 1), label), ((0, 0, 1, 1), 'x')])
        first = text.split(codec.separator)[0]
        assert first == codec.encode_box((0, 0, 1, 1)) + between + written
        assert [entry.label for entry in codec.parse_strict(text)] == [label, 'x']


@pytest.mark.parametrize('text', ['{} cat', '{} : cat', 'cat : {}', '{} cat :', '{} : cat : :'])
def test_single_colons_are_no_part_of_a_label(text):
    for codec in (LOC, LOCCA):
        [read] = codec.parse(text.format(codec.encode_box((0, 0, 1, 1)))).objects
        assert read.label == 'cat'


@CODECS
@given(label=st.text('a: \\', max_size=8))
def test_no_two_labels_are_written_alike(codec, label):
    label = ' '.join(label.split())
    [read] = codec.parse_strict(codec.encode_objects([((0, 0, 1, 1), label)]))
    assert read.label == label


def test_four_numbers_in_a_row_are_no_label_of_integer_boxes():
    with pytest.raises(BoxFormatError, match='read back'):
        LOCCA.encode_objects([((0, 0, 1, 1), 'room 1 2 3 4')])


@pytest.mark.parametrize(
    ('text', 'label'),
    [
        (GOOD, ''),
        (f'{GOOD} cat', 'cat'),
        (f'{GOOD}cat', 'cat'),
        (f'{GOOD} : a black  cat', 'a black cat'),
        (f'a black cat : {GOOD}', 'a black cat'),
        (f'ARef: a black cat : {GOOD}', 'ARef: a black cat'),
        (f'here {GOOD}', ''),
        (f'a cat : {GOOD} : a dog', 'a dog'),
        (f'{GOOD} cat ;', 'cat'),
        ('<loc0512> <loc0256> <loc0895>\n<loc0767> cat', 'cat'),
    ],
)
def test_one_box_is_found_wherever_it_stands(text, label):
    parsed = LOC.parse(text)
    assert parsed.objects == [LabelledBox(GOOD_BOX, label)]
    assert parsed.unreadable == []


@pytest.mark.parametrize(
    ('text', 'label'),
    [
        ('256 128 448 384', ''),
        ('2 dogs on 1 couch : 256 128 448 384', '2 dogs on 1 couch'),
        ('256 128 448 384 : bus 42', 'bus 42'),
        ('256 128 448 384 bus', 'bus'),
        ('bus 42: 256 128 448 384.', '.'),
    ],
)
def test_integers_in_a_caption_are_not_its_box(text, label):
    parsed = LOCCA.parse(text)
    assert parsed.objects == [LabelledBox((0.512, 0.256, 0.896, 0.768), label)]
    assert parsed.unreadable == []


def test_two_boxes_without_a_separator_keep_their_labels():
    parsed = LOC.parse(f'{GOOD} cat {OTHER} dog')
    assert [o.label for o in parsed.objects] == ['cat', 'dog']


@pytest.mark.parametrize('text', ['', ' ', '\n', 'none', ' None '])
def test_none_and_the_empty_text_hold_nothing(text):
    assert LOC.parse(text) == LOCCA.parse(text) == boxes.ParsedBoxes([], [])


@pytest.mark.parametrize(
    ('codec', 'text', 'unreadable'),
    [
        (LOC, '<loc0895><loc0256><loc0512><loc0767> cat', ['<loc0895><loc0256><loc0512><loc0767>']),
        (LOC, '<loc0512><loc0256><loc0895><loc0256>', ['<loc0512><loc0256><loc0895><loc0256>']),
        (LOC, '<loc0512><loc0256><loc0895><loc1024>', ['<loc0512><loc0256><loc0895><loc1024>']),
        (LOC, '<loc0512><loc0256><loc0895>', ['<loc0512><loc0256><loc0895>']),
        (LOC, f'{GOOD}<loc0001>', [f'{GOOD}<loc0001>']),
        (LOC, '<loc0512><loc0256><loc0895><loc07', ['<loc0512><loc0256><loc0895><loc07']),
        (LOC, '<loc0512><loc0256><loc0895><locx>', ['<loc0512><loc0256><loc0895><locx>']),
        (LOC, 'a cat ; a dog', ['a cat', 'a dog']),
        (LOC, ' ; ', [';']),
        (LOC, '256 128 448 384', ['256 128 448 384']),
        (LOCCA, '448 128 256 384 : cat', ['448 128 256 384']),
        (LOCCA, '256 128 448 501', ['256 128 448 501']),
        (LOCCA, '256 128 448', ['256 128 448']),
        (LOCCA, '256 128 448 384 5', ['256 128 448 384 5']),
        (LOCCA, '-256 128 448 384', ['-256 128 448 384']),
        (LOCCA, '2.5 128 448 384', ['2.5 128 448 384']),
        (LOCCA, GOOD, [GOOD]),
    ],
)
def test_what_is_no_box_is_returned_as_unreadable(codec, text, unreadable):
    parsed = codec.parse(text)
    assert parsed == boxes.ParsedBoxes([], unreadable)
    with pytest.raises(BoxFormatError):
        codec.parse_strict(text)


def test_good_boxes_survive_beside_bad_ones():
    parsed = LOC.parse(f'{GOOD} cat ; <loc0001><loc0002> ; {OTHER} dog ; <loc9999> ; noise')
    assert [o.label for o in parsed.objects] == ['cat', 'dog']
    assert parsed.unreadable == ['<loc0001><loc0002>', '<loc9999>', 'noise']


@pytest.mark.parametrize(
    'text',
    [f'{GOOD}cat', f'{GOOD} cat ;', f'cat : {GOOD}', f' {GOOD}', GOOD.replace('0512', '512')],
)
def test_strict_parsing_refuses_what_only_a_model_would_write(text):
    assert len(LOC.parse(text).objects) == 1
    with pytest.raises(BoxFormatError, match='not in the form'):
        LOC.parse_strict(text)


PIECES = st.sampled_from(
    [GOOD, OTHER, '<loc0001>', '<loc', '<loc12', '<loc99999999999>', '>', ' ; ', ';', ' : ', ' ']
    + ['12', '0 0 9 9', '-3', '4.5', '٣', '²', 'cat', 'none', '\n', '9' * 5000]
)


@CODECS
@given(text=st.text() | st.lists(PIECES, max_size=12).map(''.join))
def test_parsing_never_raises_and_accounts_for_every_text(codec, text):
    parsed = codec.parse(text)
    empty = text.strip().lower() in ('', 'none')
    assert bool(parsed.objects or parsed.unreadable) != empty
    for found in parsed.objects:
        assert codec.encode_box(found.box)  # every box that is returned is a proper one
    assert all(piece.strip() and piece in text for piece in parsed.unreadable)


def test_a_very_long_text_is_read_in_linear_time():
    text = ' ; '.join([f'{GOOD} cat'] * 20_000) + '<loc' * 20_000
    assert len(LOC.parse(text).objects) == 20_000


# --- hostile files ---------------------------------------------------------------------------


@pytest.mark.skipif(not HOSTILE.is_dir(), reason='the hostile inputs are not part of the product')
@pytest.mark.parametrize(
    ('name', 'bad'), [('box_inverted', 2), ('box_out_of_range', 3), ('nan_coords', 2)]
)
def test_hostile_boxes_are_refused_and_good_ones_pass(name, bad):
    records = [json.loads(line) for line in (HOSTILE / f'{name}.jsonl').open()]
    refused = []
    for record in records:
        x0, y0, x1, y1 = record['boxes'][0]['box']
        try:
            LOC.encode_box(boxes.pixels_to_relative([y0, x0, y1, x1], height=120, width=160))
        except BoxFormatError:
            refused.append(record['id'])
    assert refused == [f'b{i}' for i in range(bad)]


# --- geometry --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('a', 'b', 'iou'),
    [
        ((0, 0, 1, 1), (0, 0, 0.5, 1), 0.5),
        ((0, 0, 1, 1), (0, 0, 0.49, 1), 0.49),
        ((0, 0, 0.5, 0.5), (0.25, 0.25, 0.75, 0.75), 1 / 7),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0),
        ((0, 0, 1, 1), (1, 1, 0, 0), 0),
        ((0.5, 0.5, 0.5, 0.5), (0.5, 0.5, 0.5, 0.5), 0),
    ],
)
def test_iou_by_hand(a, b, iou):
    assert boxes.box_iou(a, b) == pytest.approx(iou)
    assert boxes.box_iou(b, a) == pytest.approx(iou)


def test_coco_example_iou():
    gt, found = [41, 214, 41 + 244, 214 + 348], [41, 258, 41 + 244, 258 + 348]
    assert boxes.box_iou(gt, found) == pytest.approx(0.7755, abs=5e-5)


def test_pairwise_iou_by_hand_and_with_nothing():
    a = [[0, 0, 1, 1], [0, 0, 0.5, 1]]
    b = [[0, 0, 1, 1], [0.5, 0, 1, 1], [0, 0, 0.25, 1]]
    np.testing.assert_allclose(boxes.pairwise_iou(a, b), [[1, 0.5, 0.25], [0.5, 0, 0.5]])
    assert boxes.pairwise_iou(a, []).shape == (2, 0)
    assert boxes.pairwise_iou([], b).shape == (0, 3)


def test_flip_and_its_undoing():
    box = (0.1, 0.2, 0.3, 0.6)
    np.testing.assert_allclose(boxes.flip_horizontal(box), [0.1, 0.4, 0.3, 0.8])
    many = np.array([box, (0, 0, 1, 0.5)])
    np.testing.assert_allclose(boxes.flip_horizontal(boxes.flip_horizontal(many)), many)


def test_boxes_in_the_coordinates_of_a_window():
    crop = (0.25, 0.25, 0.75, 0.75)
    np.testing.assert_allclose(boxes.to_region((0.5, 0.25, 0.75, 0.5), crop), [0.5, 0, 1, 0.5])
    np.testing.assert_allclose(boxes.to_region((0, 0, 1, 1), crop), [0, 0, 1, 1])
    assert boxes.box_area(boxes.to_region((0, 0, 0.2, 0.2), crop)) == 0


def test_boxes_of_an_image_padded_to_a_square():
    # An image half as high as wide, padded below and above by half its height.
    np.testing.assert_allclose(
        boxes.to_region([[0, 0, 1, 1], [0, 0.5, 0.5, 1]], (-0.5, 0, 1.5, 1)),
        [[0.25, 0, 0.75, 1], [0.25, 0.5, 0.5, 1]],
    )
    with pytest.raises(BoxFormatError, match='no area'):
        boxes.to_region((0, 0, 1, 1), (0, 0, 0, 1))


def test_pixels_and_back():
    relative = boxes.pixels_to_relative([10, 20, 60, 80], height=100, width=200)
    np.testing.assert_allclose(relative, [0.1, 0.1, 0.6, 0.4])
    np.testing.assert_allclose(boxes.relative_to_pixels(relative, 100, 200), [10, 20, 60, 80])
    with pytest.raises(BoxFormatError, match='height 0'):
        boxes.pixels_to_relative([0, 0, 1, 1], 0, 5)


def test_clipping():
    np.testing.assert_allclose(boxes.clip_box((-0.5, 0.5, 2, 0.75)), [0, 0.5, 1, 0.75])
