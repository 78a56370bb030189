"""What the tests of modules share: quick compilation, and parameters without any."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(autouse=True, scope='module')
def quick_compilation():
    """These networks run for microseconds and compile for seconds: spare the optimiser's time."""
    before = jax.config.read('jax_disable_most_optimizations')
    jax.config.update('jax_disable_most_optimizations', True)
    yield
    jax.config.update('jax_disable_most_optimizations', before)


@pytest.fixture(scope='session')
def random_params() -> Callable[..., dict]:
    """`random_params(module, *args)`: parameters, every one of them different and none zero.

    Freshly initialised biases are 0 and scales 1, with which half of a formula goes unseen.
    """

    def make(module, *args, method=None, spread: float = 0.5, seed: int = 0) -> dict:
        init = functools.partial(module.init, method=method)
        shapes = jax.eval_shape(init, jax.random.key(0), *args)['params']
        rng = np.random.default_rng(seed)
        return jax.tree.map(lambda s: jnp.asarray(rng.normal(0, spread, s.shape), s.dtype), shapes)

    return make
