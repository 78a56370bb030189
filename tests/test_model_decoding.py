"""Beams, samples and labels of whole models against plain runs of the network, without caches."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cross_section import all_but

from vlm.data.rows import PLAIN, PromptForm
from vlm.decoding import DecodingConfig
from vlm.model import VisionTextModel
from vlm.nn.network import WIRINGS, NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig

import miniature
from miniature import GEMMA, random_params
from whole_models import jitted

VOCAB, PROMPT, ANSWER, RIVALS = 9, 5, 4, 3
PROMPTS = [[5, 6, 7, 8, 1], [4, 1], [1]]
BEAM = DecodingConfig('beam', RIVALS)

make_batch = functools.partial(miniature.make_batch, prompt=PROMPT, answer=ANSWER)


@pytest.fixture(scope='module', params=all_but(('prefix_lm', 'fusion_encoder'), WIRINGS))
def setting(request):
    return make_setting(request.param)


def make_setting(wiring: str, images: int = 1, **stack):
    """A model, parameters and a batch of prompts of different lengths, the last row empty."""
    vision = VitConfig((8, 8), 4, width=16, num_layers=1, num_heads=2, mlp_dim=16)
    encoder = 1 if wiring == 'fusion_encoder' else 0
    text = TextConfig(VOCAB, 16, 2, encoder, num_heads=2, head_dim=8, mlp_dim=32, **stack)
    model = VisionTextModel(VisionTextNetwork(NetworkConfig(vision, text, wiring)))
    rows = [*([(prompt, [1])] for prompt in PROMPTS), [([], [])]]
    batch = make_batch(wiring, rows, images=images)
    batch['image_mask'] = batch['image_mask'].at[-1].set(False)
    return model, random_params(model.module, batch, spread=0.4, seed=3), batch


def predict(setting, decoding: DecodingConfig, **options):
    model, params, batch = setting
    run = jitted(
        model,
        'predict_batch_with_aux',
        max_decode_length=ANSWER,
        decoding=decoding,
        return_all_decodes=True,
    )
    tokens, aux = run(params, {**batch, **options.pop('batch', {})}, **options)
    return np.asarray(tokens), np.asarray(aux['scores'])


def test_rows_that_share_an_image_are_answered_as_if_each_had_its_own(setting):
    model, params, batch = setting
    rows = jnp.array([1, 0, 0, 2])
    own = {name: batch[name][rows] for name in ('images', 'image_mask')}
    shared = {name: batch[name][:3] for name in ('images', 'image_mask')}
    tokens, scores = predict(setting, BEAM, batch=own)
    found, found_scores = predict(setting, BEAM, batch={**shared, 'image_rows': rows})
    np.testing.assert_array_equal(found, tokens)
    np.testing.assert_allclose(found_scores, scores, rtol=1e-5)
    labels = jnp.array([[4, 1], [5, 1]])
    score = jitted(model, 'score_labels', max_decode_length=ANSWER)
    np.testing.assert_allclose(
        score(params, {**batch, **shared, 'image_rows': rows}, labels),
        score(params, {**batch, **own}, labels),
        rtol=1e-5,
    )


def teacher_forced(setting, answers, form: PromptForm = PLAIN) -> np.ndarray:
    """Log-probability of answers [B][R] (lists of ids) by `score_batch`, one rival at a time."""
    model, params, batch = setting
    scores = []
    for rival in zip(*answers, strict=True):
        rows = [[(p, list(a))] for p, a in zip(PROMPTS, rival, strict=True)]
        scored = make_batch(model.module.config.wiring, [*rows, [([], [])]], form=form)
        scored |= {name: batch[name] for name in ('images', 'image_mask')}
        scores.append(jitted(model, 'score_batch')(params, scored)[: len(PROMPTS)])
    return np.stack(scores, axis=1)


def without_padding(tokens) -> list[list[list[int]]]:
    return [[[t for t in answer if t] for answer in row] for row in tokens[: len(PROMPTS)].tolist()]


def plain_beams(setting, row: int, width: int, alpha: float) -> list[tuple[int, ...]]:
    """Beam search in plain Python over whole runs of the network, in the words of its docstring."""
    live, ended = [((), 0.0)], []

    def penalised(answer, score):
        return score / ((5 + len(answer)) / 6) ** alpha

    for _ in range(ANSWER):
        grown = []
        for (answer, _), token in itertools.product(live, range(1, VOCAB)):
            longer = (*answer, token)
            padded = [longer if i == row else (2,) * len(longer) for i in range(len(PROMPTS))]
            score = float(teacher_forced(setting, [[answer] for answer in padded])[row, 0])
            grown.append((longer, score))
        kept = sorted(grown, key=lambda entry: -entry[1])[:width]
        ended += [entry for entry in kept if entry[0][-1] == 1]
        live = [entry for entry in kept if entry[0][-1] != 1]
    ended, live = (sorted(part, key=lambda e: -penalised(*e)) for part in (ended, live))
    return [answer for answer, _ in [*ended, *live]][:width]


def test_beams_equal_a_plain_search_without_caches(setting):
    tokens, _ = predict(setting, BEAM)
    for row in range(2):
        wanted = plain_beams(setting, row, RIVALS, BEAM.alpha)
        assert without_padding(tokens)[row] == [list(answer) for answer in wanted]


def test_the_score_of_a_beam_is_its_teacher_forced_log_probability_penalised(setting):
    tokens, scores = predict(setting, BEAM)
    answers = without_padding(tokens)
    lengths = np.array([[len(answer) for answer in row] for row in answers])
    wanted = teacher_forced(setting, answers) / ((5 + lengths) / 6) ** BEAM.alpha
    np.testing.assert_allclose(scores[: len(PROMPTS)], wanted, rtol=1e-5)
    assert len({tuple(answer) for row in answers for answer in row}) > RIVALS
    assert np.isfinite(scores).all()


def test_a_beam_of_one_is_greedy_decoding(setting):
    tokens, _ = predict(setting, DecodingConfig('beam', 1))
    np.testing.assert_array_equal(tokens, predict(setting, DecodingConfig())[0])


def test_samples_are_reproducible_and_scored_by_the_model(setting):
    config = DecodingConfig('sample', RIVALS, temperature=1.5, top_k=6)
    tokens, scores = predict(setting, config, rng=jax.random.key(0))
    np.testing.assert_array_equal(tokens, predict(setting, config, rng=jax.random.key(0))[0])
    assert (tokens != predict(setting, config, rng=jax.random.key(1))[0]).any()
    answers = without_padding(tokens)
    wanted = teacher_forced(setting, answers)
    np.testing.assert_allclose(scores[: len(PROMPTS)], wanted, rtol=1e-5)
    assert len({tuple(answer) for row in answers for answer in row}) > RIVALS


def test_prompts_that_nothing_ends_are_answered_from_their_last_token():
    form = PromptForm(end_id=None)
    model, params, ended = setting = make_setting('decoder_prefix')
    rows = [*([(prompt, [1])] for prompt in PROMPTS), [([], [])]]
    batch = {**ended, **make_batch('decoder_prefix', rows, form=form)}
    tokens, scores = predict((model, params, batch), DecodingConfig())
    wanted = teacher_forced(setting, without_padding(tokens), form)
    np.testing.assert_allclose(scores[: len(PROMPTS)], wanted, rtol=1e-5)
    first = [np.exp(teacher_forced(setting, [[[t]]] * 3, form)[:, 0]) for t in range(1, VOCAB)]
    np.testing.assert_array_equal(tokens[: len(PROMPTS), 0, 0], np.argmax(first, axis=0) + 1)
    assert (scores != predict(setting, DecodingConfig())[1]).all()


def test_a_batch_is_searched_like_its_rows_one_by_one(setting):
    model, params, batch = setting
    tokens, scores = predict(setting, BEAM)
    for row in range(4):
        alone = {name: value[row : row + 1] for name, value in batch.items()}
        found, found_scores = predict((model, params, alone), BEAM)
        np.testing.assert_array_equal(found[0], tokens[row])
        np.testing.assert_allclose(found_scores[0], scores[row], rtol=1e-5)


def test_the_best_decode_alone_is_returned_unless_all_are_asked_for(setting):
    model, params, batch = setting
    tokens, scores = predict(setting, BEAM)
    run = jitted(model, 'predict_batch_with_aux', max_decode_length=ANSWER, decoding=BEAM)
    best, aux = run(params, batch)
    np.testing.assert_array_equal(best, tokens[:, 0])
    np.testing.assert_array_equal(aux['scores'], scores[:, 0])


def test_allowed_tokens_alone_are_generated(setting):
    for config in (DecodingConfig(allowed_ids=(3, 7)), DecodingConfig('beam', 3, allowed_ids=(3,))):
        tokens, scores = predict(setting, config)
        assert set(np.unique(tokens)) <= {0, 1, *config.allowed_ids}
        answers = without_padding(tokens)
        alpha = 0 if config.method == 'greedy' else config.alpha
        lengths = np.array([[len(answer) for answer in row] for row in answers])
        wanted = teacher_forced(setting, answers) / ((5 + lengths) / 6) ** alpha
        np.testing.assert_allclose(scores[: len(PROMPTS)], wanted, rtol=1e-5)


def test_a_single_token_can_be_asked_for(setting):
    model, params, batch = setting
    options = {'max_decode_length': 1, 'decoding': BEAM, 'return_all_decodes': True}
    tokens, aux = jitted(model, 'predict_batch_with_aux', **options)(params, batch)
    wanted = teacher_forced(setting, [[[t] for t in range(1, VOCAB)]] * len(PROMPTS))
    ended = np.asarray(tokens[:3, :, 0]) == 1
    order = np.argsort(-wanted, axis=1)[:, :RIVALS] + 1  # an end, if any, comes first
    assert [set(row) for row in order.tolist()] == [
        set(row) for row in np.asarray(tokens[:3, :, 0]).tolist()
    ]
    assert not ended[:, 1:].any()


LABELS = [[7, 8, 1], [6, 1, 0], [1, 0, 0], [6, 5, 1], [2, 2, 2]]


def test_labels_score_as_score_batch_says_row_by_row(setting):
    model, params, batch = setting
    labels = jnp.array(LABELS)
    scores = jitted(model, 'score_labels', max_decode_length=ANSWER)(params, batch, labels)
    assert scores.shape == (4, 5)
    answers = [[[t for t in label if t] for label in LABELS]] * len(PROMPTS)
    np.testing.assert_allclose(scores[:3], teacher_forced(setting, answers), rtol=1e-5)
    anywhere = jitted(model, 'score_labels')(params, batch, labels)
    np.testing.assert_allclose(anywhere[:3], scores[:3], rtol=1e-5)


def test_labels_of_one_token(setting):
    model, params, batch = setting
    labels = jnp.arange(1, VOCAB)[:, None]
    scores = jitted(model, 'score_labels', max_decode_length=ANSWER)(params, batch, labels)
    # Together with padding, which is no label, they are all that may come first.
    assert (np.exp(scores[:3]).sum(1) < 1).all()
    wanted = teacher_forced(setting, [[[t] for t in range(1, VOCAB)]] * len(PROMPTS))
    np.testing.assert_allclose(scores[:3], wanted, rtol=1e-5)


@pytest.mark.parametrize('method', ['beam', 'sample', 'labels'])
def test_rivals_share_memory_and_prompt_of_their_image(setting, method):
    model, params, batch = setting
    rivals = 7  # no other size of the program
    if method == 'labels':
        labels = jnp.ones((rivals, 3), jnp.int32)
        program = jax.make_jaxpr(model.score_labels)(params, batch, labels)
    else:
        run = functools.partial(
            model.predict_batch_with_aux,
            max_decode_length=ANSWER,
            decoding=DecodingConfig(method, rivals),
        )
        program = jax.make_jaxpr(run)(params, batch, jax.random.key(0))
    text = str(program)
    heads = model.module.config.text.num_heads
    row = PROMPT + (ANSWER if method == 'labels' else 1)
    beside = {'decoder_prefix': 0, 'fusion_encoder': PROMPT, 'prefix_lm': row}
    tokens = 4 + beside[model.module.config.wiring]
    assert f'f32[4,{heads},8,{tokens}]' in text
    # With slots for the answers behind, in `prefix_lm`: three tokens of each, or two of a label.
    cache = tokens + (2 if method == 'labels' else (ANSWER - 1) * rivals)
    for size in (tokens, cache):
        for copied in (f'f32[{4 * rivals},{heads},8,', f'f32[4,{rivals},{heads},8,{size}]'):
            assert copied not in text
    # Keys of the images: one projection a layer, and none of them inside the loop.
    inside = text[text.index('while[' if method != 'labels' else 'scan[') :]
    projected = f'f32[4,{tokens},16] = dot_general'
    assert projected not in inside and text.count(projected) > 0


LEARNED = {'positions': 'learned', 'max_positions': PROMPT + ANSWER}


@pytest.mark.parametrize(
    'wiring, stack',
    [
        pytest.param('prefix_lm', {'scan_layers': True}, marks=pytest.mark.slow),
        ('prefix_lm', GEMMA),
        pytest.param('prefix_lm', LEARNED, marks=pytest.mark.slow),
        pytest.param('decoder_prefix', GEMMA, marks=pytest.mark.slow),
        ('decoder_prefix', LEARNED),
        ('fusion_encoder', {**LEARNED, 'norm': 'layer_norm_no_bias', 'scan_layers': True}),
    ],
)
def test_positions_of_rivals_and_labels_are_those_of_whole_rows(wiring, stack):
    model, params, batch = make_setting(wiring, images=2, **stack)
    # Padding frames before and behind the image: what a row sees of images differs, too.
    batch['image_mask'] = jnp.array([[1, 1], [0, 1], [1, 0], [0, 0]], bool)
    setting = model, params, batch
    tokens, scores = predict(setting, BEAM)
    answers = without_padding(tokens)
    lengths = np.array([[len(answer) for answer in row] for row in answers])
    wanted = teacher_forced(setting, answers) / ((5 + lengths) / 6) ** BEAM.alpha
    np.testing.assert_allclose(scores[: len(PROMPTS)], wanted, rtol=1e-5)
    assert len({tuple(answer) for row in answers for answer in row}) > RIVALS
    labels = jitted(model, 'score_labels', max_decode_length=ANSWER)
    found = labels(params, batch, jnp.array(LABELS))
    answers = [[[t for t in label if t] for label in LABELS]] * len(PROMPTS)
    np.testing.assert_allclose(found[:3], teacher_forced(setting, answers), rtol=1e-5)


# ---------------------------------------------------------------- rows that cannot be answered


def test_a_prompt_that_does_not_fit_scores_nan_instead_of_losing_its_beginning():
    model = VisionTextModel(_prefix_network())
    # Rows of 9 with 6 for the answer leave 4: the beginning of the row and three tokens.
    rows = [[([4, 1], [1])], [([5, 6, 7, 8, 1], [1])], [([5, 6, 1], [1])]]
    batch = make_batch('decoder_prefix', rows)
    params = random_params(model.module, batch)
    run = jitted(model, 'predict_batch_with_aux', max_decode_length=6)
    tokens, aux = run(params, batch)
    assert np.isnan(aux['scores']).tolist() == [False, True, False]
    assert not np.asarray(tokens)[1].any()
    score = jitted(model, 'score_labels', max_decode_length=6)
    labels = score(params, batch, jnp.array([[3, 1]]))
    assert np.isnan(labels[:, 0]).tolist() == [False, True, False]


def test_rows_of_several_prompts_score_nan():
    model = VisionTextModel(_prefix_network())
    pairs = [([4, 1], [3, 1]), ([6, 1], [5, 1])]
    batch = make_batch('decoder_prefix', [[pairs[0]], pairs])
    params = random_params(model.module, batch)
    _, aux = jitted(model, 'predict_batch_with_aux', max_decode_length=2)(params, batch)
    assert np.isnan(aux['scores']).tolist() == [False, True]


def _prefix_network() -> VisionTextNetwork:
    vision = VitConfig((8, 8), 4, width=16, num_layers=1, num_heads=2, mlp_dim=16)
    text = TextConfig(VOCAB, 16, 1, num_heads=2, head_dim=8, mlp_dim=32)
    return VisionTextNetwork(NetworkConfig(vision, text))
