import hashlib
import json
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from vlm.data import image_files, images
from vlm.data.image_files import ImageError, absent_image, decode_image, encode_png, is_absent
from vlm.data.images import load_image, viewed_size
from vlm.data.views import View, attach_view

from pictures import (
    BLUE,
    GREEN,
    JPEG_TOLERANCE,
    RED,
    WHITE,
    YELLOW,
    assert_close,
    chunk,
    encoded,
    four_colours,
    noise,
    png,
)

HOSTILE = Path(__file__).parents[3] / 'shared/data/hostile'


# ---- formats and modes ----


@pytest.mark.parametrize(
    ('name', 'options', 'tolerance'),
    [
        ('PNG', {}, 0),
        ('GIF', {}, 0),
        ('BMP', {}, 0),
        ('WEBP', {'lossless': True}, 0),
        ('JPEG', {'quality': 100, 'subsampling': 0}, JPEG_TOLERANCE),
        ('JPEG', {'quality': 100, 'subsampling': 0, 'progressive': True}, JPEG_TOLERANCE),
    ],
)
def test_the_five_formats_are_read_by_content(name, options, tolerance):
    got = decode_image(encoded(Image.fromarray(four_colours()), name, **options))
    assert got.dtype == np.uint8
    assert_close(got, four_colours(), tolerance)


def test_lossy_webp_with_and_without_alpha():
    # Its colours are stored at half the resolution and bleed over edges, so each stands alone.
    for colour in (RED, GREEN, BLUE, YELLOW):
        image = Image.new('RGB', (16, 16), tuple(colour))
        want = np.asarray(image)
        assert_close(decode_image(encoded(image, 'WEBP', quality=100)), want, JPEG_TOLERANCE)
        image.putalpha(51)
        want = np.uint8(want // 5 + 204)
        assert_close(decode_image(encoded(image, 'WEBP', quality=100)), want, JPEG_TOLERANCE)


@pytest.mark.parametrize('name', ['TIFF', 'PPM', 'ICO', 'TGA', 'PDF', 'AVIF', 'JPEG2000'])
def test_no_other_format_is_opened(name):
    image = Image.fromarray(four_colours())
    try:
        data = encoded(image, name)
    except (KeyError, OSError):
        pytest.skip(f'this Pillow writes no {name}')
    with pytest.raises(ImageError, match='not a JPEG, PNG, GIF, BMP or WebP image'):
        decode_image(data)


@pytest.mark.parametrize(
    ('image', 'want'),
    [
        (Image.new('L', (2, 1), 77), [77, 77, 77]),
        (Image.new('1', (2, 1), 1), WHITE),
        (Image.new('LA', (2, 1), (100, 255)), [100, 100, 100]),
        (Image.new('LA', (2, 1), (100, 0)), WHITE),
        # alpha 51 = 1/5: 200/5 + 255*4/5 = 244; 0 + 204; 10/5 + 204 = 206
        (Image.new('RGBA', (2, 1), (200, 0, 10, 51)), [244, 204, 206]),
        (Image.new('RGBA', (2, 1), (200, 0, 10, 0)), WHITE),
        (Image.new('RGBA', (2, 1), (200, 0, 10, 255)), [200, 0, 10]),
    ],
)
def test_a_png_of_each_mode_gives_exact_pixels(image, want):
    assert decode_image(encoded(image, 'PNG')).tolist() == [[want, want]]


@pytest.mark.parametrize('name', ['PNG', 'GIF'])
@pytest.mark.parametrize('transparent', [None, 1])
def test_a_palette_and_its_transparent_entry(name, transparent):
    image = Image.new('P', (3, 1))
    image.putpalette([*RED, *GREEN, *BLUE])
    image.putdata([0, 1, 2])
    options = {} if transparent is None else {'transparency': transparent}
    got = decode_image(encoded(image, name, **options))
    assert got.tolist() == [[RED, GREEN if transparent is None else WHITE, BLUE]]


def test_a_palette_with_an_alpha_per_entry():
    image = Image.new('P', (3, 1))
    image.putpalette([0, 0, 0, 200, 0, 10, *BLUE])
    image.putdata([0, 1, 2])
    got = decode_image(encoded(image, 'PNG', transparency=bytes([0, 51, 255])))
    assert got.tolist() == [[WHITE, [244, 204, 206], BLUE]]


def test_a_gif_gives_its_first_frame():
    first, second = (Image.fromarray(np.full((4, 5, 3), c, np.uint8)) for c in (RED, BLUE))
    data = encoded(first, 'GIF', save_all=True, append_images=[second])
    assert (decode_image(data) == RED).all()


def test_a_gif_frame_may_reach_beyond_its_screen():
    data = bytearray(encoded(Image.fromarray(four_colours(4, 6)), 'GIF'))
    data[6:10] = struct.pack('<HH', 2, 2)
    assert decode_image(bytes(data)).tolist() == four_colours(4, 6).tolist()


# 65535 -> 255, 257 * k -> k, and 300 / 257 = 1.17 -> 1; a clip would give 255 for all but 200.
GRAY_16 = [0, 200, 300, 257 * 50, 0x8000, 65535]
GRAY_8 = [0, 1, 1, 50, 128, 255]


@pytest.mark.parametrize('mode', ['I;16', 'I;16B', 'I'])
def test_16_bit_gray_is_scaled_not_clipped(mode):
    kinds = {'I;16': '<u2', 'I;16B': '>u2', 'I': np.int32}
    samples = np.array([GRAY_16], kinds[mode])
    image = Image.frombytes(mode, (6, 1), samples.tobytes())
    got = np.asarray(image_files._to_rgb(image))
    assert got.tolist() == [[[v] * 3 for v in GRAY_8]]


def test_16_bit_png():
    gray = png(6, 16, 0, struct.pack('>6H', *GRAY_16))
    assert decode_image(gray).tolist() == [[[v] * 3 for v in GRAY_8]]
    rgb = png(2, 16, 2, struct.pack('>6H', 257, 257 * 9, 65535, 0, 257 * 128, 257 * 200))
    assert decode_image(rgb).tolist() == [[[1, 9, 255], [0, 128, 200]]]
    rgba = png(1, 16, 6, struct.pack('>4H', 257 * 200, 0, 257 * 10, 257 * 51))
    assert decode_image(rgba).tolist() == [[[244, 204, 206]]]


def test_a_transparent_colour_is_found_at_every_bit_depth():
    def key(*samples):
        return chunk(b'tRNS', struct.pack(f'>{len(samples)}H', *samples))

    two_bits = png(4, 2, 0, bytes([0b00011011]), key(1))
    assert decode_image(two_bits)[0, :, 0].tolist() == [0, 255, 170, 255]
    four_bits = png(2, 4, 0, bytes([0x5A]), key(5))
    assert decode_image(four_bits)[0, :, 0].tolist() == [255, 170]
    eight_bits = png(2, 8, 2, bytes([1, 2, 3, 1, 2, 4]), key(1, 2, 3))
    assert decode_image(eight_bits).tolist() == [[WHITE, [1, 2, 4]]]
    gray_16 = png(2, 16, 0, struct.pack('>2H', 300, 301), key(300))
    assert decode_image(gray_16)[0, :, 0].tolist() == [255, 1]
    colour_16 = png(2, 16, 2, struct.pack('>6H', 300, 600, 900, 0, 0, 0), key(300, 600, 900))
    assert decode_image(colour_16).tolist() == [[WHITE, [0, 0, 0]]]


@pytest.mark.parametrize('adobe', [True, False])
def test_cmyk_jpeg_is_not_inverted(adobe):
    ink = (0, 204, 102, 51)  # light 255 * .8 = 204 without ink; (1-c)(1-k) = 1, .2, .6 of it
    data = encoded(Image.new('CMYK', (16, 16), ink), 'JPEG', quality=100)
    assert data[2:11] == b'\xff\xee\x00\x0eAdobe'
    if not adobe:  # without the marker the samples are taken as they stand, so store them so
        stored = encoded(Image.new('CMYK', (16, 16), tuple(255 - v for v in ink)), 'JPEG')
        data = stored[:2] + stored[18:]
    want = np.full((16, 16, 3), [204, 41, 122], np.uint8)
    assert_close(decode_image(data), want, JPEG_TOLERANCE)


ORIENTED = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
    9: [[1, 2, 3], [4, 5, 6]],  # no such orientation
}


@pytest.mark.parametrize('orientation', ORIENTED)
def test_exif_orientation_is_applied_only_when_asked_for(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.uint8(ORIENTED[1])), 'PNG', exif=exif)
    assert decode_image(data)[..., 0].tolist() == ORIENTED[1]
    assert decode_image(data, apply_exif=True)[..., 0].tolist() == ORIENTED[orientation]


@pytest.mark.filterwarnings('ignore:Corrupt EXIF')
def test_unreadable_exif_counts_as_none():
    image = Image.fromarray(four_colours())
    data = encoded(image, 'JPEG', exif=b'Exif\0\0MM\0*\xff\xff\xff\xff broken')
    assert decode_image(data, apply_exif=True).shape == (32, 48, 3)


# ---- files that must be refused ----


@pytest.mark.parametrize(
    ('name', 'options', 'spare'),
    [
        ('JPEG', {}, 0),
        ('JPEG', {'progressive': True}, 0),
        ('PNG', {}, 0),
        ('GIF', {}, 2),  # an empty block and the trailer: all pixels are there without them
        ('BMP', {}, 2),  # the filling of the last row to a multiple of 4 bytes
        ('WEBP', {}, 0),
        ('WEBP', {'lossless': True}, 0),
    ],
)
def test_a_file_cut_short_anywhere_is_refused(name, options, spare):
    data = encoded(Image.fromarray(noise(20, 30)), name, **options)
    decode_image(data)
    ends = range(0, len(data) - spare, max(1, len(data) // 200))
    for end in [*ends, len(data) - spare - 1]:
        with pytest.raises(ImageError):
            decode_image(data[:end])


@pytest.mark.parametrize('kind', [b'IHDR', b'tEXt', b'IDAT', b'IEND'])
def test_a_wrong_crc_in_any_png_chunk_is_refused(kind):
    data = bytearray(png(2, 8, 0, b'ab', chunk(b'tEXt', b'Title\0picture')))
    at = data.index(kind)
    (length,) = struct.unpack_from('>I', data, at - 4)
    data[at + 4 + length] ^= 1
    with pytest.raises(ImageError, match=f"wrong CRC in chunk b'{kind.decode()}' at byte {at - 4}"):
        decode_image(bytes(data))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_wrong_bytes_raise_nothing_but_image_errors(seed):
    rng = np.random.default_rng(seed)
    name = rng.choice(['JPEG', 'PNG', 'GIF', 'BMP', 'WEBP'])
    data = bytearray(encoded(Image.fromarray(four_colours(8, 8)), str(name)))
    for at in rng.integers(0, len(data), 3):
        data[at] = rng.integers(256)
    try:
        got = decode_image(bytes(data), max_pixels=10_000)
    except ImageError as error:
        # No Pillow error, and with it no half-read image, hangs on to this one.
        assert error.__context__ is None
        assert '\n' not in str(error) and ' object at 0x' not in str(error)
    else:
        assert got.dtype == np.uint8 and got.shape[2] == 3


def test_messages_say_what_is_wrong():
    with pytest.raises(ImageError, match=r'^the image is empty \(0 bytes\)$'):
        decode_image(b'')
    with pytest.raises(ImageError, match=r"its first bytes are b'hello'$"):
        decode_image(b'hello')
    with pytest.raises(ImageError, match='^this JPEG image cannot be decoded: .*truncated'):
        decode_image(encoded(Image.fromarray(four_colours()), 'JPEG')[:-20])


def test_the_largest_size_is_a_limit_on_pixels():
    data = encoded(Image.fromarray(four_colours(10, 20)), 'BMP')
    assert decode_image(data, max_pixels=200).shape == (10, 20, 3)
    with pytest.raises(ImageError, match='20 x 10 pixels, 200 in all; at most 199 are decoded'):
        decode_image(data, max_pixels=199)


def bombs() -> dict[str, bytes]:
    """Headers without pixels. GIF and WebP stay below the size that Pillow itself refuses."""
    one = Image.new('RGB', (1, 1))
    jpeg, bmp = bytearray(encoded(one, 'JPEG')), bytearray(encoded(one, 'BMP'))
    sof = jpeg.index(b'\xff\xc0')
    jpeg[sof + 5 : sof + 9] = struct.pack('>HH', 65000, 65000)
    bmp[18:26] = struct.pack('<ii', 50000, 50000)
    header = chunk(b'IHDR', struct.pack('>IIBBBBB', 50000, 50000, 8, 2, 0, 0, 0))
    # With disposal method 2 Pillow's reader fills such a frame on opening the file: 169 MB.
    frame = b'!\xf9\x04\x08\0\0\0\0,' + struct.pack('<HHHHB', 0, 0, 13000, 13000, 0) + b'\x08\0;'
    less_one = struct.pack('<I', 12999)[:3]
    webp = {
        'VP8X': b'\0\0\0\0' + less_one + less_one,
        'VP8L': b'\x2f' + struct.pack('<I', 12999 | 12999 << 14),
        'VP8 ': b'\0\0\0\x9d\x01\x2a' + struct.pack('<HH', 13000, 13000),
    }
    for kind, body in webp.items():
        riff = b'WEBP' + kind.encode() + struct.pack('<I', len(body)) + body + bytes(20)
        webp[kind] = b'RIFF' + struct.pack('<I', len(riff)) + riff
    return {
        'PNG': b'\x89PNG\r\n\x1a\n' + header,
        'GIF': b'GIF89a' + struct.pack('<HHBBB', 1, 1, 0, 0, 0) + frame,
        'JPEG': bytes(jpeg),
        'BMP': bytes(bmp),
        **webp,
    }


MEMORY_SCRIPT = """
import resource, sys
from vlm.data.image_files import ImageError, decode_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode_image(sys.stdin.buffer.read())
except ImageError as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print('tensorflow' in sys.modules, error)
"""


@pytest.mark.parametrize('kind', bombs())
def test_a_decompression_bomb_is_refused_from_its_header(kind):
    side = {'PNG': 50000, 'BMP': 50000, 'JPEG': 65000}.get(kind, 13000)
    with pytest.raises(ImageError, match=f'the header says {side} x {side} pixels'):
        decode_image(bombs()[kind])


@pytest.mark.parametrize('kind', ['PNG', 'GIF', 'VP8X'])
def test_memory_stays_flat_on_a_bomb(kind):
    if sys.platform != 'linux':
        pytest.skip('ru_maxrss is in kilobytes on Linux only')
    run = [sys.executable, '-c', MEMORY_SCRIPT]
    done = subprocess.run(run, input=bombs()[kind], capture_output=True, check=True)
    grown, message = done.stdout.decode().splitlines()
    assert int(grown) < 5_000  # kilobytes; the pixels would take 169,000 and more
    assert message.startswith('False the header says')


def test_pillows_switches_and_the_warnings_are_left_alone():
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        inside = list(warnings.filters)
        for data in bombs().values():
            with pytest.raises(ImageError):
                decode_image(data)
        decode_image(encoded(Image.fromarray(four_colours()), 'GIF'))
        assert list(warnings.filters) == inside
    after = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)
    assert after == before


def test_eight_threads_read_what_one_reads():
    names = ['JPEG', 'PNG', 'GIF', 'BMP', 'WEBP']
    files = [encoded(Image.fromarray(noise(30 + i, 50)), names[i % 5]) for i in range(20)]
    files = [attach_view(f, View((-0.2, 0.1, 0.9, 1.2), i % 2 == 0)) for i, f in enumerate(files)]
    files += list(bombs().values()) + [b'', b'text', files[0][:500]]

    def load(data):
        try:
            return load_image(data, (24, 32), resize_mode='pad').tobytes()
        except ImageError as error:
            return str(error)

    alone = [load(data) for data in files]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(load, files * 10)) == alone * 10


# ---- the hostile files ----

REFUSED = {
    'bomb_header_50000.png': 'the header says 50000 x 50000 pixels',
    'crc_idat.png': "wrong CRC in chunk b'IDAT'",
    'text_named.jpg': 'not a JPEG, PNG, GIF, BMP or WebP image',
    'truncated.jpg': 'truncated',
    'truncated.png': 'truncated',
    'zero_bytes.jpg': 'the image is empty',
}
# The colours near the four corners of the scene: top left, top right, bottom left, bottom right.
SCENE = ([220, 30, 30], [30, 190, 30], [30, 30, 220], [230, 210, 30])
SCENE_TOLERANCE = 60  # the files' own noise, JPEG and palette; the colours are 150 and more apart


def corners(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[0] // 4, image.shape[1] // 4
    blocks = (
        image[:height, :width],
        image[:height, -width:],
        image[-height:, :width],
        image[-height:, -width:],
    )
    return np.stack([block.mean((0, 1)) for block in blocks])


@pytest.fixture(scope='module')
def hostile() -> dict[str, dict]:
    if not HOSTILE.is_dir():
        pytest.skip('the folder of hostile files is not beside this repository')
    entries = json.loads((HOSTILE / 'manifest.json').read_text())['files']
    return {e['file']: e for e in entries if not e['file'].endswith('.jsonl')}


def test_every_hostile_image_is_refused_or_read_as_its_manifest_says(hostile):
    assert len(hostile) == 18 and set(REFUSED) < set(hostile)
    for name, entry in hostile.items():
        data = (HOSTILE / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == entry['sha256'], name
        if name in REFUSED:
            with pytest.raises(ImageError, match=REFUSED[name]):
                decode_image(data)
            continue
        image = decode_image(data)
        turned = name == 'exif_orientation_6.jpg'  # the manifest has its size after turning
        if 'size' in entry:
            height, width = decode_image(data, apply_exif=turned).shape[:2]
            assert [width, height] == entry['size'], name
        if 'mean' in entry:
            assert abs(image.mean() - entry['mean']) < 1, name
        if 'first_frame' in entry:
            assert (image == entry['first_frame']).all(), name
        for mode in images.RESIZE_MODES:
            assert load_image(data, (32, 32), resize_mode=mode).shape == (32, 32, 3), name


@pytest.mark.parametrize(
    'name', ['good_reference.jpg', 'png_named.jpg', 'photo.webp', 'cmyk.jpg', 'palette_alpha.png']
)
def test_hostile_scenes_keep_orientation_and_channel_order(hostile, name):
    got = corners(decode_image((HOSTILE / name).read_bytes()))
    if name == 'palette_alpha.png':  # a part of the scene is transparent: white
        got = got[:1]
    assert np.abs(got - np.array(SCENE[: len(got)])).max() < SCENE_TOLERANCE


def test_hostile_orientation_alpha_and_gray(hostile):
    turned = (HOSTILE / 'exif_orientation_6.jpg').read_bytes()
    assert decode_image(turned).shape == (120, 80, 3)
    upright = decode_image(turned, apply_exif=True)
    assert upright.shape == (80, 120, 3)
    assert np.abs(corners(upright) - np.array(SCENE)).max() < SCENE_TOLERANCE
    hidden = decode_image((HOSTILE / 'rgba_hidden_left.png').read_bytes())
    assert (hidden[:, :32] == 255).all() and (hidden[:, 32:] != 255).any()
    gray = decode_image((HOSTILE / 'gray.jpg').read_bytes())
    assert (gray == gray[..., :1]).all()


# ---- encoding ----


def test_encode_png_loses_nothing():
    pixels = noise(9, 14)
    for level in (0, 6, 9):
        assert np.array_equal(decode_image(encode_png(pixels, compress_level=level)), pixels)
    flat = np.zeros((64, 64, 3), np.uint8)
    assert len(encode_png(flat)) < len(encode_png(flat, compress_level=0))
    assert np.array_equal(decode_image(encode_png(pixels[:, ::-1])), pixels[:, ::-1])


def test_what_stands_for_an_absent_image_says_why():
    data = absent_image('Größe: no such file')
    assert is_absent(data) and not is_absent(b'') and not is_absent(b'\x89PNG')
    viewed = attach_view(data, View(flip=True))
    reads = [decode_image, viewed_size, lambda d: load_image(d, (8, 8))]
    cases = [(read, data) for read in reads] + [(read, viewed) for read in reads[1:]]
    for read, encoded_bytes in cases:
        with pytest.raises(ImageError, match='^Größe: no such file$'):
            read(encoded_bytes)
