"""Losses, prediction and scoring of whole models."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from clu import metrics as clu_metrics

from vlm.errors import UserError
from vlm.losses import NORMALIZERS
from vlm.nn.network import WIRINGS

from miniature import random_params
from whole_models import ANSWER, OWN_ROWS, PAIRS, PROMPT, VOCAB, jitted, make_batch, make_model


@functools.partial(jax.jit, static_argnums=0)
def forward(module, params, batch):
    return module.apply({'params': params}, batch)


def log_softmax(logits) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


# ---------------------------------------------------------------- losses


@pytest.fixture(params=WIRINGS)
def setting(request):
    """A model with every term of the loss, parameters, and a row for each pair."""
    model = make_model(request.param, z_loss=0.01, label_smoothing=0.2)
    batch = make_batch(request.param, OWN_ROWS)
    return model, random_params(model.module, batch), batch, jitted(model, 'eval_fn')


def test_loss_and_metrics_by_formula(setting):
    model, params, batch, evaluate = setting
    loss, metrics = evaluate(params, batch)
    logits = np.asarray(forward(model.module, params, batch), np.float64)
    targets, weights = (
        np.asarray(batch[f'decoder_{name}']) for name in ('target_tokens', 'loss_weights')
    )
    # 3 + 6 + 2 answer tokens; smoothing puts 0.8 on the target and 0.025 on the eight others.
    assert weights.sum() == 11
    log_z = np.log(np.exp(logits).sum(-1))
    smooth = np.where(np.arange(VOCAB) == targets[..., None], 0.8, 0.025)
    losses = (smooth * (np.log(smooth) - logits + log_z[..., None])).sum(-1)
    token_loss, z_loss = (losses * weights).sum() / 11, (0.01 * log_z**2 * weights).sum() / 11
    assert float(loss) == pytest.approx(token_loss + z_loss, rel=1e-5)
    assert all(isinstance(metric, clu_metrics.Metric) for metric in metrics.values())
    assert {name: float(metric.compute()) for name, metric in metrics.items()} == pytest.approx(
        {
            'loss': token_loss + z_loss,
            'token_loss': token_loss,
            'z_loss': z_loss,
            'token_accuracy': ((logits.argmax(-1) == targets) * weights).sum() / 11,
            'answer_tokens': 11,
        },
        rel=1e-5,
    )


def test_merged_metrics_weigh_tokens_alike(setting):
    _, params, batch, evaluate = setting
    weights = batch['decoder_loss_weights']
    batches = [
        {**batch, 'decoder_loss_weights': weights.at[jnp.array(rows)].set(0)}
        for rows in ([1, 2], [0, 2])
    ]
    first, second = (evaluate(params, batch)[1]['token_loss'] for batch in batches)
    wanted = (3 * float(first.compute()) + 6 * float(second.compute())) / 9
    assert float(first.merge(second).compute()) == pytest.approx(wanted, rel=1e-5)


def test_the_loss_is_taken_on_the_answer_alone(setting):
    _, params, batch, evaluate = setting
    wanted = float(evaluate(params, batch)[0])
    targets, weights = batch['decoder_target_tokens'], batch['decoder_loss_weights']
    prompts = {**batch, 'decoder_target_tokens': jnp.where(weights == 0, 2, targets)}
    assert float(evaluate(params, prompts)[0]) == wanted
    answers = {**batch, 'decoder_target_tokens': jnp.where(weights == 0, targets, 2)}
    assert abs(float(evaluate(params, answers)[0]) - wanted) > 0.1


def test_a_row_without_any_image_has_a_finite_loss(setting):
    _, params, batch, evaluate = setting
    batch['image_mask'] = batch['image_mask'].at[0].set(False)
    assert np.isfinite(evaluate(params, batch)[0])


def test_dropout_needs_a_key():
    model, still = make_model('decoder_prefix', dropout=0.5), make_model('decoder_prefix')
    batch = make_batch('decoder_prefix', OWN_ROWS)
    params = random_params(model.module, batch)
    keys = [jax.random.key(seed, impl='rbg') for seed in (0, 0, 1)]
    dropped = [float(jitted(model, 'loss_fn')(params, batch, key)[0]) for key in keys]
    assert dropped[0] == dropped[1] != dropped[2]
    # Without a key it is, to the letter, the program of a model that has no dropout.
    programs = [str(jax.make_jaxpr(m.eval_fn)(params, batch)) for m in (model, still)]
    assert programs[0] == programs[1]


def test_packed_rows_have_the_loss_of_rows_of_their_own():
    own, packed = (
        make_batch('decoder_prefix', OWN_ROWS),
        make_batch('decoder_prefix', [PAIRS], prompt=10, answer=12),
    )
    # Three rows of the same image, and one row that the image is encoded for once.
    own['images'] = jnp.repeat(packed['images'], 3, axis=0)
    models = [
        make_model('decoder_prefix', loss_normalizer=n, first_token_weight=w, z_loss=0.01)
        for n in NORMALIZERS
        for w in (1.0, 3.0)
    ]

    @jax.jit
    def losses(params, batch):
        return jnp.stack([model.eval_fn(params, batch)[0] for model in models])

    params = random_params(models[0].module, own)
    wanted = losses(params, own)
    assert len(set(wanted.tolist())) == 6
    np.testing.assert_allclose(losses(params, packed), wanted, rtol=1e-5)
    # 12 is more than the 11 answer tokens and less than the 22 positions.
    options = {'loss_normalizer': 'sequence', 'first_token_weight': 3.0, 'z_loss': 0.01}
    short = make_model('decoder_prefix', max_answer_tokens=12, **options)
    found = jitted(short, 'eval_fn')(params, packed)[0]
    same = 2 * NORMALIZERS.index('sequence') + 1
    assert float(found) == pytest.approx(float(wanted[same]), rel=1e-5)


def test_max_answer_tokens_computes_fewer_logits_for_the_same_loss_and_metrics():
    options = {'z_loss': 0.01, 'label_smoothing': 0.2}
    batch = make_batch('decoder_prefix', OWN_ROWS)
    full = make_model('decoder_prefix', **options)
    short = make_model('decoder_prefix', max_answer_tokens=ANSWER, **options)
    params = random_params(full.module, batch)
    wanted = jitted(full, 'eval_fn')(params, batch)
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5),
        jitted(short, 'eval_fn')(params, batch),
        wanted,
    )
    traced = jax.make_jaxpr(short.eval_fn)(params, batch)
    assert f'f32[3,{ANSWER},{VOCAB}]' in str(traced)
    assert f'f32[3,{PROMPT + ANSWER},{VOCAB}]' not in str(traced)


@pytest.mark.parametrize('tied', [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_loss_in_chunks_is_the_plain_one(tied):
    options = {'z_loss': 0.01, 'label_smoothing': 0.2, 'stack': (('tied_embedding', tied),)}
    batch = make_batch('decoder_prefix', OWN_ROWS)
    plain = make_model('decoder_prefix', **options)
    params = random_params(plain.module, batch)

    def evaluate(model):
        return jax.jit(jax.value_and_grad(model.eval_fn, has_aux=True))(params, batch)

    wanted = evaluate(plain)
    # 11 positions in chunks of 4, and the chosen 6 in chunks of 5: neither comes out even.
    for chunked in ({'loss_chunk': 4}, {'loss_chunk': 5, 'max_answer_tokens': ANSWER}):
        model = make_model('decoder_prefix', **chunked, **options)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-6),
            evaluate(model),
            wanted,
        )
        gradient = jax.grad(lambda p, m=model: m.eval_fn(p, batch)[0])
        traced = str(jax.make_jaxpr(gradient)(params))
        assert f'f32[3,{chunked["loss_chunk"]},{VOCAB}]' in traced
        assert f'f32[3,{PROMPT + ANSWER},{VOCAB}]' not in traced


def test_loss_by_task_is_the_mean_over_the_tokens_of_its_rows():
    batch = make_batch('decoder_prefix', OWN_ROWS)
    model = make_model('decoder_prefix')
    params = random_params(model.module, batch)
    of_task = jnp.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    evaluate = jitted(model, 'eval_fn')
    _, metrics = evaluate(params, {**batch, 'task_rows': of_task})
    found = metrics['task_loss'].compute()
    scores = -np.asarray(jitted(model, 'score_batch')(params, batch))
    # Answers of 3, 6 and 2 tokens: rows 0 and 2 are of one task, row 1 is of another.
    assert np.isnan(found[0])
    np.testing.assert_allclose(found[1:], [(scores[0] + scores[2]) / 5, scores[1] / 6], rtol=1e-5)
    assert 'task_loss' not in evaluate(params, batch)[1]


# ---------------------------------------------------------------- prediction


def row_log_probs(model, params, batch, row: int, tokens: list[int]) -> np.ndarray:
    """Log-probabilities [L, V] of one full forward pass over a row laid out here."""
    prompt, _ = PAIRS[row]
    features = {name: batch[name][row : row + 1] for name in ('images', 'image_mask')}
    if model.module.config.wiring == 'fusion_encoder':
        length, held = ANSWER, [0, *tokens]
        features['encoder_input_tokens'] = jnp.asarray([prompt + [0] * (PROMPT - len(prompt))])
    else:
        length, held = PROMPT + ANSWER, [0, *prompt, *tokens]
        features['decoder_prefix_mask'] = jnp.arange(length)[None] <= len(prompt)
    held = [*held, *[0] * length][:length]
    features['decoder_input_tokens'] = jnp.asarray([held])
    return log_softmax(forward(model.module, params, features)[0])


def greedy_by_hand(model, params, batch, row: int) -> tuple[list[int], float]:
    """The argmax of full forward passes, one for every token, and its log-probability."""
    prefix = 0 if model.module.config.wiring == 'fusion_encoder' else len(PAIRS[row][0])
    answer, score = [], 0.0
    while len(answer) < ANSWER and 1 not in answer:
        scores = row_log_probs(model, params, batch, row, answer)[prefix + len(answer)]
        answer.append(int(scores.argmax()))
        score += scores.max()
    return answer + [0] * (ANSWER - len(answer)), score


def predictor(model):
    return jitted(model, 'predict_batch_with_aux', max_decode_length=ANSWER)


LAYERS = {'decoder_prefix': 2, 'fusion_encoder': 1, 'prefix_lm': 2}
# Random parameters with which the answers differ, one ends early and others do not end at all.
LUCKY = {
    'decoder_prefix': {'spread': 1.0, 'seed': 50},
    'fusion_encoder': {'spread': 0.4, 'seed': 57},
    'prefix_lm': {'spread': 0.4, 'seed': 0},
}


@pytest.fixture(scope='module', params=WIRINGS)
def predicted(request):
    """A model, parameters, a batch of mixed lengths and what is predicted for it.

    The last row of the batch is empty and has no image: engines pad their last batch so.
    """
    wiring = request.param
    model = make_model(wiring, LAYERS[wiring])
    batch = make_batch(wiring, [*OWN_ROWS, [([], [])]])
    batch['image_mask'] = batch['image_mask'].at[-1].set(False)
    params = random_params(model.module, batch, **LUCKY[wiring])
    return model, params, batch, predictor(model)(params, batch)


def test_cached_decoding_equals_full_forward_passes(predicted):
    model, params, batch, (tokens, aux) = predicted
    assert tokens.shape == (4, ANSWER) and aux['scores'].shape == (4,)
    by_hand = [greedy_by_hand(model, params, batch, row) for row in range(3)]
    np.testing.assert_array_equal(tokens[:3], [answer for answer, _ in by_hand])
    np.testing.assert_allclose(aux['scores'][:3], [score for _, score in by_hand], rtol=1e-5)
    # No test of constants: the answers differ, one ends early and one is cut off.
    assert len({tuple(answer) for answer, _ in by_hand}) == 3
    ended = [1 in answer for answer, _ in by_hand]
    assert any(ended) and not all(ended)


def test_a_batch_is_predicted_like_its_rows_one_by_one(predicted):
    model, params, batch, (tokens, aux) = predicted
    for row in range(4):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        found, found_aux = predictor(model)(params, alone)
        np.testing.assert_array_equal(found[0], tokens[row])
        np.testing.assert_allclose(found_aux['scores'][0], aux['scores'][row], rtol=1e-5)
    assert np.isfinite(aux['scores']).all()


def test_answers_in_the_batch_are_never_read(predicted):
    model, params, batch, (tokens, _) = predicted
    inputs = batch['decoder_input_tokens']
    blind = {
        **batch,
        'decoder_input_tokens': jnp.where(batch.get('decoder_prefix_mask', False), inputs, 2),
        'decoder_target_tokens': jnp.zeros_like(inputs),
        'decoder_loss_weights': jnp.zeros(inputs.shape),
    }
    np.testing.assert_array_equal(predictor(model)(params, blind)[0], tokens)


def test_answers_may_fill_the_row_by_default(predicted):
    model, params, batch, _ = predicted
    shape = jax.eval_shape(model.predict_batch, params, batch).shape
    assert shape == batch['decoder_input_tokens'].shape


@pytest.mark.parametrize('predicted', ['decoder_prefix'], indirect=True)
def test_a_longer_limit_changes_no_beginning(predicted):
    model, params, batch, (tokens, _) = predicted
    found = jitted(model, 'predict_batch')(params, batch)
    np.testing.assert_array_equal(found[:3, :ANSWER], tokens[:3])


def test_score_batch_is_the_teacher_forced_sum(predicted):
    model, params, batch, _ = predicted
    scores, aux = jitted(model, 'score_batch', return_intermediates=True)(params, batch)
    (token_scores,) = aux['decoder']['token_scores']
    assert token_scores.shape == batch['decoder_target_tokens'].shape
    prefixed = 'decoder_prefix_mask' in batch
    for row, (prompt, answer) in enumerate(PAIRS):
        every = row_log_probs(model, params, batch, row, answer[:-1])
        start = len(prompt) if prefixed else 0
        wanted = np.zeros(token_scores.shape[1])
        for i, token in enumerate(answer):
            wanted[start + i] = every[start + i, token]
        np.testing.assert_allclose(token_scores[row], wanted, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(scores[row], wanted.sum(), rtol=1e-5)
    assert scores[3] == 0  # no answer


def test_scoring_ignores_smoothing_and_z_loss(predicted):
    model, params, batch, _ = predicted
    wiring = model.module.config.wiring
    other = make_model(
        wiring, LAYERS[wiring], label_smoothing=0.1, z_loss=0.1, loss_normalizer='sum'
    )
    traced = [str(jax.make_jaxpr(m.score_batch)(params, batch)) for m in (model, other)]
    assert traced[0] == traced[1]


def test_score_of_a_predicted_answer_is_what_prediction_said(predicted):
    model, params, batch, (tokens, aux) = predicted
    answers = [[t for t in row.tolist() if t] for row in np.asarray(tokens[:3])]
    rows = [[(prompt, answer)] for (prompt, _), answer in zip(PAIRS, answers, strict=True)]
    scored = make_batch(model.module.config.wiring, [*rows, [([], [])]])
    score = jitted(model, 'score_batch', return_intermediates=True)
    np.testing.assert_allclose(score(params, scored)[0][:3], aux['scores'][:3], rtol=1e-5)


def test_answers_that_leave_no_room_for_a_prompt_are_refused():
    model, batch = make_model('decoder_prefix'), make_batch('decoder_prefix', OWN_ROWS)
    params = random_params(model.module, batch)
    with pytest.raises(UserError, match=r'max_decode_length = 12 .* rows of 11 tokens'):
        jax.eval_shape(functools.partial(model.predict_batch, max_decode_length=12), params, batch)
