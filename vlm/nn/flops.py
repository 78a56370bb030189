"""Operations of a model, counted in the program that JAX traces: no compilation, no device.

Counted are matrix products and convolutions, two operations a multiplication, as PaLM does for its
model FLOP utilisation (2204.02311, appendix B); what is elementwise is left out.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def count_flops(function: Callable[..., Any], *args: Any) -> float:
    """Operations of `function(*args)`; shapes are enough for `args`.

    A `scan` counts as often as it turns, the longest branch of a `cond` once, and the body of a
    `while`, whose number of turns nobody knows before, once.
    """
    return program_flops(jax.make_jaxpr(function)(*args))


def program_flops(program: ClosedJaxpr | Jaxpr) -> float:
    """Operations of a program that was traced already, counted as `count_flops` does."""
    inner = program.jaxpr if isinstance(program, ClosedJaxpr) else program
    return sum(map(_of_equation, inner.eqns), 0.0)


def _of_equation(equation: Any) -> float:
    kind, params = equation.primitive.name, equation.params
    if kind == 'dot_general':
        (contracted, _), _ = params['dimension_numbers']
        shape = equation.invars[0].aval.shape
        return 2.0 * equation.outvars[0].aval.size * math.prod(shape[i] for i in contracted)
    if kind == 'conv_general_dilated':
        kernel = equation.invars[1].aval
        outputs = kernel.shape[params['dimension_numbers'].rhs_spec[0]]
        return 2.0 * equation.outvars[0].aval.size * kernel.size / outputs
    inner = [program_flops(each) for value in params.values() for each in _programs(value)]
    if kind == 'cond':
        return max(inner, default=0.0)
    return sum(inner, 0.0) * (params['length'] if kind == 'scan' else 1)


def _programs(value: Any) -> Iterator[ClosedJaxpr | Jaxpr]:
    if isinstance(value, ClosedJaxpr | Jaxpr):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _programs(each)
