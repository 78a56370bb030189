import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vlm.data import images
from vlm.data.image_files import encode_png
from vlm.data.images import fitted_size, load_image, placed_box, resize_image, stored_box
from vlm.data.views import View, attach_view
from vlm.errors import UserError

from pictures import encoded, noise

# ---- resizing ----


def test_reducing_is_antialiased():
    # The triangle filter is 2 pixels wide on either side when 4 become 2: the weights of the first
    # result are 3, 3, 1 of 7 (distances .25, .25, .75 of the width), of the second 1, 3, 3.
    row = np.repeat(np.uint8([[0, 70, 140, 210]])[..., None], 3, axis=2)
    got = resize_image(row, (1, 2))
    assert got[0, :, 0].tolist() == [50, 160]
    assert resize_image(row, (1, 2), filter='nearest')[0, :, 0].tolist() == [70, 210]


def test_enlarging_is_linear_between_pixel_centres():
    row = np.repeat(np.uint8([[0, 100]])[..., None], 3, axis=2)
    assert resize_image(row, (1, 4))[0, :, 0].tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize('filter', images.FILTERS)
@pytest.mark.parametrize('size', [(5, 7), (20, 30), (64, 11)])
def test_a_file_and_its_pixels_resize_alike(filter, size):
    pixels = noise(20, 30)
    data = encode_png(pixels)
    for mode in images.RESIZE_MODES:
        want = resize_image(pixels, size, mode=mode, filter=filter)
        assert want.shape == (*size, 3)
        got = load_image(data, size, resize_mode=mode, filter=filter)
        assert np.array_equal(got, want)


def test_the_right_size_is_returned_uncopied():
    pixels = noise(6, 9)
    assert resize_image(pixels, (6, 9)) is pixels
    assert resize_image(pixels, (6, 9), mode='pad') is pixels


def test_pad_keeps_the_aspect_at_the_top_left():
    wide = np.full((10, 20, 3), 7, np.uint8)
    for side in (8, 40):  # reduced and enlarged
        got = resize_image(wide, (side, side), mode='pad')
        assert (got[: side // 2] == 7).all() and (got[side // 2 :] == images.PAD_VALUE).all()
    tall = resize_image(np.full((20, 10, 3), 7, np.uint8), (8, 8), mode='pad')
    assert (tall[:, :4] == 7).all() and (tall[:, 4:] == images.PAD_VALUE).all()


def test_no_side_vanishes():
    assert fitted_size((1, 20000), (224, 224)) == (1, 224)
    assert fitted_size((20000, 1), (224, 100)) == (224, 1)
    wide = np.full((1, 20000, 3), 9, np.uint8)
    got = resize_image(wide, (224, 224), mode='pad')
    assert (got[0] == 9).all() and (got[1:] == images.PAD_VALUE).all()
    assert (resize_image(wide, (224, 224)) == 9).all()


def decoded_sizes(monkeypatch) -> list[tuple[int, int]]:
    """(width, height) of what the decoder gives, from now on."""
    decode, sizes = images.decode_rgb, []

    def spy(*args):
        decoded = decode(*args)
        sizes.append(decoded.pixels.shape[1::-1])
        return decoded

    monkeypatch.setattr(images, 'decode_rgb', spy)
    return sizes


@pytest.mark.parametrize(
    ('view', 'decoded'),
    [(View(), (51, 38)), (View((0, 0, 0.5, 0.5)), (101, 75)), (View((0, 0, 0.1, 1)), (201, 150))],
)
@pytest.mark.parametrize('mode', images.RESIZE_MODES)
def test_a_jpeg_is_reduced_as_far_as_the_frame_allows(view, decoded, mode, monkeypatch):
    coarse = Image.fromarray(noise(3, 4))
    smooth = coarse.resize((201, 150), Image.Resampling.BICUBIC)
    data = attach_view(encoded(smooth, 'JPEG', quality=95), view)
    sizes = decoded_sizes(monkeypatch)
    whole, reduced = (
        load_image(data, (37, 40), resize_mode=mode, reduced_jpeg=each).astype(int)
        for each in (False, True)
    )
    assert sizes == [(201, 150), decoded]
    assert np.abs(whole - reduced).mean() < 4
    assert ((whole == 127).all(-1) == (reduced == 127).all(-1))[-1].all()  # as much is padded


@pytest.mark.parametrize('orientation', [1, 3, 6])
def test_a_reduced_jpeg_that_is_turned_lies_where_the_whole_one_does(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    smooth = Image.fromarray(noise(3, 4)).resize((201, 100), Image.Resampling.BICUBIC)
    data = encoded(smooth, 'JPEG', quality=95, exif=exif)
    options = {'resize_mode': 'pad', 'apply_exif': True}
    whole, reduced = (
        load_image(data, (40, 40), **options, reduced_jpeg=each).astype(int)
        for each in (False, True)
    )
    empty = (whole == 127).all(-1)
    assert empty.sum() == 20 * 40 and (empty[:, -1] if orientation == 6 else empty[-1]).all()
    assert ((reduced == 127).all(-1) == empty).all() and np.abs(whole - reduced).mean() < 4


@pytest.mark.parametrize('name', ['PNG', 'JPEG'])
def test_what_cannot_be_reduced_stays_as_it_is(name):
    data = encoded(Image.fromarray(noise(60, 60)), name)
    for size in ((31, 20), (64, 64)) if name == 'JPEG' else ((7, 7),):
        want = load_image(data, size, apply_exif=True)
        assert np.array_equal(load_image(data, size, apply_exif=True, reduced_jpeg=True), want)


def test_misspelt_settings_name_the_right_ones():
    with pytest.raises(UserError, match=r"unknown resize mode 'padd'\. Nearest: pad"):
        load_image(b'', (4, 4), resize_mode='padd')
    with pytest.raises(UserError, match=r"unknown resize filter 'bilinaer'\. Nearest: bilinear"):
        resize_image(noise(2, 2), (4, 4), filter='bilinaer')
    with pytest.raises(ValueError, match='cannot resize to'):
        resize_image(noise(2, 2), (0, 4))


# ---- boxes under a resize ----

side = st.integers(1, 3000)
coordinate = st.floats(0, 1)


@settings(deadline=None)
@given(st.tuples(*[coordinate] * 4), side, side, side, side, st.sampled_from(images.RESIZE_MODES))
def test_placed_box_and_stored_box_are_inverse(box, height, width, h, w, mode):
    placed = placed_box(box, (height, width), (h, w), mode)
    assert ((placed >= 0) & (placed <= 1)).all()
    back = stored_box(placed, (height, width), (h, w), mode)
    np.testing.assert_allclose(back, box, rtol=1e-12, atol=1e-12)
    if mode == 'square':
        assert placed.tolist() == list(box)


def test_boxes_move_under_pad_by_hand():
    got = placed_box([[0, 0, 1, 1], [0.5, 0.5, 1, 0.75]], (10, 20), (8, 8), 'pad')
    assert got.tolist() == [[0, 0, 0.5, 1], [0.25, 0.5, 0.5, 0.75]]
    assert stored_box([0, 0, 1, 1], (10, 20), (8, 8), 'pad').tolist() == [0, 0, 2, 1]
    with pytest.raises(UserError, match='Nearest: square'):
        placed_box([0, 0, 1, 1], (10, 20), (8, 8), 'sqare')
