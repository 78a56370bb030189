"""Steps of T5X's Trainer and of ours: the same model, batch and optimizer give the same numbers."""

import functools
import itertools
from types import SimpleNamespace

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from vlm.model import FEATURE_DTYPES, VisionTextModel
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.t5 import TextConfig
from vlm.nn.vit import VitConfig
from vlm.runner.optimizers import Optimizer, muon, warmup_cosine
from vlm.runner.parts import frozen_parameters
from vlm.runner.state import TrainState, flat_names
from vlm.runner.t5x_checkpoints import optimizer_state_of, params_of, read_t5x
from vlm.runner.train_step import make_train_step

from miniature import make_batch, random_params

pytestmark = pytest.mark.t5x

ROWS = [
    [([3, 4, 1], [5, 6, 1])],
    [([3, 1], [7, 1])],
    [([8, 3, 4, 1], [9, 1])],
    [([3, 1], [4, 5, 6, 1])],
]
SCHEDULE = warmup_cosine(1e-2, warmup_steps=2, total_steps=20)
TOLERANCE = 1e-5  # float32, two programs of the same sums


def make_model(wiring='decoder_prefix', *, vision=None, text=None, freeze=False, **options):
    sizes = {'num_heads': 2, 'mlp_dim': 24}
    vit = VitConfig((8, 8), 4, width=16, num_layers=2, **sizes, **(vision or {}))
    layers = 2 * (wiring == 'fusion_encoder')
    stack = TextConfig(32, 16, 2, layers, head_dim=8, **sizes, **(text or {}))
    config = NetworkConfig(vit, stack, wiring, freeze_vision=freeze)
    return VisionTextModel(VisionTextNetwork(config), **options)


def batch_of(model, images=1):
    wiring = model.module.config.wiring
    return make_batch(wiring, ROWS, prompt=4, answer=4, images=images)


def t5x_trainer(model, optimizer, batch, num_microbatches=None):
    """T5X's Trainer over a freshly drawn state, with the objects that checkpoints need."""
    from t5x import partitioning, trainer, utils

    from vlm import t5x

    ours = t5x.T5XModel(model, optimizer, num_microbatches=num_microbatches)
    partitioner = partitioning.PjitPartitioner(
        num_partitions=1, logical_axis_rules=t5x.axis_rules()
    )
    initializer = utils.TrainStateInitializer(
        ours.optimizer_def,
        ours.get_initial_variables,
        {name: value.shape for name, value in batch.items()},
        partitioner,
        {name: FEATURE_DTYPES.get(name, jnp.int32) for name in batch},
    )
    made = trainer.Trainer(
        ours,
        initializer.from_scratch(jax.random.PRNGKey(0)),
        partitioner,
        eval_names=[],
        summary_dir=None,
        train_state_axes=initializer.train_state_axes,
        rng=jax.random.PRNGKey(1),
        learning_rate_fn=SCHEDULE,
        num_microbatches=num_microbatches,
    )
    return SimpleNamespace(trainer=made, partitioner=partitioner)


def copied(params):
    return jax.tree.map(lambda x: jnp.array(np.asarray(x)), flax.core.unfreeze(params))


def steps_of_ours(model, optimizer, params, batch, steps):
    frozen = optimizer.transformation(frozen_parameters(model))
    step = make_train_step(model, frozen, optimizer)
    state, losses = TrainState.create(copied(params), frozen, ema=False), []
    for _ in range(steps):
        state, metrics = step(state, batch, jax.random.key(2))
        losses.append(float(metrics['loss']))
    return state, losses


def steps_of_t5x(trainer, batch, steps):
    """The mean loss of these steps."""
    batches = itertools.repeat({name: np.asarray(value) for name, value in batch.items()})
    summary = trainer.train(batches, steps).result()
    return float(getattr(summary['loss'], 'value', summary['loss']))


def assert_close(found, wanted):
    found, wanted = flat_names(flax.core.unfreeze(found)), flat_names(wanted)
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_allclose(
            found[name], wanted[name], rtol=TOLERANCE, atol=TOLERANCE, err_msg=name
        )


small_adafactor = functools.partial(optax.adafactor, min_dim_size_to_factor=8)


@pytest.mark.parametrize(
    'make, wiring',
    [(optax.adamw, 'decoder_prefix'), (muon, 'fusion_encoder'), (small_adafactor, 'prefix_lm')],
)
def test_same_loss_and_same_parameters_after_five_steps(make, wiring, tmp_path):
    model, optimizer = make_model(wiring), Optimizer(make, SCHEDULE)
    batch = batch_of(model)
    upstream = t5x_trainer(model, optimizer, batch)
    params = copied(upstream.trainer.train_state.params)
    state, losses = steps_of_ours(model, optimizer, params, batch, 5)
    assert losses[4] < losses[0]
    assert steps_of_t5x(upstream.trainer, batch, 1) == pytest.approx(losses[0], rel=TOLERANCE)
    rest = steps_of_t5x(upstream.trainer, batch, 4)
    assert rest == pytest.approx(np.mean(losses[1:]), rel=TOLERANCE)
    assert_close(upstream.trainer.train_state.params, state.params)
    older_form_is_read(upstream, state, tmp_path)


def older_form_is_read(upstream, state, folder):
    """What T5X writes with train.use_orbax=False holds parameters and state of the optimizer."""
    from t5x import checkpoints

    saved = upstream.trainer.train_state
    checkpoints.Checkpointer(saved, upstream.partitioner, str(folder)).save(saved)
    tree = read_t5x(folder / 'checkpoint_5')
    assert int(tree['state']['step']) == 5
    assert_close(params_of(tree, state.params), state.params)
    restored = optimizer_state_of(tree, state.opt_state)
    assert jax.tree.structure(restored) == jax.tree.structure(state.opt_state)
    for found, wanted in zip(
        jax.tree.leaves(restored), jax.tree.leaves(state.opt_state), strict=True
    ):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=TOLERANCE)


def test_microbatches_train_like_the_whole_batch():
    model = make_model(loss_normalizer='sequence')
    optimizer, batch = Optimizer(optax.sgd, SCHEDULE, clip_norm=None), batch_of(model)
    upstream = t5x_trainer(model, optimizer, batch, num_microbatches=2)
    params = copied(upstream.trainer.train_state.params)
    state, _ = steps_of_ours(model, optimizer, params, batch, 3)
    steps_of_t5x(upstream.trainer, batch, 3)
    assert_close(upstream.trainer.train_state.params, state.params)


def test_decoding_is_bound_on_our_class_as_in_t5x():
    import gin

    from vlm import t5x

    gin.parse_config("""
from __gin__ import dynamic_registration
from vlm import t5x

t5x.T5XModel.predict_batch_with_aux:
  num_decodes = 3
  return_all_decodes = True
""")
    model = make_model()
    batch = batch_of(model)
    params = random_params(model.module, batch)
    bound = gin.get_configurable(t5x.T5XModel)(model, task_feature_lengths={'targets': 4})
    assert bound.predict_batch(params, batch).shape == (4, 3, 4)


def t5x_adafactor():
    from t5x import adafactor

    from vlm import t5x

    return adafactor.Adafactor(1e-2, logical_factor_rules=t5x.factor_rules())


def ours(make):
    return lambda: Optimizer(make, SCHEDULE)


EXPERTS = {'moe_blocks': (1,), 'moe_experts': 2, 'moe_selected': 1}
SCANNED = {'scan_layers': True}
MASKED = {'mask_token': True}


@pytest.mark.parametrize(
    'model, optimizer, images',
    [
        ({'wiring': 'fusion_encoder'}, t5x_adafactor, 1),
        ({'wiring': 'prefix_lm'}, t5x_adafactor, 2),
        ({'vision': SCANNED, 'text': SCANNED}, t5x_adafactor, 1),
        ({'vision': SCANNED, 'text': SCANNED, 'wiring': 'fusion_encoder'}, ours(optax.adamw), 3),
        ({'vision': EXPERTS}, t5x_adafactor, 1),
        ({'text': MASKED, 'parallel_prediction': 0.5}, ours(optax.lion), 1),
        ({'freeze': True}, t5x_adafactor, 1),
        ({'freeze': True}, ours(muon), 1),
    ],
    ids=[
        'fusion_encoder', 'prefix_lm-two_images', 'scanned', 'scanned-three_images', 'experts',
        'parallel_prediction', 'frozen-adafactor', 'frozen-muon',
    ],
)  # fmt: skip
def test_every_family_takes_steps(model, optimizer, images):
    model = make_model(**model)
    batch = batch_of(model, images)
    trainer = t5x_trainer(model, optimizer(), batch).trainer
    before = copied(trainer.train_state.params)
    losses = [steps_of_t5x(trainer, batch, 2) for _ in range(2)]
    assert losses[1] < losses[0]
    after = copied(trainer.train_state.params)
    moved = {name: bool((old != after_[name]).any()) for after_ in [flat_names(after)]
             for name, old in flat_names(before).items()}  # fmt: skip
    frozen = frozen_parameters(model)
    assert not any(moved[name] for name in moved if frozen(name))
    assert all(moved[name] for name in moved if 'kernel' in name and not frozen(name))
