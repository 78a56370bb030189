"""Operations of a computation, counted from its jaxpr."""

import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend import core


def matrix_flops(jaxpr: core.Jaxpr | core.ClosedJaxpr) -> int:
    """Operations of all matrix products, 2 for each multiplication with its addition.

    Bodies of loops count as often as they run (XLA's own count takes them once); what is computed
    again for the backward pass counts again. Of branches, the dearest. A while loop, whose length
    is not known, counts once.
    """
    inner = jaxpr.jaxpr if isinstance(jaxpr, core.ClosedJaxpr) else jaxpr
    return sum(_flops_of(equation) for equation in inner.eqns)


def _flops_of(equation: core.JaxprEqn) -> int:
    name = equation.primitive.name
    if name == 'dot_general':
        (contracted, _), _ = equation.params['dimension_numbers']
        left = equation.invars[0].aval.shape
        depth = math.prod(left[axis] for axis in contracted)
        return 2 * depth * math.prod(equation.outvars[0].aval.shape)
    if name == 'cond':
        return max(matrix_flops(branch) for branch in equation.params['branches'])
    times = equation.params['length'] if name == 'scan' else 1
    return times * sum(matrix_flops(inner) for inner in _inner(equation))


def _inner(equation: core.JaxprEqn) -> Iterator[Any]:
    kinds = core.Jaxpr, core.ClosedJaxpr
    leaves = jax.tree.leaves(
        list(equation.params.values()), is_leaf=lambda leaf: isinstance(leaf, kinds)
    )
    return (leaf for leaf in leaves if isinstance(leaf, kinds))
