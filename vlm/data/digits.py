"""Scenes of real handwritten digits (scikit-learn's `load_digits`) composed by a seeded generator.

Two kinds, RGB, dark digits on light paper: 'strip', 32 x 64 pixels, one to six digits in the cells
of a form from its left edge on, to be read left to right; and 'scattered', 64 x 64 pixels, one to
six digits anywhere, to be found. Digits of the test scenes are never in a train scene. Scene i
depends on (seed, split, kind, i) alone, so any process can make any scene.
"""

import functools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from vlm.errors import UserError, unknown_name

SPLITS = ('train', 'test')
KINDS = ('strip', 'scattered')
CANVAS = 64
MOST_DIGITS = 6
# A size is the side of the square a whole 8 x 8 digit is resized to; its ink is rarely as wide.
STRIP_HEIGHT = 32
STRIP_SIZES = range(9, 15)
STRIP_GAP = 1
# A test scene has 1, 2, ... 6 digits equally often, a train scene of n digits is as frequent as
# n**-power: short ones teach what digits look like, long ones then which is where.
TRAIN_POWER = {'strip': 0.5, 'scattered': 0.3}
# The smaller sizes are used where the usual ones find no place.
SCATTERED_SIZES = range(20, 29)
SMALLEST = 11
SCATTERED_GAP = 1
# Fainter ink than this is erased, so that what a box holds is what an eye can see.
FAINTEST = 0.2


@dataclass(frozen=True)
class Digits:
    """The digits of a split, resized to every size a scene may use.

    `indices` are rows of load_digits. `sprites[size][k]` is float32[h, w], the ink of digit k in
    [0, 1], cropped to where it is not zero.
    """

    indices: Int[np.ndarray, ' M']
    labels: Int[np.ndarray, ' M']
    sprites: dict[int, list[np.ndarray]]


@dataclass(frozen=True)
class _Placed:
    """One digit on the canvas: its ink float32[h, w] with the top left corner at (y, x)."""

    label: str
    y: int
    x: int
    ink: np.ndarray

    @property
    def box(self) -> tuple[int, int, int, int]:
        """[y0, x0, y1, x1] in pixels, max edges exclusive."""
        height, width = self.ink.shape
        return self.y, self.x, self.y + height, self.x + width


def read_scenes(
    split: str,
    count: int,
    kind: str,
    seed: int = 0,
    shard_index: int = 0,
    num_shards: int = 1,
) -> Iterator[dict[str, Any]]:
    """Returns records of scenes shard_index, shard_index + num_shards, ... below `count`, lazily.

    A record: id, images [one PNG], text (the digits left to right by the centres of their boxes),
    kind, objects [{label, box [y0, x0, y1, x1]}] in the order of the text; a box is tight around
    the pixels that differ from the background. Raises UserError for a split, kind or number that
    cannot be, or where scikit-learn is not installed.
    """
    _check(split, count, kind, seed, shard_index, num_shards)
    digits = load_split(split)
    # Philox is addressed, not run through: the key names the data set, the upper word of the
    # counter the scene, so scenes share no random numbers and need no predecessors.
    source = np.random.SeedSequence([seed, SPLITS.index(split), KINDS.index(kind)])
    key = source.generate_state(2, np.uint64)
    lengths = _lengths(split, kind)
    return (
        {'id': f'digits/{kind}/{split}/{index:06d}', **_scene(digits, kind, lengths, key, index)}
        for index in range(shard_index, count, num_shards)
    )


def _lengths(split: str, kind: str) -> Float[np.ndarray, ' n']:
    """How often a scene has 1, 2, ... digits."""
    power = TRAIN_POWER[kind] if split == 'train' else 0.0
    shares = np.arange(1, MOST_DIGITS + 1) ** -power
    return shares / shares.sum()


@functools.lru_cache(maxsize=len(SPLITS))
def load_split(split: str) -> Digits:
    """Loads the digits of 'train' (about 80 % of each class) or 'test' (the others)."""
    if split not in SPLITS:
        raise unknown_name('split', split, SPLITS, 'digits')
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "the digits tasks need the package 'scikit-learn'. Install it: pip install scikit-learn"
        ) from None
    data = load_digits()
    indices = _split_indices(data.target)[SPLITS.index(split)]
    return _with_sprites(indices, data.target[indices], data.images[indices] / 16)


def _split_indices(labels: Int[np.ndarray, ' M']) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of train and of test, ascending: the same on every machine, for good."""
    # numpy promises never to change what RandomState draws; Generator's methods may change.
    random = np.random.RandomState(0)
    train, test = [], []
    for label in range(10):
        rows = random.permutation(np.flatnonzero(labels == label))
        held_out = round(0.2 * len(rows))
        test.append(rows[:held_out])
        train.append(rows[held_out:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def _with_sprites(
    indices: Int[np.ndarray, ' M'],
    labels: Int[np.ndarray, ' M'],
    images: Float[np.ndarray, 'M 8 8'],
) -> Digits:
    sizes = range(STRIP_SIZES.start, SCATTERED_SIZES.stop)
    sprites = {size: [_crop(ink) for ink in _resize(images, size)] for size in sizes}
    return Digits(indices, labels, sprites)


def _resize(images: Float[np.ndarray, 'M 8 8'], size: int) -> Float[np.ndarray, 'M size size']:
    """Resizes all digits at once (bicubic) and steepens their blurred edges."""
    # Resizing is linear: resized rows of the identity are the matrix that resizes any column.
    identity = Image.fromarray(np.eye(8, dtype=np.float32))
    matrix = np.asarray(identity.resize((8, size), Image.Resampling.BICUBIC))
    ink = np.clip(1.5 * (matrix @ images.astype(np.float32) @ matrix.T) - 0.2, 0, 1)
    return np.where(ink < FAINTEST, np.float32(0), ink)


def _crop(ink: Float[np.ndarray, 'H W']) -> Float[np.ndarray, 'h w']:
    ys, xs = np.flatnonzero(ink.any(1)), np.flatnonzero(ink.any(0))
    return ink[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]


def _scene(
    digits: Digits, kind: str, lengths: Float[np.ndarray, ' n'], key: np.ndarray, index: int
) -> dict[str, Any]:
    """Composes scene `index`: everything of its record but the id."""
    rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
    count = 1 + rng.choice(MOST_DIGITS, p=lengths)
    chosen = rng.integers(len(digits.labels), size=count)
    lay, height = (_lay_strip, STRIP_HEIGHT) if kind == 'strip' else (_lay_scattered, CANVAS)
    placed = sorted(lay(rng, digits, chosen), key=lambda p: (p.box[1] + p.box[3], p.y))
    scale = (height, CANVAS, height, CANVAS)
    return {
        'images': [_png(_paint(rng, placed, height))],
        'text': ''.join(p.label for p in placed),
        'kind': kind,
        'objects': [
            {'label': p.label, 'box': [edge / of for edge, of in zip(p.box, scale, strict=True)]}
            for p in placed
        ],
    }


def _lay_strip(
    rng: np.random.Generator, digits: Digits, chosen: Int[np.ndarray, ' n']
) -> list[_Placed]:
    """Puts each digit into the next cell of a form, nearly as large as fits, up to a pixel off."""
    edges = np.linspace(0, CANVAS, MOST_DIGITS + 1).astype(int)
    offsets = rng.integers(-1, 2, size=(len(chosen), 2)).tolist()
    smaller = rng.integers(3, size=len(chosen)).tolist()
    placed = []
    for k, left, right, (down, aside), less in zip(
        chosen.tolist(), edges[:-1], edges[1:], offsets, smaller, strict=False
    ):
        room = int(right - left) - STRIP_GAP
        inks = [ink for s in STRIP_SIZES if _fits(ink := digits.sprites[s][k], room)]
        ink = inks[max(0, len(inks) - 1 - less)]
        height, width = ink.shape
        y = min(max((STRIP_HEIGHT - height) // 2 + down, 0), STRIP_HEIGHT - height)
        x = int(left) + min(max((room - width) // 2 + aside, 0), room - width)
        placed.append(_Placed(str(digits.labels[k]), y, x, ink))
    return placed


def _fits(ink: np.ndarray, room: int) -> bool:
    """Whether a digit fits a cell; those of the smallest size, nine pixels, always do."""
    return ink.shape[0] <= STRIP_HEIGHT - 2 and ink.shape[1] <= room


def _lay_scattered(
    rng: np.random.Generator, digits: Digits, chosen: Int[np.ndarray, ' n']
) -> list[_Placed]:
    """Puts digits of different sizes anywhere, at least SCATTERED_GAP pixels between boxes.

    Where the draw leaves no place for a digit, the layout is drawn again with smaller digits. Five
    boxes of the smallest size block at most 5 * (2 * 11 + 1)**2 = 2645 of the 54**2 = 2916 places
    of a sixth, so this ends.
    """
    for largest in range(SCATTERED_SIZES.stop - 1, SMALLEST - 1, -1):
        least = min(SCATTERED_SIZES.start, largest)
        sizes = rng.integers(least, largest + 1, size=len(chosen)).tolist()
        placed: list[_Placed] = []
        for k, size in zip(chosen.tolist(), sizes, strict=True):
            ink = digits.sprites[size][k]
            places = _free_places(placed, *ink.shape)
            if not places.size:
                break
            y, x = divmod(int(places[rng.integers(places.size)]), CANVAS - ink.shape[1] + 1)
            placed.append(_Placed(str(digits.labels[k]), y, x, ink))
        else:
            return placed
    raise AssertionError('the smallest digits always fit')


def _free_places(placed: list[_Placed], height: int, width: int) -> Int[np.ndarray, ' n']:
    """Returns the top left corners, y * (CANVAS - width + 1) + x, where a new box keeps clear."""
    free = np.ones((CANVAS - height + 1, CANVAS - width + 1), bool)
    for other in placed:
        y0, x0, y1, x1 = other.box
        top, left = y0 - height - SCATTERED_GAP + 1, x0 - width - SCATTERED_GAP + 1
        free[max(0, top) : y1 + SCATTERED_GAP, max(0, left) : x1 + SCATTERED_GAP] = False
    return np.flatnonzero(free)


def _paint(
    rng: np.random.Generator, placed: list[_Placed], height: int
) -> UInt8[np.ndarray, 'H W 3']:
    """Paints dark digits on light paper, each in a slightly other colour."""
    shades = rng.random((len(placed) + 1, 4), np.float32)
    tints = 40 * shades[:, 1:] - 20
    paper = (205 + 45 * shades[0, 0] + tints[0]).clip(0, 255)
    pens = 20 + 30 * shades[1, 0] + tints[1:]
    pixels = np.empty((height, CANVAS, 3), np.uint8)
    pixels[:] = paper.astype(np.uint8)
    for digit, pen in zip(placed, pens, strict=True):
        y0, x0, y1, x1 = digit.box
        pixels[y0:y1, x0:x1] = paper + digit.ink[..., None] * (pen - paper)
    return pixels


def _png(pixels: UInt8[np.ndarray, 'H W 3']) -> bytes:
    """Encodes RGB as PNG (W3C, 11.2): unfiltered rows, the fastest deflate.

    Pillow spends longer on trying filters than a whole scene takes here, for a larger file.
    """
    height, width, _ = pixels.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    chunks = ((b'IHDR', header), (b'IDAT', zlib.compress(rows, level=1)), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
        for name, data in chunks
    )


def _check(split: str, count: int, kind: str, seed: int, shard_index: int, num_shards: int) -> None:
    if split not in SPLITS:
        raise unknown_name('split', split, SPLITS, 'digits')
    if kind not in KINDS:
        raise unknown_name('kind of scene', kind, KINDS, 'digits')
    if count < 0 or seed < 0:
        raise UserError(f'digits: count and seed must be at least 0, got {count} and {seed}.')
    if not 0 <= shard_index < num_shards:
        raise UserError(
            f'digits: shard_index must be in 0..num_shards-1, got {shard_index} of {num_shards}.'
        )
