"""What an NLVR picture shows, and phrases for numbers of objects and places, with their checks.

Bare numbers are exact, 'a' is at least one: the readings that agree best with the annotators'
labels of the train split.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, NamedTuple

COLORS = ('black', 'blue', 'yellow')
SHAPES = ('circle', 'square', 'triangle')
SIZES = {'small': 10, 'medium': 20, 'big': 30}
NUMBERS = ('no', 'one', 'two', 'three', 'four', 'five', 'six', 'seven')
BOX_SIDE = 100  # pixels
_NAMES = {'Black': 'black', '#0099ff': 'blue', 'Yellow': 'yellow'}


class Thing(NamedTuple):
    """An object; x and y of its top left corner are counted from that of its box."""

    color: str
    shape: str
    size: int
    x: int
    y: int


Box = list[Thing]  # from top to bottom
Scene = list[Box]  # from left to right
Fits = Callable[[Thing], bool]
Enough = Callable[[int], bool]
Clause = tuple[str, Callable[[Box], bool]]  # what a box has
Statement = tuple[str, Callable[[Scene], bool]]


def scene_of(structured_rep: list[list[Mapping[str, Any]]]) -> Scene:
    """The boxes of an annotation."""
    boxes = [
        [Thing(_NAMES[o['color']], o['type'], o['size'], o['x_loc'], o['y_loc']) for o in box]
        for box in structured_rep
    ]
    return [sorted(box, key=lambda thing: thing.y) for box in boxes]


def things_of(scene: Scene) -> Box:
    """All objects of the picture."""
    return [thing for box in scene for thing in box]


def is_tower(scene: Scene) -> bool:
    """Whether each box holds a tower of blocks; in the others objects are scattered."""
    return all((o.shape, o.size, o.x) == ('square', 20, 40) for o in things_of(scene))


def pick(rng: Random, weights: Mapping[Any, float]) -> Any:
    """One of the keys."""
    return rng.choices(list(weights), weights.values())[0]


def number(rng: Random, n: int) -> str:
    """'2' or 'two'."""
    return rng.choice((str(n), NUMBERS[n]))


def amount(rng: Random, most: int = 5, article: float = 0.5) -> tuple[str, bool, Enough]:
    """'at least two', whether a plural follows, and the check of a number; `article`: 'a' for 1."""
    n = min(rng.choice((1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7)), most)
    if n == 1 and rng.random() < article:
        return 'a', False, lambda k: k >= 1
    kind = pick(rng, {'': 3, 'exactly': 2, 'at least': 2, 'only': 1, 'rare': 1})
    if kind == 'rare':
        kind = rng.choice(('more than', 'less than', 'at most', 'just', 'atleast'))
    checks = {
        'at least': lambda k: k >= n,
        'atleast': lambda k: k >= n,
        'more than': lambda k: k > n,
        'less than': lambda k: k < n,
        'at most': lambda k: k <= n,
    }
    return f'{kind} {number(rng, n)}'.strip(), n > 1, checks.get(kind, lambda k: k == n)


def amount_or_none(rng: Random, most: int, none: float) -> tuple[str, bool, Enough]:
    """`amount`, or 'no' with probability `none`."""
    if rng.random() < none:
        return 'no', False, lambda k: k == 0
    return amount(rng, most)


def noun(rng: Random, tower: bool) -> str:
    """What objects are called whose shape does not matter."""
    if tower:
        return pick(rng, {'block': 3, 'item': 1, 'square': 1})
    return pick(rng, {'item': 2, 'object': 1})


def things(
    rng: Random, plural: bool, tower: bool, colored: float = 0.75, shaped: float = 0.5
) -> tuple[str, Fits]:
    """'small blue circles', and the check of an object."""
    size = rng.choice(list(SIZES)) if not tower and rng.random() < 0.05 else None
    color = rng.choice(COLORS) if rng.random() < colored else None
    shape = rng.choice(SHAPES) if not tower and rng.random() < shaped else None
    words = (size, color, (shape or noun(rng, tower)) + 's' * plural)

    def fits(thing: Thing) -> bool:
        return (
            color in (None, thing.color)
            and shape in (None, thing.shape)
            and (size is None or thing.size == SIZES[size])
        )

    return ' '.join(word for word in words if word), fits


def some(rng: Random, tower: bool, most: int, article: float, **options: float) -> Clause:
    """'two blue circles', and the check of a box."""
    words, plural, enough = amount(rng, most, article)
    named, fits = things(rng, plural, tower, **options)
    return f'{words} {named}', lambda box: enough(sum(map(fits, box)))


def there(words: str, plural: bool) -> str:
    """'there are two boxes'."""
    return f'there {"are" if plural else "is"} {words}'


def _left(thing: Thing) -> bool:
    return thing.x == 0


def _right(thing: Thing) -> bool:
    return thing.x + thing.size == BOX_SIDE


def _roof(thing: Thing) -> bool:
    return thing.y == 0


def _base(thing: Thing) -> bool:
    return thing.y + thing.size == BOX_SIDE


def at_edge(thing: Thing) -> bool:
    """Whether it touches its box."""
    return _left(thing) or _right(thing) or _roof(thing) or _base(thing)


def _corner(thing: Thing) -> bool:
    return (_left(thing) or _right(thing)) and (_roof(thing) or _base(thing))


EDGES = ('the edge', 'any edge', 'the wall')
_PLACES = {
    **{f'touching {edge}': at_edge for edge in (*EDGES, 'the side')},
    'closely touching a wall of a box': at_edge,
    'touching the base': _base,
    'touching the bottom base': _base,
    'closely touching the bottom of a box': _base,
    'closely touching right wall of a box': _right,
    'closely touching the roof of a box': _roof,
    'closely touching a corner of a box': _corner,
    'closely touching a corner': _corner,
    'touching the corner': _corner,
    'closely touching the bottom right corner': lambda o: _base(o) and _right(o),
}
_OFTEN = (*(f'touching {edge}' for edge in EDGES), 'closely touching the bottom of a box')


def place(rng: Random) -> tuple[str, Fits]:
    """'touching the edge' and so on, and the check of an object."""
    if rng.random() < 0.25:
        return f'not touching {rng.choice(EDGES)}', lambda thing: not at_edge(thing)
    words = rng.choice((*_PLACES, *_OFTEN))
    return words, _PLACES[words]
