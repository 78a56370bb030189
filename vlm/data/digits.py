"""Scenes of real handwritten digits (scikit-learn's `load_digits`) composed by a seeded generator.

Two kinds on 64 x 64 RGB: 'strip', one to six digits on a line to be read left to right, and
'scattered', one to six digits anywhere to be found. Digits of the test scenes are never in a train
scene. Scene i depends on (seed, split, kind, i) alone, so any process can make any scene.
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
# Six of the smallest, with their gaps, are exactly as wide as the canvas.
STRIP_SIZES = (9, 16)
STRIP_GAP = 2
SCATTERED_SIZES = (11, 20)
SCATTERED_GAP = 1
# Fainter ink than this is erased, so that what a box holds is what an eye can see.
FAINTEST = 0.2


@dataclass(frozen=True)
class Digits:
    """The digits of a split, resized to every size from STRIP_SIZES[0] to SCATTERED_SIZES[1].

    `indices` are rows of load_digits. `sprites[size][k]` is float32[h, w], the ink of digit k in
    [0, 1], cropped to where it is not zero; `widths[size - STRIP_SIZES[0], k]` is at least its w
    and never falls with the size.
    """

    indices: Int[np.ndarray, ' M']
    labels: Int[np.ndarray, ' M']
    sprites: dict[int, list[np.ndarray]]
    widths: Int[np.ndarray, 'Z M']


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
    return (
        {'id': f'digits/{kind}/{split}/{index:06d}', **_scene(digits, kind, key, index)}
        for index in range(shard_index, count, num_shards)
    )


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
    sizes = range(STRIP_SIZES[0], SCATTERED_SIZES[1] + 1)
    sprites = {size: [_crop(ink) for ink in _resize(images, size)] for size in sizes}
    widths = np.array([[ink.shape[1] for ink in sprites[size]] for size in sizes])
    return Digits(indices, labels, sprites, np.maximum.accumulate(widths))


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


def _scene(digits: Digits, kind: str, key: np.ndarray, index: int) -> dict[str, Any]:
    """Composes scene `index`: everything of its record but the id."""
    rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
    chosen = rng.integers(len(digits.labels), size=rng.integers(1, MOST_DIGITS + 1))
    lay = _lay_strip if kind == 'strip' else _lay_scattered
    placed = sorted(lay(rng, digits, chosen), key=lambda p: (p.box[1] + p.box[3], p.y))
    return {
        'images': [_png(_paint(rng, placed))],
        'text': ''.join(p.label for p in placed),
        'kind': kind,
        'objects': [{'label': p.label, 'box': [edge / CANVAS for edge in p.box]} for p in placed],
    }


def _lay_strip(
    rng: np.random.Generator, digits: Digits, chosen: Int[np.ndarray, ' n']
) -> list[_Placed]:
    """Puts digits of nearly one size side by side on a baseline, each up to a pixel off it."""
    count, (smallest, largest) = len(chosen), STRIP_SIZES
    room = CANVAS - STRIP_GAP * (count - 1)
    fitting = int((digits.widths[: largest - smallest + 1, chosen].sum(1) <= room).sum())
    size = int(rng.integers(smallest, smallest + fitting))
    sizes = np.maximum(smallest, size - rng.integers(2, size=count)).tolist()
    inks = [digits.sprites[s][k] for s, k in zip(sizes, chosen.tolist(), strict=True)]

    room -= sum(ink.shape[1] for ink in inks)
    spread = rng.integers(min(3, room // count) + 1, size=count)
    x = int(rng.integers(room - spread[1:].sum() + 1))
    bottom = int(rng.integers(size + 1, CANVAS))
    jitter = rng.integers(-1, 2, size=count).tolist()
    placed = []
    for k, ink, space, off in zip(chosen, inks, [*spread[1:].tolist(), 0], jitter, strict=True):
        placed.append(_Placed(str(digits.labels[k]), bottom + off - ink.shape[0], x, ink))
        x += ink.shape[1] + STRIP_GAP + space
    return placed


def _lay_scattered(
    rng: np.random.Generator, digits: Digits, chosen: Int[np.ndarray, ' n']
) -> list[_Placed]:
    """Puts digits of different sizes anywhere, at least SCATTERED_GAP pixels between boxes.

    Where the draw leaves no place for a digit, the layout is drawn again with smaller digits. Five
    boxes of the smallest size block at most 5 * (2 * 11 + 1)**2 = 2645 of the 54**2 = 2916 places
    of a sixth, so this ends.
    """
    smallest, largest = SCATTERED_SIZES
    for limit in range(largest, smallest - 1, -1):
        sizes = rng.integers(smallest, limit + 1, size=len(chosen)).tolist()
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


def _paint(rng: np.random.Generator, placed: list[_Placed]) -> UInt8[np.ndarray, 'H W 3']:
    """Paints dark digits on a light background, or the reverse, each in a slightly other colour."""
    shades = rng.random((len(placed) + 1, 4), np.float32)
    tints = 40 * shades[:, 1:] - 20
    paper = (205 + 45 * shades[0, 0] + tints[0]).clip(0, 255)
    pens = 20 + 30 * shades[1, 0] + tints[1:]
    if rng.integers(2):
        paper, pens = 255 - paper, 255 - pens
    pixels = np.empty((CANVAS, CANVAS, 3), np.uint8)
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
