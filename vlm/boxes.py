"""Boxes: their text (written strictly, read leniently) and their geometry.

A box is four floats `[y_min, x_min, y_max, x_max]` in [0, 1] of the image as stored: y before x,
origin at the top left. In text it is four codes in the same order, in one of two styles:

    loc      <loc0512><loc0256><loc0895><loc0767> cat ; <loc0000><loc0000><loc1023><loc1023> dog
    integer  256 128 448 384 : cat ; 0 0 500 500 : dog

`loc` is PaliGemma's (arXiv 2407.07726), 1,024 bins. `integer` with `bins=501` is LocCa's "up to
500" (arXiv 2403.19596) as plain text; there ' : ' stands between box and label, as in LocCa,
because a label may itself be a number.
"""

import dataclasses
import math
import re
import string
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from vlm.errors import UserError, unknown_name

Box = tuple[float, float, float, float]
BoxLike = np.ndarray | Sequence  # one box, or nested any number of times where a function says so

NOTHING = 'none'  # the answer of an image that holds none of what was asked for
STYLES = ('loc', 'integer')
EDGES = ('y_min', 'x_min', 'y_max', 'x_max')
# What float32 arithmetic may leave outside [0, 1] after a crop; anything further is a mistake.
ROUNDING = 1e-6

# What may stand at the ends of a label beside the colon that sets it apart from its box.
_EDGE = ':' + string.whitespace
# A whole location token or the beginning of one, so that '<loc05' spoils its box instead of
# disappearing into the label. Nine digits at most: Python refuses to read thousands of them.
_LOC = re.compile(r'<loc[^<>\s]*>?')
_LOC_CODE = re.compile(r'<loc([0-9]{1,9})>')
_INTEGER = re.compile(r'(?<![\w.+-])[0-9]{1,9}(?!\w|[.,][0-9])')
_LOC_RUN = re.compile(rf'{_LOC.pattern}(?:\s*{_LOC.pattern})*')
_INTEGER_RUN = re.compile(rf'{_INTEGER.pattern}(?:\s+{_INTEGER.pattern})*')


class BoxFormatError(UserError):
    """A box that cannot be written as text, or a target text that is not what the codec writes."""


@dataclasses.dataclass(frozen=True)
class LabelledBox:
    """One object: its box, and its label ('' where the text gives none)."""

    box: Box
    label: str = ''


@dataclasses.dataclass(frozen=True)
class ParsedBoxes:
    """What a text holds: the objects in order, and verbatim the pieces that are no proper box."""

    objects: list[LabelledBox]
    unreadable: list[str]


class PartlyMarked(list):
    """The (label, box) pairs of an image in which some classes alone were looked for.

    Attributes:
      absent: labels that the image is known not to hold.
      incomplete: labels of which not every object is marked.
      frequencies: of each of these labels and those of the pairs, 'r', 'c' or 'f' (LVIS,
        1908.03195: in 1 to 10 training images, in up to 100, in more).
    """

    def __init__(
        self,
        objects: Iterable[tuple[str, BoxLike]],
        absent: Sequence[str],
        incomplete: Sequence[str],
        frequencies: Mapping[str, str],
    ):
        super().__init__(objects)
        self.absent = list(absent)
        self.incomplete = list(incomplete)
        self.frequencies = dict(frequencies)


def location_token(code: int) -> str:
    """Returns the name of a location token: `<loc0007>` for 7."""
    return f'<loc{code:04d}>'


@dataclasses.dataclass(frozen=True)
class BoxCodec:
    """Boxes <-> text.

    A coordinate x in [0, 1] has the code round(x * (bins - 1)), halves to the even neighbour, and
    code c reads as c / (bins - 1): the error of a round trip is at most half a bin.

    Attributes:
      style: 'loc' (location tokens) or 'integer' (plain numbers).
      bins: how many codes there are; codes are 0..bins-1.
      separator: what stands between two objects: one word between two spaces.
      levels: write only this many, evenly spaced, of the codes (None: all). A small data set then
        meets every code it uses often enough to learn it; reading takes any code.
    """

    style: str = 'loc'
    bins: int = 1024
    separator: str = ' ; '
    levels: int | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise unknown_name('box style', self.style, STYLES, 'BoxCodec.style')
        if self.bins < 2:
            raise UserError(f'BoxCodec.bins is {self.bins}; a box needs at least 2')
        if self.levels is not None and not 2 <= self.levels <= self.bins:
            raise UserError(
                f'BoxCodec.levels is {self.levels}; it must be between 2 and bins = {self.bins}'
            )
        words = self.separator.split()
        if len(words) != 1 or self.separator != f' {words[0]} ' or words[0] == ':':
            raise UserError(
                f'BoxCodec.separator is {self.separator!r}; it must be one word between two '
                "spaces, such as ' ; ', and not ':'"
            )

    def encode_box(self, box: BoxLike) -> str:
        """Writes one box; raises BoxFormatError, naming box and reason, for one that is not proper.

        Refused: anything but four numbers, NaN, a coordinate outside [0, 1], y_max <= y_min or
        x_max <= x_min, and a box so thin that both its edges have one code.
        """
        levels = self.levels or self.bins
        codes = [self._code(round(x * (levels - 1)), levels) for x in checked_box(box)]
        if reason := self._flaw(codes):
            raise BoxFormatError(f'box {_shown(box)} has, in {levels} bins, {reason}')
        if self.style == 'loc':
            return ''.join(map(location_token, codes))
        return ' '.join(map(str, codes))

    def encode_objects(self, objects: Iterable[tuple[BoxLike, str]]) -> str:
        """Writes (box, label) pairs in the order given; 'none' if there are none.

        Runs of white space in a label become one space, and colons at its ends are doubled:
        'TOTAL:' is written 'TOTAL::', since ' : ' stands between a box and its label. Raises
        BoxFormatError for a box as `encode_box` does, and for a label that would not be read back,
        such as 'cat ; dog'.
        """
        return self.separator.join(self._encode_object(*pair) for pair in objects) or NOTHING

    def parse_strict(self, text: str) -> list[LabelledBox]:
        """Reads what `encode_objects` writes ('' has no objects); else raises BoxFormatError."""
        parsed = self.parse(text)
        if parsed.unreadable:
            raise BoxFormatError(f'no proper boxes: {parsed.unreadable[0]!r}{self._hint()}')
        written = self.encode_objects((o.box, o.label) for o in parsed.objects)
        if text not in (written, ''):
            raise BoxFormatError(f'boxes {text!r} are not in the form {written!r}')
        return parsed.objects

    def parse(self, text: str) -> ParsedBoxes:
        """Reads what a model wrote; never raises.

        A box is a run of exactly four codes, wherever it stands. Its label is the text up to the
        next box or separator; if that is empty, the text before the box where ' : ' stands between
        them (LocCa's 'a black cat : <box>'). Of colons at the ends of a label every second one is
        its own, see `encode_objects`. Unreadable are: a run of location tokens that is cut,
        too short, too long, out of range, inverted or without area; and a piece between separators
        that holds no box at all. Only '' and 'none' have neither objects nor anything unreadable.
        """
        objects, unreadable = [], []
        if text.strip().lower() in ('', NOTHING):
            return ParsedBoxes(objects, unreadable)
        between = rf'(?<!\S){re.escape(self.separator.strip())}(?!\S)'
        for piece in re.split(between, text):
            if piece.strip():  # a separator left over at the end of an answer announces nothing
                self._parse_piece(piece, objects, unreadable)
        if not objects and not unreadable:
            unreadable.append(text.strip())
        return ParsedBoxes(objects, unreadable)

    def _code(self, level: int, levels: int) -> int:
        return round(level * (self.bins - 1) / (levels - 1))

    def _encode_object(self, box: BoxLike, label: str) -> str:
        text = self.encode_box(box)
        label = ' '.join(label.split())
        if label:
            text += (' ' if self.style == 'loc' else ' : ') + _at_ends(_doubled, label)
        read = self.parse(text)
        if read.unreadable or [o.label for o in read.objects] != [label]:
            raise BoxFormatError(
                f'label {label!r} of box {_shown(box)} would not be read back: it must hold '
                f'neither boxes nor {self.separator!r}'
            )
        return text

    def _parse_piece(self, piece: str, objects: list[LabelledBox], unreadable: list[str]) -> None:
        """Reads one piece between separators, appending to the two lists."""
        runs = self._runs(piece)
        if not runs:
            unreadable.append(piece.strip())
            return
        ends = [run.start() for run in runs[1:]] + [len(piece)]
        for i, (run, end) in enumerate(zip(runs, ends, strict=True)):
            codes = self._codes(run.group())
            if codes is None or self._flaw(codes):
                unreadable.append(run.group())
                continue
            label = _label(piece[run.end() : end])
            before = piece[: run.start()].rstrip() if i == 0 else ''
            if not label and before.endswith(':'):
                label = _label(before)
            objects.append(LabelledBox(tuple(c / (self.bins - 1) for c in codes), label))

    def _runs(self, piece: str) -> list[re.Match]:
        """Finds the places of `piece` that stand for a box, well or badly written."""
        if self.style == 'loc':
            return list(_LOC_RUN.finditer(piece))
        # Captions hold numbers ("2 dogs on 1 couch"): only four in a row can be meant as a box.
        return [m for m in _INTEGER_RUN.finditer(piece) if len(m.group().split()) == 4]

    def _codes(self, run: str) -> list[int] | None:
        """Returns the codes of a run, or None if a token of it is malformed."""
        if self.style == 'integer':
            return [int(word) for word in run.split()]
        found = [_LOC_CODE.fullmatch(token) for token in _LOC.findall(run)]
        return [int(match[1]) for match in found] if all(found) else None

    def _flaw(self, codes: Sequence[int]) -> str:
        """Says what makes the codes no box; '' if they are one."""
        if len(codes) != 4:
            return f'{len(codes)} codes instead of 4'
        if max(codes) >= self.bins:
            return f'code {max(codes)} beyond {self.bins - 1}'
        for low, high in ((0, 2), (1, 3)):
            if codes[high] <= codes[low]:
                return f'{EDGES[high]} {codes[high]} not above {EDGES[low]} {codes[low]}'
        return ''

    def _hint(self) -> str:
        example = self.encode_box((0, 0, 1, 1))
        return f' (a box is y_min x_min y_max x_max, such as {example!r})'


def checked_box(box: BoxLike) -> list[float]:
    """Returns the four coordinates clipped to [0, 1], or raises BoxFormatError with the reason.

    Refused: anything but four numbers, NaN, a coordinate outside [0, 1] by more than rounding,
    y_max <= y_min or x_max <= x_min.
    """
    try:
        values = np.asarray(box, np.float64)
    except (TypeError, ValueError):
        raise BoxFormatError(f'box {_shown(box)} is not made of numbers') from None
    if values.shape != (4,):
        raise BoxFormatError(f'box {_shown(box)} has shape {values.shape} instead of (4,)')
    for name, value in zip(EDGES, values.tolist(), strict=True):
        if math.isnan(value):
            raise BoxFormatError(f'box {_shown(box)} has no number as {name}')
        if not -ROUNDING <= value <= 1 + ROUNDING:
            raise BoxFormatError(
                f'box {_shown(box)} has {name} outside [0, 1]; boxes are relative to the image'
            )
    for low, high in ((0, 2), (1, 3)):
        if values[high] <= values[low]:
            raise BoxFormatError(
                f'box {_shown(box)} has {EDGES[high]} not above {EDGES[low]}; '
                f'the order is {" ".join(EDGES)}'
            )
    return np.clip(values, 0, 1).tolist()


def _shown(box: object) -> str:
    """Shortens a box for an error message."""
    text = str(box.tolist() if isinstance(box, np.ndarray) else box)
    return text if len(text) <= 100 else text[:100] + '...'


def _label(text: str) -> str:
    return ' '.join(_at_ends(_halved, text).split())


def _at_ends(change: Callable[[str], str], text: str) -> str:
    """Applies `change` to what is nothing but colons and white space at either end of a text."""
    inner = text.lstrip(_EDGE)
    head, inner = text[: len(text) - len(inner)], inner.rstrip(_EDGE)
    tail = text[len(head) + len(inner) :]
    return change(head) + inner + change(tail)


def _doubled(edge: str) -> str:
    return edge.replace(':', '::')


def _halved(edge: str) -> str:
    """A colon by itself is no part of a label; of two, one is."""
    return edge.replace('::', '\0').replace(':', '').replace('\0', ':')


def box_area(box: BoxLike) -> Float[np.ndarray, '*B']:
    """Returns the areas of boxes [*B, 4]; 0 for inverted ones."""
    box = np.asarray(box, np.float64)
    return np.asarray(np.prod(np.maximum(box[..., 2:] - box[..., :2], 0), axis=-1))


def box_iou(a: BoxLike, b: BoxLike) -> Float[np.ndarray, '*B']:
    """Returns intersection over union, in [0, 1], of boxes [*B, 4] with boxes [*B, 4] (broadcast).

    Any one unit of length will do. Where a box is inverted or has no area the result is 0.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    top_left = np.maximum(a[..., :2], b[..., :2])
    bottom_right = np.minimum(a[..., 2:], b[..., 2:])
    both = np.prod(np.maximum(bottom_right - top_left, 0), axis=-1)
    either = box_area(a) + box_area(b) - both
    return np.where(both > 0, both / np.where(either > 0, either, 1), 0.0)


def pairwise_iou(a: BoxLike, b: BoxLike) -> Float[np.ndarray, 'n m']:
    """Returns the IoU of each of n boxes [n, 4] with each of m boxes [m, 4]; n or m may be 0."""
    a = np.asarray(a, np.float64).reshape(-1, 1, 4)
    b = np.asarray(b, np.float64).reshape(1, -1, 4)
    return box_iou(a, b)


def clip_box(box: BoxLike) -> Float[np.ndarray, '*B 4']:
    """Cuts boxes [*B, 4] to the image; one wholly outside keeps no area."""
    return np.clip(np.asarray(box, np.float64), 0, 1)


def flip_horizontal(box: BoxLike) -> Float[np.ndarray, '*B 4']:
    """Mirrors boxes [*B, 4] together with their image, left to right."""
    y_min, x_min, y_max, x_max = np.moveaxis(np.asarray(box, np.float64), -1, 0)
    return np.stack([y_min, 1 - x_max, y_max, 1 - x_min], axis=-1)


# EXIF orientation -> whether rows and columns change places, whether y and x are mirrored then.
_TURNS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}
_BACK = {6: 8, 8: 6}  # the others undo themselves


def turn_upright(box: BoxLike, orientation: int) -> Float[np.ndarray, '*B 4']:
    """Turns boxes [*B, 4] of a stored image with its pixels, as its EXIF orientation 1..8 says."""
    transpose, flip_y, flip_x = _TURNS[orientation]
    y_min, x_min, y_max, x_max = np.moveaxis(np.asarray(box, np.float64), -1, 0)
    if transpose:
        y_min, x_min, y_max, x_max = x_min, y_min, x_max, y_max
    if flip_y:
        y_min, y_max = 1 - y_max, 1 - y_min
    if flip_x:
        x_min, x_max = 1 - x_max, 1 - x_min
    return np.stack([y_min, x_min, y_max, x_max], axis=-1)


def turn_back(box: BoxLike, orientation: int) -> Float[np.ndarray, '*B 4']:
    """The inverse of `turn_upright`."""
    return turn_upright(box, _BACK.get(orientation, orientation))


def to_region(box: BoxLike, region: BoxLike) -> Float[np.ndarray, '*B 4']:
    """Expresses boxes [*B, 4] in the coordinates of a window of the image, cut to the window.

    `region` [4] is (y_min, x_min, y_max, x_max) of the same image; it may reach beyond [0, 1], as
    the window of a padded image does. A box outside of it comes back with `box_area` 0. Raises
    BoxFormatError for a region without area.
    """
    box, region = np.asarray(box, np.float64), np.asarray(region, np.float64)
    size = region[2:] - region[:2]
    if not (size > 0).all():
        raise BoxFormatError(f'region {_shown(region)} has no area')
    return clip_box((box - np.tile(region[:2], 2)) / np.tile(size, 2))


def pixels_to_relative(box: BoxLike, height: int, width: int) -> Float[np.ndarray, '*B 4']:
    """Divides boxes [*B, 4] of pixel edges (y before x, maxima exclusive) by the image's size."""
    return np.asarray(box, np.float64) / _scale(height, width)


def relative_to_pixels(box: BoxLike, height: int, width: int) -> Float[np.ndarray, '*B 4']:
    """Returns boxes [*B, 4] in pixel edges (y before x, the maxima exclusive), not rounded."""
    return np.asarray(box, np.float64) * _scale(height, width)


def _scale(height: int, width: int) -> Float[np.ndarray, '4']:
    if height < 1 or width < 1:
        raise BoxFormatError(f'an image of height {height} and width {width} holds no boxes')
    return np.array([height, width, height, width], np.float64)
