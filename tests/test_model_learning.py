"""A whole model learns two examples by heart."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from whole_models import jitted, make_batch, make_model

TEXTS = ['a red circle', 'two dogs']
LETTERS = '_/abcdefghijklmnopqrstuvwxyz '  # ids: padding 0, end 1, then letters


def encode(text: str) -> list[int]:
    return [LETTERS.index(letter) for letter in text] + [1]


def decode(tokens) -> str:
    return ''.join(LETTERS[token] for token in tokens).split('/')[0]


@pytest.fixture(scope='module')
def lesson():
    """A fresh model, two examples and a step of Adam on them.

    The prompts are the same: only the image tells the answers apart.
    """
    batch = make_batch(
        'decoder_prefix', [[(encode('what'), encode(t))] for t in TEXTS], prompt=5, answer=13
    )
    model = make_model('decoder_prefix', vocab=len(LETTERS))
    shapes = {name: value.shape for name, value in batch.items()}
    init = functools.partial(model.get_initial_variables, input_shapes=shapes)
    tree = jax.jit(init)(jax.random.key(0, impl='rbg'))['params']
    params, unravel = jax.flatten_util.ravel_pytree(tree)  # one vector compiles faster
    adam = optax.adam(1e-2)

    @jax.jit
    def step(params, state, batch):
        def loss_of(params):
            return model.loss_fn(unravel(params), batch, None)[0]

        loss, gradient = jax.value_and_grad(loss_of)(params)
        updates, state = adam.update(gradient, state)
        return params + updates, state, loss

    return model, params, unravel, adam.init(params), batch, step


def test_two_examples_are_learnt_by_heart(lesson):
    model, params, unravel, state, batch, step = lesson
    losses = []
    for _ in range(60):
        params, state, loss = step(params, state, batch)
        losses.append(float(loss))
    assert losses[-1] < 0.05 and losses[0] > 1
    tokens = jitted(model, 'predict_batch', max_decode_length=13)(unravel(params), batch)
    assert [decode(row) for row in np.asarray(tokens)] == TEXTS


def test_a_row_without_any_image_leaves_finite_parameters(lesson):
    _, params, unravel, state, batch, step = lesson
    blind = {**batch, 'image_mask': jnp.array([[False], [True]])}
    after, _, loss = step(params, state, blind)
    assert np.isfinite(loss) and np.isfinite(after).all()
    # The other row's image still teaches every parameter of the open vision encoder.
    moved = jax.tree.map(lambda change: (change != 0).any(), unravel(after - params))
    assert all(jax.tree.leaves(moved['vision']))
