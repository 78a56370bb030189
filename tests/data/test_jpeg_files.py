"""Decoding without Pillow gives Pillow's pixels, and leaves to it whatever is not plain."""

import io

import numpy as np
import pytest
from PIL import Image

from vlm.data.image_files import ImageError, decode_image
from vlm.data.jpeg_files import decode_sound_jpeg, reduced_size, sound_jpeg_size

from pictures import encoded, noise


def smooth(height: int, width: int) -> Image.Image:
    return Image.fromarray(noise(4, 5)).resize((width, height), Image.Resampling.BICUBIC)


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert('RGB'))


@pytest.mark.parametrize('mode', ['RGB', 'L'])
@pytest.mark.parametrize('progressive', [False, True])
@pytest.mark.parametrize('subsampling', ['4:4:4', '4:2:2', '4:2:0'])
@pytest.mark.parametrize('size', [(1, 1), (5, 7), (33, 17), (120, 160)])
def test_sound_files_have_pillows_pixels(mode, progressive, subsampling, size):
    for quality in (30, 95):
        image = smooth(*size).convert(mode)
        options = {'quality': quality, 'subsampling': subsampling, 'progressive': progressive}
        data = encoded(image, 'JPEG', **options)
        assert sound_jpeg_size(data) == size
        got = decode_sound_jpeg(data, size)
        assert np.array_equal(got, by_pillow(data))
        assert np.array_equal(decode_image(data), got)


def test_colours_of_other_kinds_are_left_to_pillow():
    assert sound_jpeg_size(encoded(smooth(8, 8).convert('CMYK'), 'JPEG')) is None


def test_a_file_that_libjpeg_warns_of_is_read_as_pillow_reads_it():
    data = encoded(smooth(40, 40), 'JPEG')
    stray = data[:-2] + bytes(64) + data[-2:]  # bytes before the end marker: harmless
    assert sound_jpeg_size(stray) == (40, 40) and decode_sound_jpeg(stray, (40, 40)) is None
    assert np.array_equal(decode_image(stray), by_pillow(data))
    short = data[: len(data) // 2]
    assert decode_sound_jpeg(short, (40, 40)) is None
    with pytest.raises(ImageError, match='(?i)truncated'):
        decode_image(short)


@pytest.mark.parametrize(
    ('size', 'at_least', 'want'),
    [
        ((480, 640), (224, 224), (240, 320)),
        ((480, 640), (240, 320), (240, 320)),
        ((480, 640), (241, 1), (480, 640)),
        ((480, 640), (1, 1), (60, 80)),
        ((479, 641), (120, 161), (120, 161)),  # quarters, rounded up
        ((10, 10), (200, 200), (10, 10)),
    ],
)
def test_a_half_a_quarter_or_an_eighth_that_is_large_enough(size, at_least, want):
    assert reduced_size(size, at_least) == want
    data = encoded(smooth(*size), 'JPEG')
    assert decode_sound_jpeg(data, size, at_least).shape == (*want, 3)
