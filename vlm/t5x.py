"""Upstream T5X runs our models: what gin/t5x/ gives to `t5x.train`, `t5x.eval` and `t5x.infer`.

The only module that imports T5X, which installs from git alone. docs/t5x.md says how to put it
beside this package and what differs from `vlm train`.
"""

import dataclasses
import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
from flax.core import unfreeze
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Bool, Float, Int

from vlm.decoding import DecodingConfig
from vlm.errors import UNANSWERED, UserError
from vlm.model import Batch, DerivedCalls, PyTree, VisionTextModel

KNOWN_COMMIT = 'cc342d4'

# Every name of T5X that is used here, so that another T5X is told by what it lacks.
_USED = {
    't5x.adafactor': ('FactorDim', 'standard_logical_factor_rules'),
    't5x.metrics': ('StepsPerTime', 'TimeRate'),
    't5x.optimizers': ('OptaxWrapper',),
    't5x.partitioning': ('standard_logical_axis_rules',),
}


def _import_t5x() -> list[Any]:
    """The modules of `_USED`; `UserError` where T5X is missing or is another than we know."""
    found = []
    for name, attributes in _USED.items():
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise UserError(
                f'no module {error.name!r}: vlm.t5x needs the repositories google-research/t5x '
                f'(commit {KNOWN_COMMIT}), google/airio and google-research/jestimator on '
                'PYTHONPATH, and `pip install tensorboard fiddle cached-property chex clu`.'
            ) from error
        for attribute in attributes:
            if not hasattr(module, attribute):
                raise UserError(
                    f'this T5X has no {name}.{attribute}. Commit {KNOWN_COMMIT} of '
                    'google-research/t5x is known to work.'
                )
        found.append(module)
    return found


adafactor, metrics, optimizers, partitioning = _import_t5x()


class T5XModel(DerivedCalls):
    """A `VisionTextModel` as T5X calls it.

    Args:
      model: the model, whichever gin file of models/ describes it.
      optimizer: what OPTIMIZER is, of ours (`vlm.runner.optimizers.Optimizer`) or of T5X. None
        where nothing is trained.
      decoding: how answers are chosen.
      task_feature_lengths: of the examples that are predicted; the length of `targets` is that of
        an answer.
      num_microbatches: T5X's: it adds up their gradients, so a loss that is a mean is divided by
        their number.
      registered: what gin's REGISTER lists: its calls are made before the model is.
      public_checkpoints: VISION_CHECKPOINT and TEXT_CHECKPOINT, and in pretraining
        INITIAL_CHECKPOINT_PATH: T5X would pass over them.
      rows_per_image: ROWS_PER_IMAGE; T5X has one converter for training and evaluation, so 1.

    Raises:
      UserError: an optimizer of ours that averages parameters, public checkpoints, or several rows
        an image.
    """

    def __init__(
        self,
        model: VisionTextModel,
        optimizer: Any = None,
        decoding: DecodingConfig = DecodingConfig(),  # noqa: B008  (frozen)
        task_feature_lengths: Mapping[str, int] | None = None,
        num_microbatches: int | None = None,
        registered: Any = (),
        public_checkpoints: Sequence[str | None] = (),
        rows_per_image: int = 1,
    ):
        _refuse_public(public_checkpoints)
        if rows_per_image != 1:
            raise UserError(
                f'ROWS_PER_IMAGE = {rows_per_image}: T5X lays out the examples of training and of '
                'evaluation alike. Bind it to 1, or train with `vlm train`.'
            )
        self.model = model
        self.module = model.module
        self.input_vocabulary = model.input_vocabulary
        self.output_vocabulary = model.output_vocabulary
        self.FEATURE_CONVERTER_CLS = model.FEATURE_CONVERTER_CLS
        self.optimizer_def = _definition(optimizer, model) if optimizer is not None else None
        self.registered = registered
        self._decoding = decoding
        self._parts = num_microbatches if num_microbatches and model.loss_normalizer != 'sum' else 1
        self._answer_length = (task_feature_lengths or {}).get('targets')

    def get_initial_variables(
        self,
        rng: Array,
        input_shapes: Mapping[str, tuple[int, ...]],
        input_types: Mapping[str, Any] | None = None,
    ) -> PyTree:
        """Parameters and `params_axes`; dtypes are the model's own where T5X passes none."""
        return self.model.get_initial_variables(rng, input_shapes, input_types)

    def loss_fn(
        self, params: PyTree, batch: Batch, dropout_rng: Array | None
    ) -> tuple[Float[Array, ''], dict[str, Any]]:
        """The model's loss and metrics, and what T5X times."""
        loss, found = self.model.loss_fn(params, batch, dropout_rng)
        rate = metrics.TimeRate.from_model_output(numerator=float(len(batch['images'])))
        timing = {
            'timing/seqs_per_second': rate,
            'timing/steps_per_second': metrics.StepsPerTime.from_model_output(),
        }
        return loss / self._parts, {**found, **timing}

    def predict_batch_with_aux(
        self,
        params: PyTree,
        batch: Batch,
        rng: Array | None = None,
        num_decodes: int | None = None,
        return_all_decodes: bool = False,
    ) -> tuple[Int[Array, 'B *R T'], dict[str, Array]]:
        """Answers and `{'scores': [B]}`; with `return_all_decodes` all of a row, the best last.

        `num_decodes` is the width of a beam, as T5X has it, unless `decoding` draws samples. An
        example without a readable image answers `UNANSWERED`, as in this package's evaluation.
        """
        tokens, aux = self.model.predict_batch_with_aux(
            params,
            batch,
            rng,
            self._answer_length,
            _with_decodes(self._decoding, num_decodes),
            return_all_decodes,
        )
        if return_all_decodes:
            tokens, aux = tokens[:, ::-1], {name: value[:, ::-1] for name, value in aux.items()}
        return self._unanswered_where_unseen(tokens, batch['image_mask']), aux

    def _unanswered_where_unseen(
        self, tokens: Int[Array, 'B *R T'], image_mask: Bool[Array, 'B N']
    ) -> Int[Array, 'B *R W']:
        if self.output_vocabulary is None:
            return tokens
        ids = jnp.array(self.output_vocabulary.encode(UNANSWERED), tokens.dtype)
        width = max(len(ids), tokens.shape[-1])

        def widened(x: Array) -> Array:
            return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - x.shape[-1])])

        seen = image_mask.any(axis=1).reshape(-1, *[1] * (tokens.ndim - 1))
        return jnp.where(seen, widened(tokens), widened(ids))

    def score_batch(self, params: PyTree, batch: Batch, return_intermediates: bool = False) -> Any:
        """Log-probability of each row's answer, see `VisionTextModel.score_batch`."""
        return self.model.score_batch(params, batch, return_intermediates)


def _refuse_public(checkpoints: Sequence[str | None]) -> None:
    for path in filter(None, checkpoints):
        raise UserError(
            f'{path} (VISION_CHECKPOINT, TEXT_CHECKPOINT, or INITIAL_CHECKPOINT_PATH of '
            't5x/pretrain.gin): T5X would begin without it. Start a run with `vlm train`, and give '
            'what `vlm export RUN --format t5x` writes of it to t5x/finetune.gin as '
            'INITIAL_CHECKPOINT_PATH.'
        )


def _with_decodes(decoding: DecodingConfig, count: int | None) -> DecodingConfig:
    if count is None:
        return decoding
    method = 'beam' if decoding.method == 'greedy' and count > 1 else decoding.method
    return dataclasses.replace(decoding, method=method, num_decodes=count)


# ---- optimizers ----


class OptaxDefinition(optimizers.OptaxWrapper):
    """Any optax transformation as T5X's optimizer definition.

    T5X knows the states of a few transformations by their classes and refuses all others. Here an
    array of the state is laid out like the parameter whose path ends its own and whose shape it
    has; every other array is on all devices.
    """

    def derive_logical_axes(self, optimizer: Any, param_logical_axes: PyTree) -> Any:
        axes_of = flatten_dict(unfreeze(param_logical_axes))
        state = optimizer.state_dict()
        shapes = {k: v.shape for k, v in flatten_dict(unfreeze(state['target'])).items()}

        def axes(path: tuple[str, ...], leaf: Any) -> Any:
            names = (path[i:] for i in range(len(path)))
            alike = (name for name in names if shapes.get(name) == leaf.shape)
            return axes_of.get(next(alike, None))

        flat = flatten_dict(state['state']['param_states'])
        states = unflatten_dict({path: axes(path, leaf) for path, leaf in flat.items()})
        laid_out = {'step': None, 'param_states': states}
        return optimizer.restore_state({'target': unfreeze(param_logical_axes), 'state': laid_out})


def _definition(optimizer: Any, model: VisionTextModel) -> Any:
    if not hasattr(optimizer, 'transformation'):
        return optimizer  # one of T5X's
    if optimizer.ema_decay is not None:
        raise UserError(
            f'Optimizer.ema_decay = {optimizer.ema_decay}: T5X keeps no averaged parameters. Bind '
            'it to None, or train with `vlm train`.'
        )
    return OptaxDefinition(optimizer.of_all_parameters(model))


def learning_rate(optimizer: Any) -> Callable[[Any], Any]:
    """The schedule of an optimizer of ours, for `Trainer.learning_rate_fn`.

    T5X logs that rate and an optax transformation applies its own: here they are the same.
    """
    return optimizer.schedule


def initial_checkpoint(path: str | None) -> str:
    """INITIAL_CHECKPOINT_PATH of t5x/finetune.gin, which `vlm train` can do without."""
    if path is None:
        raise UserError(
            't5x/finetune.gin needs INITIAL_CHECKPOINT_PATH, a folder checkpoint_STEP of T5X '
            'or of `vlm export RUN --format t5x`. From scratch: t5x/pretrain.gin.'
        )
    return absolute_path(path)


def absolute_path(path: str | Sequence[str]) -> str | list[str]:
    """MODEL_DIR or CHECKPOINT_PATH from the root on: T5X hands them to Orbax, which takes no other.

    Addresses such as `gs://bucket/folder` stay, and so does the empty list, T5X's for none.
    """
    if not isinstance(path, str):
        return [absolute_path(each) for each in path]
    return path if '://' in path else os.path.abspath(path)


def eval_period(period: int | None, total_steps: int, checkpoint_period: int) -> int:
    """Steps between evaluations for T5X, which has no None: the end alone, as in `vlm train`.

    T5X refuses periods of which neither is a multiple of the other, and evaluates at the end of any
    last period: so the multiple that ends there or later.
    """
    return period or -(-total_steps // checkpoint_period) * checkpoint_period


def factor_rules() -> dict[str | None, Any]:
    """How T5X's Adafactor factors our parameters, by axis name.

    An axis that has no name (positions, pixels of a patch) is not factored; every expert is a
    matrix of its own.
    """
    dims = adafactor.FactorDim
    ours = {None: dims.NONE, 'expert': dims.BATCH}
    return {**adafactor.standard_logical_factor_rules(), **ours}


def axis_rules(
    activation_partitioning_dims: int = 1, parameter_partitioning_dims: int = 1
) -> list[tuple[str, Any]]:
    """T5X's rules of where axes go, with experts of V-MoE split over the data axis."""
    rules = partitioning.standard_logical_axis_rules(
        activation_partitioning_dims, parameter_partitioning_dims
    )
    return [*rules, ('expert', 'data')]
