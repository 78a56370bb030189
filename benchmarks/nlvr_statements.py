"""Statements about NLVR pictures in its annotators' words, and the functions that check them.

The forms are those that are frequent in the train split's sentences; "only black and blue" wants
both colours, as their labels do. Towers have more of their own in nlvr_towers.py.
"""

from collections.abc import Callable
from random import Random

from nlvr_scenes import (
    COLORS,
    EDGES,
    NUMBERS,
    Box,
    Clause,
    Statement,
    amount,
    amount_or_none,
    at_edge,
    number,
    pick,
    place,
    some,
    there,
    things,
    things_of,
)


def scattered_statement(rng: Random) -> Statement:
    """A statement, in lower case and without a full stop, about scattered objects."""
    return pick(rng, SCATTERED)(rng, False)


def counted(rng: Random, tower: bool) -> Statement:
    """'there are exactly two blue circles'."""
    words, plural, enough = amount_or_none(rng, 5, 0.05)
    named, fits = things(rng, plural, tower, colored=0.9)
    text = there(f'{words} {named}', plural)
    return text, lambda scene: enough(sum(map(fits, things_of(scene))))


def _touching(rng: Random, tower: bool) -> Statement:
    words, plural, enough = amount_or_none(rng, 4, 0.15)
    named, fits = things(rng, plural, tower, shaped=0.65)
    where, lies = place(rng)
    text = there(f'{words} {named} {where}', plural)
    if not plural and rng.random() < 0.05:
        text, enough = f'the {named} is {where}', lambda k: k > 0
    return text, lambda scene: enough(sum(fits(o) and lies(o) for o in things_of(scene)))


def _all_or_none_touching(rng: Random, tower: bool) -> Statement:
    named, fits = things(rng, True, tower)
    edge = rng.choice(EDGES)
    if rng.random() < 0.4:
        text = f'all the {named} are touching {edge}'
        return text, lambda scene: all(at_edge(o) for o in things_of(scene) if fits(o))
    text = f'none of the {named} are touching {edge}'
    return text, lambda scene: not any(fits(o) and at_edge(o) for o in things_of(scene))


def _two_kinds(rng: Random, tower: bool) -> Statement:
    (one, holds), (other, holds_other) = (some(rng, tower, 3, 0.5, colored=1.0) for _ in range(2))
    text = f'there is {one} and {other}'
    return text, lambda scene: holds(things_of(scene)) and holds_other(things_of(scene))


def boxes(rng: Random, tower: bool, clauses: dict[Callable, float]) -> Statement:
    """'there is a box with ...' and so on, with one of these clauses."""
    name = pick(rng, {'box': 4, 'grey box': 1, 'grey square': 1})
    return having(rng, name, 'boxes', pick(rng, clauses)(rng, tower))


def scattered_boxes(rng: Random, tower: bool) -> Statement:
    """`boxes` with scattered objects."""
    return boxes(rng, tower, CLAUSES)


def in_each(rng: Random, tower: bool) -> Statement:
    """'there is at least one black item in each box'."""
    clause, holds = some(rng, tower, 2, 0.0, colored=0.9)
    each = rng.choice(('box', 'tower')) if tower else 'box'
    text = rng.choice((f'there is {clause} in each {each}', f'each {each} has {clause}'))
    return text, lambda scene: all(map(holds, scene))


def having(rng: Random, name: str, names: str, clause: Clause) -> Statement:
    """'there are two `names` with `clause`' and other ways to say how many have it."""
    what, holds = clause
    style = rng.random()
    if style < 0.6:
        a = pick(rng, {'a': 4, '1': 1, 'at least one': 1, 'at least 1': 1})
        has = pick(rng, {'with': 4, 'that has': 1, 'which has': 1})
        return f'there is {a} {name} {has} {what}', lambda scene: any(map(holds, scene))
    if style < 0.75 and 'grey' in name:
        one = pick(rng, {'one of the': 2, 'at least one': 1})
        text = f'{one} {name} {rng.choice(("has", "contains"))} {what}'
        return text, lambda scene: any(map(holds, scene))
    if style < 0.9:
        words, plural, enough = amount(rng, 2, 0.0)
        has = pick(rng, {'with': 2, 'that have' if plural else 'which has': 1})
        text = there(f'{words} {names if plural else name} {has} {what}', plural)
        return text, lambda scene: enough(sum(map(holds, scene)))
    if style < 0.95:
        return f'there is no {name} with {what}', lambda scene: not any(map(holds, scene))
    return f'each {name.split()[-1]} has {what}', lambda scene: all(map(holds, scene))


# What a box has.


def listing(rng: Random, tower: bool) -> Clause:
    """'a black square, a triangle and two blue items'."""
    parts = [some(rng, tower, 4, 0.6, shaped=0.6) for _ in range(rng.choice((1, 1, 2, 2, 2, 3)))]
    texts, checks = zip(*parts, strict=True)
    first = f'{", ".join(texts[:-1])} and ' if len(texts) > 1 else ''
    return first + texts[-1], lambda box: all(holds(box) for holds in checks)


def how_many(rng: Random, tower: bool) -> Clause:
    """'exactly four objects'."""
    return some(rng, tower, 7, 0.0, colored=0.0, shaped=0.0)


def of_color(rng: Random, tower: bool) -> Clause:
    """'two black items'."""
    return some(rng, tower, 4, 0.1, colored=1.0, shaped=0.0)


def only_colors(rng: Random, tower: bool) -> Clause:
    """'only black and blue items'."""
    items = _items(rng, tower)
    colors = rng.sample(COLORS, rng.choice((1, 2, 2, 2)))
    joined = ' and '.join(colors)
    text = pick(rng, {f'only {joined} {items}': 3, f'{items} of only {joined} color': 1})
    return text, lambda box: {thing.color for thing in box} == set(colors)


def number_of_colors(rng: Random, tower: bool) -> Clause:
    """'3 items of 2 different colors'."""
    n, k = rng.choice((2, 3, 3, 4, 4, 5)), rng.choice((1, 2, 2, 3, 3))
    kinds = (
        ('of the same color',),
        ('of 2 different colors', 'of 2 different color', 'of two different color'),
        ('of all 3 different colors', 'of 3 different colors', 'of three different colors'),
    )
    exact = rng.random() < 0.7
    text = f'{number(rng, n)} ' * exact + f'{_items(rng, tower)} {rng.choice(kinds[k - 1])}'

    def holds(box: Box) -> bool:
        return len({thing.color for thing in box}) == k and (not exact or len(box) == n)

    return text, holds


def of_which(rng: Random, tower: bool) -> Clause:
    """'3 items of which two are blue'."""
    n, k, color = rng.randint(2, 5), rng.choice((1, 1, 2, 2, 3)), rng.choice(COLORS)
    least, link = rng.random() < 0.15, rng.choice(('of which', 'and'))
    those = 'at least ' * least + number(rng, k) + (' are' if k > 1 else ' is')
    text = f'{number(rng, n)} {_items(rng, tower)} {link} {those} {color}'

    def holds(box: Box) -> bool:
        found = sum(thing.color == color for thing in box)
        return len(box) == n and (found >= k if least else found == k)

    return text, holds


def of_one_kind(rng: Random, tower: bool) -> Clause:
    """'only one item that is not blue': there are no others."""
    n, color, other = rng.choice((1, 1, 2)), rng.choice(COLORS), rng.random() < 0.5
    item = rng.choice(('item', 'block')) if tower else 'item'
    verb = 'are' if n > 1 else 'is'
    ways = (f'that {verb} {color}', f'which {verb} {color}', f'which {verb} of {color} color')
    way = f'that {verb} not {color}' if other else rng.choice(ways)
    text = f'{rng.choice(("only", "exactly"))} {number(rng, n)} {item}{"s" * (n > 1)} {way}'
    return text, lambda box: len(box) == n and all((o.color == color) != other for o in box)


def _one_of_which(rng: Random, tower: bool) -> Clause:
    n = rng.randint(2, 6)
    named, fits = things(rng, False, tower, shaped=0.8)
    text = f'exactly {NUMBERS[n]} objects one of which is a {named}'
    return text, lambda box: len(box) == n and any(map(fits, box))


def _one_touching(rng: Random, tower: bool) -> Clause:
    named, fits = things(rng, False, tower)
    where, lies = place(rng)
    text = f'a {named} {where.removesuffix(" of a box")}'
    return text, lambda box: any(fits(thing) and lies(thing) for thing in box)


def _items(rng: Random, tower: bool) -> str:
    return pick(rng, {'items': 2, 'blocks' if tower else 'objects': 1})


CLAUSES = {
    listing: 8,
    how_many: 2,
    of_color: 3,
    only_colors: 3,
    number_of_colors: 2,
    of_which: 2,
    of_one_kind: 1,
    _one_of_which: 1,
    _one_touching: 1,
}
SCATTERED = {
    counted: 5,
    _touching: 8,
    _all_or_none_touching: 1,
    _two_kinds: 1,
    scattered_boxes: 11,
    in_each: 1,
}
