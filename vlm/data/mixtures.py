"""Declaring mixtures: rates as numbers, or made of numbers of examples, with a temperature.

In gin, after `from vlm.data import mixtures`, without any Python:

    mixtures.add_mixture:
      name = 'my_mixture'
      examples = {'my_captions': 90_000, 'my_questions': 10_000}
      temperature = 2.0
    REGISTER = [..., @mixtures.add_mixture()]
"""

import dataclasses
import math
from collections.abc import Mapping

import seqio

from vlm.errors import UserError, nearest, unknown_name


@dataclasses.dataclass(frozen=True)
class MixtureSpec:
    """A mixture as declared: the rate of each task, and where the rates come from."""

    name: str
    rates: Mapping[str, float]
    origin: str = ''


_SPECS: dict[str, MixtureSpec] = {}


def add_mixture(
    name: str,
    rates: Mapping[str, float | int] | None = None,
    examples: Mapping[str, float | int] | None = None,
    temperature: float | int = 1.0,
    most: float | int | None = None,
    origin: str = '',
) -> MixtureSpec:
    """Registers a mixture of tasks and groups that are registered already.

    Args:
      name: of the mixture, unique.
      rates: task -> how often an example of it is drawn, relative to the others.
      examples: in place of rates, task -> how many examples it counts as: its rate is
        min(examples, most) ** (1 / temperature), as in T5 (1910.10683, 3.5.2).
      temperature: 1 is proportional; the higher, the more alike the rates.
      most: what larger numbers of examples count as; None for no limit.
      origin: where the rates come from, shown by `vlm tasks --mixture`.

    Raises:
      UserError: neither or both of rates and examples, an unknown task, a number that is none.
    """
    if (rates is None) == (examples is None):
        raise UserError(f'add_mixture of {name!r} wants either rates or examples.')
    numbers = dict(rates if examples is None else examples)
    if not numbers:
        raise UserError(f'add_mixture of {name!r} has no tasks.')
    known = seqio.TaskRegistry.names()
    for task, number in numbers.items():
        if task not in known:
            raise unknown_name('task', task, known, f'of the mixture {name}')
        if not _positive(number):
            raise UserError(f'add_mixture of {name!r}: {task} has {number!r}; want a number > 0.')
    if not _positive(temperature) or (most is not None and not _positive(most)):
        raise UserError(f'add_mixture of {name!r}: temperature and most must be above 0.')
    numbers = {task: float(number) for task, number in numbers.items()}
    if examples is not None:
        limit = math.inf if most is None else most
        numbers = {task: min(n, limit) ** (1 / temperature) for task, n in numbers.items()}
    spec = MixtureSpec(name, numbers, origin)
    seqio.MixtureRegistry.add(name, list(numbers.items()))
    _SPECS[name] = spec
    return spec


def _positive(number: object) -> bool:
    fit = isinstance(number, int | float) and not isinstance(number, bool)
    return fit and 0 < number < math.inf


def rates_of(name: str) -> tuple[dict[str, float], str]:
    """The rates of a registered mixture, a task's own 1, and where they come from.

    Raises UserError, with the nearest names, for a name that is neither.
    """
    if name in seqio.TaskRegistry.names():
        return {name: 1.0}, ''
    if name not in seqio.MixtureRegistry.names():
        mixtures, tasks = seqio.MixtureRegistry.names(), seqio.TaskRegistry.names()
        raise unknown_name('mixture', name, mixtures if nearest(name, mixtures) else tasks)
    mixture = seqio.MixtureRegistry.get(name)
    rates = {task.name: float(mixture.get_rate(task)) for task in mixture.tasks}
    return rates, _SPECS[name].origin if name in _SPECS else ''
