"""The adapter to T5X without T5X: its model called as T5X calls one, its optimizers and rules.

T5X's own modules are stand-ins here with no more than what the adapter names. tests/upstream runs
the real thing.
"""

import importlib
import inspect
import os
import sys
import types
from types import SimpleNamespace

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.linen.partitioning import AxisMetadata, get_axis_names

from vlm.data.converter import ImageTextFeatureConverter
from vlm.decoding import DecodingConfig
from vlm.errors import UNANSWERED, UserError
from vlm.model import VisionTextModel
from vlm.nn.network import WIRINGS, NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.optimizers import Optimizer, muon

from miniature import make_batch, random_params

# The names that T5X's partition rules and its Adafactor both know; None is never sharded.
KNOWN_TO_BOTH = {
    'vocab', 'embed', 'mlp', 'heads', 'kv', 'joined_kv', 'relpos_buckets', 'layers', None,
}  # fmt: skip
ROWS = [[([3, 4, 1], [5, 6, 1])], [([3, 1], [7, 1])]]


class Wrapper:
    """T5X's wrapper, as far as the adapter builds on it."""

    def __init__(self, transformation):
        self.transformation = transformation


def stand_ins():
    dims = SimpleNamespace(NONE='none', BATCH='batch', ROW='row', COLUMN='column')
    modules = {
        't5x': {},
        't5x.adafactor': {
            'FactorDim': dims,
            'standard_logical_factor_rules': lambda: {'embed': 'row', 'layers': 'batch'},
        },
        't5x.metrics': {
            'TimeRate': SimpleNamespace(from_model_output=lambda numerator: numerator),
            'StepsPerTime': SimpleNamespace(from_model_output=lambda: 1.0),
        },
        't5x.optimizers': {'OptaxWrapper': Wrapper},
        't5x.partitioning': {
            'standard_logical_axis_rules': lambda a, p: [('batch', 'data'), ('mlp', (a, p))]
        },
    }
    for name, attributes in modules.items():
        module = types.ModuleType(name)
        vars(module).update(attributes)
        modules[name] = module
    return modules


@pytest.fixture
def with_modules(monkeypatch):
    """`with_modules(modules)`: vlm.t5x, imported anew where these are T5X."""

    def load(modules):
        monkeypatch.delitem(sys.modules, 'vlm.t5x', raising=False)
        for name, module in modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        module = importlib.import_module('vlm.t5x')
        sys.modules.pop('vlm.t5x')
        return module

    return load


@pytest.fixture
def adapter(with_modules):
    return with_modules(stand_ins())


def make_model(wiring='decoder_prefix', freeze=False, scan=False, **options):
    vision = VitConfig((8, 8), 4, width=16, num_layers=2, num_heads=2, mlp_dim=16, scan_layers=scan)
    text = TextConfig(
        32, 16, 2, 2 * (wiring == 'fusion_encoder'), num_heads=2, head_dim=8, mlp_dim=16,
        scan_layers=scan,
    )  # fmt: skip
    config = NetworkConfig(vision, text, wiring, freeze_vision=freeze)
    return VisionTextModel(
        VisionTextNetwork(config),
        feature_converter_cls=lambda **given: ImageTextFeatureConverter(wiring, **given),
        **options,
    )


def batch_and_params(model):
    batch = make_batch(model.module.config.wiring, ROWS, prompt=4, answer=4)
    return batch, random_params(model.module, batch)


@pytest.mark.parametrize('wiring', WIRINGS)
@pytest.mark.parametrize('scan', [False, True])
def test_start_of_training_and_of_eval(adapter, wiring, scan):
    model = adapter.T5XModel(make_model(wiring, scan=scan))
    converter = model.FEATURE_CONVERTER_CLS(pack=False, use_custom_packing_ops=False)
    lengths = converter.get_model_feature_lengths({'images': 2, 'inputs': 4, 'targets': 4})
    shapes = {name: (2, length) for name, length in lengths.items()}
    shapes['images'] = (2, 2, 8, 8, 3)
    assert inspect.ismethod(model.get_initial_variables)  # a functools.partial fails
    types_ = {name: spec.dtype.as_numpy_dtype for name, spec in converter.MODEL_FEATURES.items()}
    found = {}
    for engine, given in {'train': types_, 'eval': None}.items():

        def initial(rng, given=given):
            variables = model.get_initial_variables(rng=rng, input_shapes=shapes, input_types=given)
            found['axes'] = variables.pop('params_axes')
            return flax.core.freeze(variables)

        found[engine] = jax.eval_shape(initial, jax.random.PRNGKey(0))
    assert found['train'] == found['eval']
    params = found['train']['params']
    leaves = jax.tree.leaves(found['axes'], is_leaf=lambda x: isinstance(x, AxisMetadata))
    assert all(isinstance(leaf, AxisMetadata) for leaf in leaves)
    names = flax.core.unfreeze(get_axis_names(found['axes']))
    same = jax.tree.map(
        lambda spec, leaf: len(spec) == leaf.ndim and set(spec) <= KNOWN_TO_BOTH,
        names, flax.core.unfreeze(params), is_leaf=lambda x: isinstance(x, tuple),
    )  # fmt: skip
    assert all(jax.tree.leaves(same)) and len(jax.tree.leaves(same)) == len(leaves)


def test_losses_as_t5x_calls_for_them(adapter):
    ours = make_model()
    model = adapter.T5XModel(ours)
    batch, params = batch_and_params(ours)
    params = flax.core.freeze(params)  # T5X keeps parameters frozen
    grad = jax.grad(model.loss_fn, has_aux=True)
    gradient, metrics = jax.eval_shape(grad, params, batch, jax.random.PRNGKey(1))
    assert jax.tree.structure(gradient) == jax.tree.structure(params)

    @jax.jit
    def both(params, batch):
        return ours.eval_fn(params, batch), model.eval_fn(params, batch)

    (wanted, own), (loss, again) = both(params, batch)
    np.testing.assert_allclose(loss, wanted, rtol=1e-6)
    assert metrics.keys() == again.keys() >= own.keys()
    assert again['timing/seqs_per_second'] == 2.0


@pytest.mark.parametrize('normalizer, share', [('tokens', 0.5), ('sequence', 0.5), ('sum', 1.0)])
def test_gradients_of_microbatches_add_up_to_one_of_the_batch(adapter, normalizer, share):
    ours, batch = make_model(loss_normalizer=normalizer), {'images': jnp.zeros(3)}
    ours.loss_fn = lambda params, batch, rng: (jnp.array(8.0), {})
    assert adapter.T5XModel(ours, num_microbatches=2).eval_fn({}, batch)[0] == 8.0 * share
    assert adapter.T5XModel(ours).eval_fn({}, batch)[0] == 8.0


def infer_step(method, params, batch, rng, **options):
    """T5X passes a key, and mutable collections, to methods that name them."""
    names = inspect.signature(method).parameters
    assert 'flax_mutables' not in names
    given = (rng,) if 'rng' in names else ()
    return jax.jit(lambda params, batch: method(params, batch, *given, **options))(params, batch)


class Vocabulary:
    """What the adapter asks of one."""

    def encode(self, text):
        return [9, 8, 7, 6, 5] if text == UNANSWERED else []


def test_predictions_are_those_of_the_model_and_the_unseen_are_unanswered(adapter):
    ours = make_model(output_vocabulary=Vocabulary())
    model = adapter.T5XModel(ours, task_feature_lengths={'images': 1, 'inputs': 4, 'targets': 3})
    batch, params = batch_and_params(ours)
    batch['image_mask'] = jnp.array([[True], [False]])
    key = jax.random.PRNGKey(0)
    answers = infer_step(model.predict_batch, params, batch, key)
    wanted = infer_step(ours.predict_batch, params, batch, key, max_decode_length=3)
    np.testing.assert_array_equal(answers[0], [*wanted[0], 0, 0])
    np.testing.assert_array_equal(answers[1], [9, 8, 7, 6, 5])


def test_decoding_options_come_through_t5x_bindings(adapter):
    ours = make_model()
    model = adapter.T5XModel(ours, task_feature_lengths={'targets': 3})
    batch, params = batch_and_params(ours)
    key = jax.random.PRNGKey(0)
    options = {'num_decodes': 2, 'return_all_decodes': True}
    tokens, aux = infer_step(model.predict_batch_with_aux, params, batch, key, **options)
    beam = DecodingConfig('beam', 2)
    wanted = {'max_decode_length': 3, 'decoding': beam, 'return_all_decodes': True}
    best, scores = infer_step(ours.predict_batch_with_aux, params, batch, key, **wanted)
    np.testing.assert_array_equal(tokens[:, ::-1], best)  # T5X has the best last
    np.testing.assert_allclose(aux['scores'][:, ::-1], scores['scores'], rtol=1e-5)
    assert (aux['scores'][:, 1] > aux['scores'][:, 0]).all()
    sampling = adapter.T5XModel(ours, None, DecodingConfig('sample'), {'targets': 3})
    drawn = infer_step(sampling.predict_batch, params, batch, key, num_decodes=3)
    options = {'max_decode_length': 3, 'decoding': DecodingConfig('sample', 3)}
    wanted = infer_step(ours.predict_batch, params, batch, key, **options)
    np.testing.assert_array_equal(drawn, wanted)


def test_scores_are_those_of_the_model(adapter):
    ours = make_model()
    batch, params = batch_and_params(ours)
    model = adapter.T5XModel(ours)

    @jax.jit
    def both(params, batch):
        return ours.score_batch(params, batch), model.score_batch(
            params, batch, return_intermediates=True
        )

    wanted, (scores, intermediates) = both(params, batch)
    np.testing.assert_allclose(scores, wanted, rtol=1e-6)
    assert isinstance(intermediates['decoder']['token_scores'], tuple)


def test_packing_is_refused_before_anything_is_compiled(adapter):
    model = adapter.T5XModel(make_model())
    with pytest.raises(UserError, match='pack=True cannot be used with images'):
        model.FEATURE_CONVERTER_CLS(pack=True, use_custom_packing_ops=False)


# ---- optimizers ----


class Created:
    """What T5X's `optimizer_def.create(params)` gives, for any transformation."""

    def __init__(self, transformation, params):
        self.params, self.state = params, transformation.init(params)

    def state_dict(self):
        states = flax.serialization.to_state_dict(self.state)
        flat = flax.traverse_util.flatten_dict(states)
        states = flax.traverse_util.unflatten_dict(flat)
        return {'target': self.params, 'state': {'step': 0, 'param_states': states}}

    def restore_state(self, state):
        return state


PARAMS = {
    'vision': {'kernel': jnp.ones((4, 6))},
    'text': {'kernel': jnp.ones((6, 8)), 'scale': jnp.ones((8,))},
}
AXES = {
    'vision': {'kernel': ('embed', 'mlp')},
    'text': {'kernel': ('embed', 'vocab'), 'scale': ('embed',)},
}


def axes_of_state(adapter, optimizer, freeze=False):
    model = make_model(freeze=freeze)
    definition = adapter.T5XModel(model, optimizer).optimizer_def
    created = Created(definition.transformation, PARAMS)
    found = definition.derive_logical_axes(created, AXES)
    assert found['target'] == AXES and found['state']['step'] is None
    shapes = flax.traverse_util.flatten_dict(created.state_dict()['state']['param_states'])
    axes = flax.traverse_util.flatten_dict(found['state']['param_states'])
    assert shapes.keys() == axes.keys()
    return {'/'.join(path): (shapes[path].shape, axes[path]) for path in axes}


def adafactor(learning_rate):
    return optax.adafactor(learning_rate, min_dim_size_to_factor=2)


@pytest.mark.parametrize('make', [optax.adamw, muon, adafactor])
def test_every_array_of_an_optimizers_state_lies_like_its_parameter(adapter, make):
    optimizer = Optimizer(make=make, schedule=lambda step: 1e-3)
    found = axes_of_state(adapter, optimizer)
    by_shape = {(4, 6): ('embed', 'mlp'), (6, 8): ('embed', 'vocab'), (8,): ('embed',)}
    laid_out = {name: axes for name, (_, axes) in found.items() if axes is not None}
    assert any(name.endswith('text/kernel') for name in laid_out) == (make is not adafactor)
    for name, (shape, axes) in found.items():
        if name.endswith(('kernel', 'scale')) and '/v_' not in name:
            # Adafactor holds a placeholder where a matrix is factored.
            assert axes == by_shape.get(shape)
        elif 'count' in name:
            assert axes is None


def test_a_frozen_encoder_has_no_state(adapter):
    optimizer = Optimizer(make=optax.adamw, schedule=lambda step: 1e-3)
    assert any('vision' in name for name in axes_of_state(adapter, optimizer))
    assert not any('vision' in name for name in axes_of_state(adapter, optimizer, freeze=True))


def test_a_definition_of_t5x_is_taken_as_it_is(adapter):
    definition = object()
    assert adapter.T5XModel(make_model(), definition).optimizer_def is definition
    assert adapter.T5XModel(make_model()).optimizer_def is None


def test_averaged_parameters_are_refused(adapter):
    optimizer = Optimizer(optax.adamw, lambda step: 1e-3, ema_decay=0.9)
    with pytest.raises(UserError, match=r'Optimizer\.ema_decay = 0\.9: T5X keeps no averaged'):
        adapter.T5XModel(make_model(), optimizer)


def test_public_weights_are_refused_rather_than_passed_over(adapter):
    with pytest.raises(UserError, match=r'^b16\.npz \(VISION_CHECKPOINT, TEXT_CHECKPOINT, or'):
        adapter.T5XModel(make_model(), public_checkpoints=[None, 'b16.npz'])
    adapter.T5XModel(make_model(), public_checkpoints=[None, None])


def test_several_rows_an_image_are_refused(adapter):
    with pytest.raises(UserError, match='ROWS_PER_IMAGE = 2'):
        adapter.T5XModel(make_model(), rows_per_image=2)


def test_finetuning_without_a_checkpoint_is_refused(adapter):
    with pytest.raises(UserError, match=r'needs INITIAL_CHECKPOINT_PATH.*t5x/pretrain\.gin'):
        adapter.initial_checkpoint(None)
    here = os.getcwd()
    assert adapter.initial_checkpoint('run/checkpoint_4') == f'{here}/run/checkpoint_4'


def test_folders_are_named_from_the_root(adapter):
    assert adapter.absolute_path('run') == f'{os.getcwd()}/run'
    kept = ['/run', 'gs://bucket/run']
    assert [adapter.absolute_path(path) for path in kept] == adapter.absolute_path(kept) == kept
    assert adapter.absolute_path([]) == []


def test_the_logged_rate_is_the_applied_one_and_periods_are_numbers(adapter):
    schedule = optax.constant_schedule(0.5)
    assert adapter.learning_rate(Optimizer(optax.adamw, schedule)) is schedule
    assert adapter.eval_period(None, 30, 30) == 30
    assert adapter.eval_period(None, 1250, 500) == 1500  # the end; T5X refuses 1250 beside 500
    assert adapter.eval_period(None, 4, 30) == 30
    assert adapter.eval_period(10, 30, 30) == 10


def test_rules_know_every_name_we_use(adapter):
    assert adapter.factor_rules() == {
        'embed': 'row', 'layers': 'batch', 'expert': 'batch', None: 'none',
    }  # fmt: skip
    assert adapter.axis_rules(1, 2) == [('batch', 'data'), ('mlp', (1, 2)), ('expert', 'data')]


# ---- T5X missing, or another ----


def test_missing_t5x_is_one_line_that_says_what_to_install(with_modules):
    missing = dict.fromkeys(stand_ins())  # None in sys.modules: cannot be imported
    with pytest.raises(UserError, match='google-research/t5x .*PYTHONPATH.*pip install') as error:
        with_modules(missing)
    assert '\n' not in str(error.value)


def test_another_t5x_is_told_by_what_it_lacks(with_modules):
    modules = stand_ins()
    del modules['t5x.metrics'].TimeRate
    message = r'this T5X has no t5x\.metrics\.TimeRate\. Commit cc342d4 .* is known to work'
    with pytest.raises(UserError, match=message):
        with_modules(modules)
