"""Operations counted in a traced program against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import pytest

from vlm.nn.flops import count_flops

X, W = jax.ShapeDtypeStruct((2, 3, 5), jnp.float32), jax.ShapeDtypeStruct((5, 7), jnp.float32)
PRODUCT = 2 * (2 * 3) * 5 * 7


def test_products_sums_and_batched_products():
    assert count_flops(lambda x, w: jax.nn.relu(x @ w) + 1, X, W) == PRODUCT
    batched = jax.ShapeDtypeStruct((2, 5, 7), jnp.float32)
    assert count_flops(lambda x, w: jnp.einsum('BTD,BDF->BTF', x, w), X, batched) == PRODUCT


def test_a_convolution():
    image = jax.ShapeDtypeStruct((1, 9, 9, 4), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 4, 6), jnp.float32)

    def convolve(x, k):
        dimensions = ('NHWC', 'HWIO', 'NHWC')
        return jax.lax.conv_general_dilated(x, k, (2, 2), 'VALID', dimension_numbers=dimensions)

    # 4 x 4 places, each 3 x 3 x 4 products for each of 6 channels.
    assert count_flops(convolve, image, kernel) == 2 * 16 * 36 * 6


def test_loops_and_branches():
    square = jax.ShapeDtypeStruct((4, 4), jnp.float32)
    once = 2 * 4**3

    def scanned(x, s):
        return jax.lax.scan(lambda c, _: (jax.checkpoint(lambda a: a @ s)(c), None), x, length=6)

    assert count_flops(scanned, square, square) == 6 * once

    def branched(x):
        return jax.lax.cond(x.sum() > 0, lambda y: y @ y @ y, lambda y: y, jax.jit(jnp.sin)(x))

    assert count_flops(branched, square) == 2 * once


@pytest.mark.parametrize(('argnums', 'share'), [((1,), 2), ((0, 1), 3)])
def test_the_backward_pass_is_one_product_more_for_each_argument(argnums, share):
    gradient = jax.grad(lambda x, w: jnp.sum(jnp.square(x @ w)), argnums)
    assert count_flops(gradient, X, W) == share * PRODUCT
