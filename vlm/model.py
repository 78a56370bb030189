"""`VisionTextModel`: losses, prediction and scoring of a network, with T5X's model contract.

Nothing here knows a mesh, a data set or gin: the runner jits these methods, T5X calls the same.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from clu import metrics as clu_metrics
from jaxtyping import Array, Bool, Float, Int

from vlm.decoding import DecodingConfig, decode, prefill
from vlm.errors import UserError, unknown_name
from vlm.losses import (
    NORMALIZERS,
    Whole,
    emphasised,
    in_chunks,
    normalized_weights,
    token_losses,
    weight_total,
)
from vlm.nn.moe import LOSSES
from vlm.nn.network import NetworkConfig, VisionTextNetwork
from vlm.nn.parallel import hide_answers

Batch = Mapping[str, Array]
PyTree = Any

EOS_ID = 1

# The dtype of each feature, for engines that initialise from shapes alone (T5X's eval does).
FEATURE_DTYPES = {
    'images': jnp.uint8,
    'image_mask': jnp.bool_,
    'decoder_prefix_mask': jnp.bool_,
    'decoder_loss_weights': jnp.float32,
}


class DerivedCalls:
    """What follows from a model's `loss_fn` and `predict_batch_with_aux`."""

    def eval_fn(self, params: PyTree, batch: Batch) -> tuple[Float[Array, ''], dict[str, Any]]:
        """`loss_fn` without dropout."""
        return self.loss_fn(params, batch, None)

    def predict_batch(
        self, params: PyTree, batch: Batch, rng: Array | None = None, **options: Any
    ) -> Int[Array, 'B *R T']:
        """The answers of `predict_batch_with_aux`, whose options and gin bindings it shares."""
        return self.predict_batch_with_aux(params, batch, rng, **options)[0]


class VisionTextModel(DerivedCalls):
    """A network with its vocabularies, loss and decoding.

    Args:
      module: the network.
      input_vocabulary: the vocabulary of prompts (opaque here; evaluation decodes with it).
      output_vocabulary: the vocabulary of answers.
      optimizer_def: T5X's optimizer definition; this package's runner passes none.
      feature_converter_cls: makes the feature converter; opaque here.
      loss_normalizer: 'tokens', 'sequence' or 'sum', see `vlm.losses.normalized_weights`.
      first_token_weight: how much more than the others the first token of an answer counts in the
        loss; above 0.
      label_smoothing: in [0, 1).
      z_loss: coefficient of log(Z)**2.
      max_answer_tokens: how many answer tokens a row has at most (the task length of `targets`);
        the loss then computes logits for as many positions of a row and not for its prompts. None
        computes all.
      loss_chunk: computes logits for so many positions of every row at a time, and again in the
        backward pass, so that the logits of a batch over a large vocabulary are never held whole.
        None: all at once.
      parallel_prediction: share of training examples whose answers are predicted at once, every
        decoder input being the mask token (CapPa, 2306.07915; see `vlm.nn.parallel`).
      parallel_prompt: ids of the one prompt whose answers that happens to (LocCa: that of Cap).
        None: all.
    """

    def __init__(
        self,
        module: VisionTextNetwork,
        input_vocabulary: Any = None,
        output_vocabulary: Any = None,
        optimizer_def: Any = None,
        feature_converter_cls: Callable[..., Any] | None = None,
        loss_normalizer: str = 'tokens',
        first_token_weight: float = 1.0,
        label_smoothing: float = 0.0,
        z_loss: float = 0.0,
        max_answer_tokens: int | None = None,
        loss_chunk: int | None = None,
        parallel_prediction: float = 0.0,
        parallel_prompt: tuple[int, ...] | None = None,
    ):
        if loss_normalizer not in NORMALIZERS:
            raise unknown_name(
                'loss normaliser', loss_normalizer, NORMALIZERS, 'VisionTextModel.loss_normalizer'
            )
        if first_token_weight <= 0.0:
            raise UserError(
                f'VisionTextModel.first_token_weight = {first_token_weight} must be above 0.'
            )
        if not 0.0 <= label_smoothing < 1.0:
            raise UserError(
                f'VisionTextModel.label_smoothing = {label_smoothing} is not in [0, 1).'
            )
        if loss_chunk is not None and loss_chunk < 1:
            raise UserError(f'VisionTextModel.loss_chunk = {loss_chunk} is less than 1.')
        if parallel_prediction:
            _check_parallel(parallel_prediction, module.config)
        self.module = module
        self.input_vocabulary = input_vocabulary
        self.output_vocabulary = output_vocabulary
        self.optimizer_def = optimizer_def
        self.FEATURE_CONVERTER_CLS = feature_converter_cls
        self.loss_normalizer = loss_normalizer
        self.first_token_weight = first_token_weight
        self.label_smoothing = label_smoothing
        self.z_loss = z_loss
        self.max_answer_tokens = max_answer_tokens
        self.loss_chunk = loss_chunk
        self.parallel_prediction = parallel_prediction
        self.parallel_prompt = parallel_prompt

    def with_patch_size(self, patch_size: int) -> 'VisionTextModel':
        """This model, for the same parameters, with images cut at another patch size (FlexiViT)."""
        config = self.module.config
        vision = dataclasses.replace(config.vision, patch_size=patch_size)
        other = copy.copy(self)
        other.module = self.module.clone(config=dataclasses.replace(config, vision=vision))
        return other

    def get_initial_variables(
        self,
        rng: Array,
        input_shapes: Mapping[str, tuple[int, ...]],
        input_types: Mapping[str, Any] | None = None,
    ) -> PyTree:
        """`{'params': ..., 'params_axes': ...}` for a batch of these shapes."""
        types = {**FEATURE_DTYPES, **(input_types or {})}
        batch = {
            name: jnp.zeros(shape, types.get(name, jnp.int32))
            for name, shape in input_shapes.items()
        }
        return self.module.init(rng, flat_rows(batch))

    def loss_fn(
        self,
        params: PyTree,
        batch: Batch,
        dropout_rng: Array | None,
        whole: Whole | None = None,
    ) -> tuple[Float[Array, ''], dict[str, clu_metrics.Metric]]:
        """The training loss and its metrics; dropout is on where `dropout_rng` is given.

        In training modules may sow terms of their own, which are metrics of their names too: those
        of V-MoE's routers (`vlm.nn.moe`). Where the batch has `task_rows`, float32[B, T] and
        one-hot, `task_loss` is the loss by task. Where the text features are [B, R, L], every
        example has R rows about its images, which are encoded once. Where `batch` is a part of a
        `whole` one, losses and metrics are such that those of all parts add up to those of the
        whole.
        """
        batch = flat_rows(batch)
        total, parts = (None, 1) if whole is None else whole
        rngs = {'dropout': dropout_rng} if dropout_rng is not None else None
        targets, weights, segments, positions = self._answers(batch)
        batch, hidden = self._hidden(batch, dropout_rng)
        states, sown = self.module.apply(
            {'params': params},
            batch,
            deterministic=dropout_rng is None,
            positions=positions,
            hidden=hidden,
            rngs=rngs,
            mutable=[LOSSES],
            method='states',
        )
        auxiliary = {k: v / parts for k, v in sums_by_name(sown.get(LOSSES, {})).items()}
        score = functools.partial(self._position_losses, params)
        chunk = self.loss_chunk or states.shape[1]
        losses, z_losses, right = in_chunks(score, (states, targets), chunk)
        stressed = emphasised(weights, self.first_token_weight, segments)
        share = normalized_weights(stressed, self.loss_normalizer, segments, total)
        loss = jnp.sum((losses + z_losses) * share) + sum(auxiliary.values())
        correct = right * weights
        count = jnp.sum(weights)
        average = clu_metrics.Average
        one = jnp.ones(()) / parts
        return loss, {
            'loss': average(total=loss, count=one),
            'token_loss': average(total=jnp.sum(losses * weights), count=count),
            'z_loss': average(total=jnp.sum(z_losses * weights), count=count),
            'token_accuracy': average(total=jnp.sum(correct), count=count),
            'answer_tokens': average(total=count, count=one),
            **_by_task(batch, losses * weights, weights),
            **{name: average(total=value, count=one) for name, value in auxiliary.items()},
        }

    def whole(self, batch: Batch, parts: int) -> Whole:
        """What `loss_fn` must know of a batch of which it is given one of `parts` at a time."""
        _, weights, segments, _ = self._answers(flat_rows(batch))
        weights = emphasised(weights, self.first_token_weight, segments)
        return Whole(weight_total(weights, self.loss_normalizer, segments), parts)

    def _position_losses(
        self, params: PyTree, states: Float[Array, 'B C D'], targets: Int[Array, 'B C']
    ) -> tuple[Float[Array, 'B C'], Float[Array, 'B C'], Bool[Array, 'B C']]:
        """Cross-entropy, z-loss, and whether the likeliest token is the right one."""
        logits = self.module.apply({'params': params}, states, method='logits')
        losses, z_losses = token_losses(
            logits, targets, label_smoothing=self.label_smoothing, z_loss=self.z_loss
        )
        return losses, z_losses, jnp.argmax(logits, axis=-1) == targets

    def _hidden(self, batch: Batch, rng: Array | None) -> tuple[Batch, Bool[Array, 'B L'] | None]:
        """The batch, and the positions of answers that are predicted at once in this step."""
        if rng is None or not self.parallel_prediction:
            return batch, None
        shape = batch['decoder_loss_weights'].shape[:1]
        # Another stream than those of dropout, which flax derives from names.
        rows = jax.random.bernoulli(jax.random.fold_in(rng, 1), self.parallel_prediction, shape)
        return hide_answers(batch, rows, self.parallel_prompt)

    def _answers(
        self, batch: Batch
    ) -> tuple[Int[Array, 'B M'], Float[Array, 'B M'], Array | None, Array | None]:
        """Targets, weights, segments and positions of what the loss is taken over."""
        targets = batch['decoder_target_tokens']
        weights = batch['decoder_loss_weights'].astype(jnp.float32)
        segments = batch.get('decoder_segment_ids')
        if self.max_answer_tokens is None or self.max_answer_tokens >= targets.shape[1]:
            return targets, weights, segments, None
        # A stable sort brings the answer's positions to the front in their order.
        order = jnp.argsort(weights == 0, axis=1, stable=True)[:, : self.max_answer_tokens]
        pick = functools.partial(jnp.take_along_axis, indices=order, axis=1)
        return pick(targets), pick(weights), None if segments is None else pick(segments), order

    def predict_batch_with_aux(
        self,
        params: PyTree,
        batch: Batch,
        rng: Array | None = None,
        max_decode_length: int | None = None,
        decoding: DecodingConfig = DecodingConfig(),  # noqa: B008  (frozen)
        return_all_decodes: bool = False,
    ) -> tuple[Int[Array, 'B *R T'], dict[str, Array]]:
        """Answers of at most `max_decode_length` tokens and `{'scores': [B]}`, see `decode`.

        With `return_all_decodes` all R = `decoding.num_decodes` answers of a row, best first (T5X
        has the best last). Method 'sample' needs the key `rng`, the others draw nothing.

        Of the decoder features only the prompt is read: an answer in the batch is never seen. In a
        prefix wiring rows hold prompt and answer, so `max_decode_length` also says how many slots
        can be prompt; without it both may fill the row. A row that `vlm.decoding.check_prompts`
        refuses gets padding alone and scores NaN. With `image_rows` int32[B] there may be fewer
        rows of images than of text, see `vlm.decoding.prompts.prefill`.
        """
        prefilled = prefill(self.module.bind({'params': params}), batch, max_decode_length)
        length = max_decode_length or batch['decoder_input_tokens'].shape[1]
        step, caches = prefilled.answer_step(decoding.num_decodes, length)
        decoded = decode(
            prefilled.logits, caches, step, decoding, max_length=length, eos_id=EOS_ID, rng=rng
        )
        known = prefilled.answerable[:, None]
        tokens = jnp.where(known[..., None], decoded.tokens, 0)
        scores = jnp.where(known, decoded.scores, jnp.nan)
        if return_all_decodes:
            return tokens, {'scores': scores}
        return tokens[:, 0], {'scores': scores[:, 0]}

    def score_labels(
        self,
        params: PyTree,
        batch: Batch,
        labels: Int[Array, 'R L'],
        max_decode_length: int | None = None,
    ) -> Float[Array, 'B R']:
        """Log-probability of every label as the answer to every row's prompt: classification.

        What `score_batch` gives for rows with these answers, but each image is encoded and each
        prompt run once for all labels. Labels end with EOS and are padded with 0; with
        `max_decode_length` the rows are read as in prediction.
        """
        prefilled = prefill(self.module.bind({'params': params}), batch, max_decode_length)
        scores = prefilled.label_scores(labels)
        return jnp.where(prefilled.answerable[:, None], scores, jnp.nan)

    def score_batch(
        self, params: PyTree, batch: Batch, return_intermediates: bool = False
    ) -> Float[Array, ' B'] | tuple[Float[Array, ' B'], dict[str, Any]]:
        """Log-probability of each row's answer; with `return_intermediates` also per token."""
        logits = self.module.apply({'params': params}, batch)
        losses, _ = token_losses(logits, batch['decoder_target_tokens'])
        token_scores = -losses * batch['decoder_loss_weights']
        scores = jnp.sum(token_scores, axis=1)
        if return_intermediates:
            return scores, {'decoder': {'token_scores': (token_scores,)}}
        return scores


def flat_rows(batch: Batch) -> Batch:
    """Text features [B, R, L] as [B * R, L], the rows of an example beside each other."""
    shape = batch['decoder_input_tokens'].shape
    if len(shape) == 2:
        return batch

    def flat(name: str, value: Array) -> Array:
        if name in ('images', 'image_mask'):
            return value
        if name == 'task_rows':
            return jnp.repeat(value, shape[1], axis=0)
        return value.reshape(-1, value.shape[-1])

    return {name: flat(name, value) for name, value in batch.items()}


def _by_task(
    batch: Batch, losses: Float[Array, 'B M'], weights: Float[Array, 'B M']
) -> dict[str, clu_metrics.Metric]:
    """`task_loss` float[T], the mean loss of a token by task, if the batch says whose each row is.

    NaN for a task that has no token in the batch.
    """
    if 'task_rows' not in batch:
        return {}
    rows = batch['task_rows']
    totals, counts = (jnp.einsum('BM,BT->T', each, rows) for each in (losses, weights))
    return {'task_loss': clu_metrics.Average(total=totals, count=counts)}


def sums_by_name(sown: PyTree) -> dict[str, Float[Array, '']]:
    """What modules sowed, summed over all that used the same name."""
    sums: dict[str, Array] = {}
    for path, value in jax.tree_util.tree_leaves_with_path(sown):
        name = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)][-1]
        sums[name] = sums.get(name, 0.0) + value
    return sums


def _check_parallel(share: float, config: NetworkConfig) -> None:
    if not 0.0 <= share <= 1.0:
        raise UserError(f'VisionTextModel.parallel_prediction = {share} is not in [0, 1].')
    if not config.text.mask_token:
        raise UserError(
            f'VisionTextModel.parallel_prediction = {share} needs a mask token: bind '
            'TextConfig.mask_token to True.'
        )
    if config.wiring == 'fusion_encoder' and config.text.positions != 'learned':
        # A row of nothing but mask tokens: distances between equal things tell no position.
        raise UserError(
            f'VisionTextModel.parallel_prediction = {share} in the wiring fusion_encoder needs '
            "TextConfig.positions = 'learned': with distances alone, all positions of a masked row "
            'are the same.'
        )
