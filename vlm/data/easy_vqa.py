"""The `easy-vqa` package as records: 64 x 64 pictures of one coloured shape with yes/no questions.

What a picture shows is read from its own questions and answers; only a colour or shape that those
leave open is measured in the pixels. The box is always measured.
"""

import functools
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8, UInt32
from PIL import Image

from vlm.errors import UserError, unknown_name

SPLITS = ('train', 'test')
SHAPES = ('circle', 'rectangle', 'triangle')
COLOURS = {
    'blue': (0, 0, 255),
    'green': (0, 255, 0),
    'red': (255, 0, 0),
    'gray': (128, 128, 128),
    'teal': (0, 128, 128),
    'black': (0, 0, 0),
    'yellow': (255, 255, 0),
    'brown': (165, 42, 42),
}

# The pictures were drawn larger and shrunk with a two-pixel filter. An edge on a pixel border
# leaves about 1/8 of the shape's colour in the pixel outside it and an edge through a pixel leaves
# 1/2 or more, so a quarter keeps the shape's own pixels and drops the filter's fringe.
INK = 0.25


@dataclass(frozen=True)
class Measured:
    """What the pixels say; `box` is [y0, x0, y1, x1] of the picture, max edges exclusive."""

    colour: str
    shape: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class _Stored:
    """One picture's file, and its (question, answer) pairs."""

    path: Path
    pairs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Picture:
    """One picture as cached: immutable, so that no reader of a record can change the next one's."""

    number: int
    png: bytes
    pairs: tuple[tuple[str, str], ...]
    label: str
    box: tuple[float, float, float, float]


def read_images(split: str) -> Iterator[dict[str, Any]]:
    """Returns one record a picture of 'train' (4,000) or 'test' (1,000), by ascending number.

    A record: id, images [one PNG], questions, answers, label ('blue triangle'), caption ('a blue
    triangle'), objects [{label, box [y0, x0, y1, x1]}]. Raises UserError for another split or where
    the package is not installed.
    """
    return (_record(split, _picture(split, number)) for number in _stored(split))


def count_questions(split: str) -> int:
    """Counts the questions of a split: 38,575 in 'train', 9,673 in 'test'."""
    return sum(len(stored.pairs) for stored in _stored(split).values())


def read_facts(pairs: Sequence[tuple[str, str]]) -> tuple[set[str], set[str]]:
    """Returns the colours and the shapes that (question, answer) pairs of one picture allow.

    One name is left in a set where the pairs settle it; all of them where nothing was asked.
    """
    allowed = set(COLOURS) | set(SHAPES)
    for question, answer in pairs:
        allowed &= _allowed(question, answer)
    return allowed & set(COLOURS), allowed & set(SHAPES)


# A split asks only a few hundred different questions.
@functools.lru_cache(maxsize=1024)
def _allowed(question: str, answer: str) -> frozenset[str]:
    words = set(re.findall(r'[a-z]+', question.lower()))
    # 'is there not a red shape? no' says that there is one; 'what is the blue shape?' takes its
    # blue for granted.
    denies = answer in ('yes', 'no') and (answer == 'no') != bool(words & {'not', 'no'})
    allowed = frozenset(COLOURS) | frozenset(SHAPES)
    for kind in (frozenset(COLOURS), frozenset(SHAPES)):
        named = (words | {answer}) & kind
        if named:
            allowed -= named if denies else kind - named
    return allowed


def measure(pixels: UInt8[np.ndarray, 'H W 3']) -> Measured:
    """Measures the one shape of a picture: its colour, its kind and its tight pixel box."""
    codes = _codes(pixels)
    known = _codes(np.array(list(COLOURS.values()), np.uint8))
    colour = list(COLOURS)[int((known[:, None] == codes.ravel()).sum(1).argmax())]
    cover = _coverage(pixels.astype(np.float32), _background(codes), COLOURS[colour])
    rows, columns = cover.max(1), cover.max(0)
    # Edge pixels count by how much of them is covered, so these lengths are exact to a fraction of
    # a pixel, and the filled share of the box is 1/2, pi/4 or 1.
    filled = cover.sum() / (rows.sum() * columns.sum())
    shape = 'triangle' if filled < 0.64 else 'circle' if filled < 0.89 else 'rectangle'
    ys, xs = np.flatnonzero(rows >= INK), np.flatnonzero(columns >= INK)
    height, width = cover.shape
    box = (ys[0] / height, xs[0] / width, (ys[-1] + 1) / height, (xs[-1] + 1) / width)
    return Measured(colour, shape, tuple(float(edge) for edge in box))


def _codes(pixels: UInt8[np.ndarray, '*n 3']) -> UInt32[np.ndarray, '*n']:
    """Returns 0xRRGGBB, one number a pixel."""
    red, green, blue = (pixels[..., c].astype(np.uint32) for c in range(3))
    return red << 16 | green << 8 | blue


def _background(codes: UInt32[np.ndarray, 'H W']) -> UInt8[np.ndarray, '3']:
    """Returns the colour of most of the border, which a shape may touch but cannot cover half of.

    A colour that fills more than half of a list is also the middle of the sorted list.
    """
    border = np.concatenate([codes[0], codes[-1], codes[:, 0], codes[:, -1]])
    middle = int(np.sort(border)[border.size // 2])
    return np.array([middle >> 16, middle >> 8 & 255, middle & 255], np.uint8)


def _coverage(
    pixels: Float[np.ndarray, 'H W 3'],
    background: UInt8[np.ndarray, '3'],
    ink: tuple[int, int, int],
) -> Float[np.ndarray, 'H W']:
    """Returns how much of each pixel the shape covers, in [0, 1]."""
    towards = np.array(ink, np.float32) - background
    return (pixels - background) @ (towards / (towards @ towards))


@functools.lru_cache(maxsize=len(SPLITS))
def _stored(split: str) -> dict[int, _Stored]:
    """What the package has of a split, by ascending number."""
    if split not in SPLITS:
        raise unknown_name('split', split, SPLITS, 'easy_vqa')
    package = _package()
    paths = getattr(package, f'get_{split}_image_paths')()
    pairs: dict[int, list[tuple[str, str]]] = {number: [] for number in sorted(paths)}
    for question, answer, number in zip(*getattr(package, f'get_{split}_questions')(), strict=True):
        pairs[number].append((question, answer))
    return {number: _Stored(Path(paths[number]), tuple(pairs[number])) for number in pairs}


def _package() -> ModuleType:
    try:
        import easy_vqa
    except ImportError:
        raise UserError(
            "the easy_vqa tasks need the package 'easy-vqa'. Install it: pip install easy-vqa"
        ) from None
    return easy_vqa


@functools.cache
def _picture(split: str, number: int) -> _Picture:
    stored = _stored(split)[number]
    png = stored.path.read_bytes()
    found = measure(np.asarray(Image.open(io.BytesIO(png)).convert('RGB')))
    colours, shapes = read_facts(stored.pairs)
    colour = colours.pop() if len(colours) == 1 else found.colour
    shape = shapes.pop() if len(shapes) == 1 else found.shape
    return _Picture(number, png, stored.pairs, f'{colour} {shape}', found.box)


def _record(split: str, picture: _Picture) -> dict[str, Any]:
    return {
        'id': f'easy_vqa/{split}/{picture.number}',
        'images': [picture.png],
        'questions': [question for question, _ in picture.pairs],
        'answers': [answer for _, answer in picture.pairs],
        'label': picture.label,
        'caption': f'a {picture.label}',
        'objects': [{'label': picture.label, 'box': list(picture.box)}],
    }
