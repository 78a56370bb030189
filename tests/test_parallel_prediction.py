"""Parallel prediction: answers that are predicted from the mask token alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from vlm.errors import UserError
from vlm.nn.network import WIRINGS

from miniature import random_params
from whole_models import ANSWER, OWN_ROWS, PROMPT, jitted, make_batch, make_model


def parallel(wiring: str, share: float, **options):
    learned = {'mask_token': True, 'positions': 'learned', 'max_positions': PROMPT + ANSWER}
    return make_model(wiring, stack=tuple(learned.items()), parallel_prediction=share, **options)


@pytest.mark.parametrize('wiring', WIRINGS)
def test_parallel_prediction_reads_no_answer(wiring):
    model, batch = parallel(wiring, 1.0), make_batch(wiring, OWN_ROWS)
    params, key = random_params(model.module, batch), jax.random.key(0, impl='rbg')
    loss = jitted(model, 'loss_fn')
    wanted = float(loss(params, batch, key)[0])
    answer = batch['decoder_loss_weights'] > 0
    inputs = batch['decoder_input_tokens']
    other = {**batch, 'decoder_input_tokens': jnp.where(answer, 2, inputs)}
    assert float(loss(params, other, key)[0]) == wanted
    # The prompt and the mask token count, and evaluation predicts token by token.
    name = 'encoder_input_tokens' if wiring == 'fusion_encoder' else 'decoder_input_tokens'
    prompt = {**batch, name: jnp.where(batch[name] == 5, 2, batch[name])}
    assert abs(float(loss(params, prompt, key)[0]) - wanted) > 1e-4
    moved = {**params, 'mask_embedder': jax.tree.map(jnp.zeros_like, params['mask_embedder'])}
    assert abs(float(loss(moved, batch, key)[0]) - wanted) > 1e-4
    evaluate = jitted(model, 'eval_fn')
    assert float(evaluate(moved, batch)[0]) == float(evaluate(params, batch)[0]) != wanted
    assert float(evaluate(params, other)[0]) != float(evaluate(params, batch)[0])


def test_parallel_prediction_tells_positions_of_an_answer_apart():
    model = parallel('fusion_encoder', 1.0)
    batch = make_batch('fusion_encoder', OWN_ROWS)
    params = random_params(model.module, batch, spread=0.3)
    hidden = jnp.ones((3, ANSWER), bool)
    run = functools.partial(model.module.apply, {'params': params}, batch, hidden=hidden)
    logits = np.asarray(jax.jit(run)())
    assert np.abs(np.diff(logits, axis=1)).max(-1).min() > 1e-3


def test_parallel_prediction_is_drawn_from_the_key():
    model, batch = parallel('decoder_prefix', 0.5), make_batch('decoder_prefix', OWN_ROWS)
    always, never = parallel('decoder_prefix', 1.0), parallel('decoder_prefix', 0.0)
    params = random_params(model.module, batch, spread=0.3)
    losses = [
        [float(jitted(m, 'loss_fn')(params, batch, jax.random.key(seed))[0]) for seed in range(8)]
        for m in (model, always, never, model)
    ]
    assert losses[0] == losses[3]
    assert len(set(losses[1])) == len(set(losses[2])) == 1
    assert len(set(losses[0])) > 2  # none, some or all of the three rows


@pytest.mark.parametrize(
    'wiring, options, message',
    [
        ('decoder_prefix', {'share': 1.5}, r'parallel_prediction = 1\.5 is not in \[0, 1\]'),
        ('decoder_prefix', {'mask_token': False}, r'bind TextConfig\.mask_token to True'),
        ('fusion_encoder', {'positions': 'relative'}, r"needs TextConfig\.positions = 'learned'"),
    ],
)
def test_mistakes_of_parallel_prediction(wiring, options, message):
    stack = {'mask_token': True, 'positions': 'learned', **options}
    share = stack.pop('share', 0.5)
    with pytest.raises(UserError, match=message):
        make_model(wiring, stack=tuple(stack.items()), parallel_prediction=share)
