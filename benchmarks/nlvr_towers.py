"""Statements about NLVR's towers of blocks; "on" and "above" mean right on top of."""

from collections.abc import Callable
from random import Random

from nlvr_scenes import (
    COLORS,
    NUMBERS,
    Box,
    Clause,
    Enough,
    Statement,
    amount_or_none,
    number,
    pick,
    there,
)
from nlvr_statements import (
    boxes,
    counted,
    having,
    how_many,
    in_each,
    listing,
    number_of_colors,
    of_color,
    of_one_kind,
    of_which,
    only_colors,
)

# Counted from the top of a tower, or from below.
LEVELS = {'top': 0, 'base': -1, 'bottom': -1, 'second': -2, 'third': -3}


def tower_statement(rng: Random) -> Statement:
    """A statement, in lower case and without a full stop, about towers."""
    return pick(rng, STATEMENTS)(rng, True)


def _color_at(box: Box, where: str) -> str:
    """'' where the tower is not that high."""
    level = LEVELS[where]
    return box[level].color if -len(box) <= level < len(box) else ''


def _color_pairs(box: Box) -> list[tuple[str, str]]:
    """Of blocks that lie on each other, the higher one's first."""
    return [(high.color, low.color) for high, low in zip(box, box[1:], strict=False)]


def _height(rng: Random) -> tuple[str, Enough]:
    n = rng.randint(1, 4)
    kinds = {'': 2, 'exactly': 2, 'at least': 1, 'only': 1, 'at most': 1, 'more than': 1}
    kind = pick(rng, kinds)
    checks = {
        'at least': lambda k: k >= n,
        'at most': lambda k: k <= n,
        'more than': lambda k: k > n,
    }
    text = f'{kind} {_blocks(n)}'.strip()
    return text, checks.get(kind, lambda k: k == n)


def _blocks(n: int) -> str:
    return f'{NUMBERS[n]} block{"s" * (n > 1)}'


# What a tower has; some of it is said of boxes.


def _items_and_top(rng: Random, tower: bool) -> Clause:
    n, color, least = rng.randint(2, 4), rng.choice(COLORS), rng.random() < 0.2
    some = 'at least ' * least + number(rng, n)
    text = f'{some} items and a {color} {rng.choice(("item", "one"))} on top'

    def holds(box: Box) -> bool:
        return (len(box) >= n if least else len(box) == n) and box[0].color == color

    return text, holds


def _wall_and_above(rng: Random, tower: bool) -> Clause:
    low, high = rng.choice(COLORS), rng.choice(COLORS)
    item = pick(rng, {'item': 2, 'one': 1, 'square': 1})
    right = pick(rng, {'': 2, 'right ': 1, 'directly ': 1})
    text = f'a {low} item touching the wall and a {high} {item} {right}on top of it'
    return text, lambda box: _color_pairs(box)[-1:] == [(high, low)]


def _block_at(rng: Random, tower: bool) -> Clause:
    color, where = rng.choice(COLORS), pick(rng, {'top': 2, 'base': 2, 'bottom': 1})
    a, at = pick(rng, {'a ': 4, '1 ': 1, '': 1}), pick(rng, {'at the': 3, 'at': 1, 'on the': 1})
    text = f'{a}{color} block {at} {where}'
    if rng.random() < 0.1:
        text = f'a {color} {where}'
    return text, lambda box: _color_at(box, where) == color


def _blocks_high(rng: Random, tower: bool) -> Clause:
    text, enough = _height(rng)
    return text, lambda box: enough(len(box))


def _height_and_block(rng: Random, tower: bool) -> Clause:
    (high, enough), (placed, lies) = _height(rng), _block_at(rng, tower)
    link = pick(rng, {'having': 4, 'with': 2, 'and': 2, 'not having': 1})
    missing = link == 'not having'
    return f'{high} {link} {placed}', lambda box: enough(len(box)) and lies(box) != missing


def _block_on(rng: Random, tower: bool) -> Clause:
    high, low = rng.choice(COLORS), rng.choice(COLORS)
    text = f'a {high} block {pick(rng, {"above": 1, "over": 2, "on": 1})} a {low} block'
    return text, lambda box: (high, low) in _color_pairs(box)


def _stacked(rng: Random, tower: bool) -> Clause:
    color = rng.choice(COLORS)
    texts = f'2 {color} blocks stacked together', f'two {color} blocks attached with each other'
    return rng.choice(texts), lambda box: (color, color) in _color_pairs(box)


def _both_ends(rng: Random, tower: bool) -> Clause:
    high, low = rng.choice(COLORS), rng.choice(COLORS)
    two, *others = (
        f'two blocks where the base is {low} and the top is {high}',
        f'a {low} base and {high} top',
        f'a {high} block at the top and a {low} block at the base',
    )
    text = rng.choice((two, *others))

    def holds(box: Box) -> bool:
        ends = _color_at(box, 'top'), _color_at(box, 'base')
        return ends == (high, low) and (len(box) == 2 or text != two)

    return text, holds


# Statements.


def _tower_boxes(rng: Random, tower: bool) -> Statement:
    return boxes(rng, tower, CLAUSES_OF_BOX)


def _towers(rng: Random, tower: bool) -> Statement:
    clause = pick(rng, CLAUSES_OF_TOWER)(rng, tower)
    if rng.random() < 0.92:
        return having(rng, 'tower', 'towers', clause)
    n = rng.choice((1, 2))
    which = rng.choice(('of the three towers', 'tower'))
    return f'{NUMBERS[n]} {which} has {clause[0]}', lambda scene: sum(map(clause[1], scene)) == n


def _blocks_at_end(rng: Random, tower: bool) -> Statement:
    color, where = rng.choice(COLORS), rng.choice(('base', 'top'))
    words, plural, enough = amount_or_none(rng, 3, 0.05)
    high, fits = _height(rng)
    high = rng.choice((f' with {high}', f' with {high}', ''))
    text = there(f'{words} {color} block{"s" * plural} as the {where} of a tower{high}', plural)

    def holds(box: Box) -> bool:
        return _color_at(box, where) == color and (not high or fits(len(box)))

    return text, lambda scene: enough(sum(map(holds, scene)))


def _blocks_on(rng: Random, tower: bool) -> Statement:
    color, other = rng.choice(COLORS), rng.choice(COLORS)
    checks = {'no': lambda k: k == 0, 'exactly one': lambda k: k == 1}
    words = pick(rng, {'a': 3, 'at least one': 1, 'exactly one': 1, 'no': 1})
    on = pick(rng, {'on': 2, 'above': 2, 'over': 1, 'below': 1, 'bellow': 1})
    pair = (color, other) if on in ('on', 'above', 'over') else (other, color)
    text = f'there is {words} {color} block {on} {pick(rng, {"a": 3, "the": 1})} {other} block'
    enough = checks.get(words, lambda k: k > 0)
    return text, lambda scene: enough(sum(_color_pairs(box).count(pair) for box in scene))


def _some_tower(words: str, holds: Callable[[Box], bool]) -> Statement:
    return words, lambda scene: any(map(holds, scene))


def _tower_of_one_color(rng: Random, tower: bool) -> Statement:
    color, (high, enough) = rng.choice(COLORS), _height(rng)
    high = rng.choice(('', f' with {high}', f' that has {high}'))
    return _some_tower(
        f'there is a {color} tower{high}',
        lambda box: {o.color for o in box} == {color} and (not high or enough(len(box))),
    )


def _the_tower(rng: Random, tower: bool) -> Statement:
    n, (placed, lies) = rng.randint(1, 4), _block_at(rng, tower)
    text = f'the tower with {_blocks(n)} has {placed}'
    return _some_tower(text, lambda box: len(box) == n and lies(box))


def _blocks_tower(rng: Random, tower: bool) -> Statement:
    n, color, where = rng.randint(1, 4), rng.choice(COLORS), rng.choice(('', 'top', 'base'))
    text = f'there is a {_blocks(n)} tower' + f' that the {where} is {color}' * bool(where)
    return _some_tower(
        text, lambda box: len(box) == n and (not where or _color_at(box, where) == color)
    )


def _block_at_level(rng: Random, tower: bool) -> Statement:
    color, where = rng.choice(COLORS), pick(rng, {'second': 2, 'third': 1})
    texts = (
        f'the {where} block from the base of a tower is {color}',
        f'the {where} block of a tower from the base is {color}',
        f'there is a tower which is the {where} block from the base is {color}',
    )
    return _some_tower(rng.choice(texts), lambda box: _color_at(box, where) == color)


CLAUSES_OF_BOX = {
    listing: 2,
    how_many: 2,
    of_color: 3,
    only_colors: 3,
    number_of_colors: 2,
    of_which: 2,
    of_one_kind: 1,
    _items_and_top: 3,
    _wall_and_above: 2,
}
CLAUSES_OF_TOWER = {
    listing: 2,
    of_color: 5,
    only_colors: 3,
    number_of_colors: 1,
    of_which: 1,
    of_one_kind: 2,
    _block_at: 8,
    _blocks_high: 4,
    _height_and_block: 2,
    _block_on: 4,
    _stacked: 2,
    _both_ends: 1,
}
STATEMENTS = {
    counted: 3,
    in_each: 1,
    _tower_boxes: 6,
    _towers: 8,
    _blocks_at_end: 5,
    _blocks_on: 4,
    _tower_of_one_color: 2,
    _the_tower: 1,
    _blocks_tower: 1,
    _block_at_level: 1,
}
