"""Images and prompts read once; answers generated from, or scored on, what was read."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from vlm.decoding.steps import StepFn, visible_slots
from vlm.errors import UserError
from vlm.nn.attention import KeyValue
from vlm.nn.network import Memory, VisionTextNetwork

Batch = Mapping[str, Array]
HostBatch = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Prefilled:
    """A network (bound to its parameters) after the images and prompts of a batch.

    Attributes:
      memory: what the decoder is given of the image, one row an image.
      caches: the self-attention's keys and values of the prompt, one row an image; in `prefix_lm`
        those of the visual tokens before them.
      valid: which slots of the prompt hold a token.
      logits: of the first answer token.
      answerable: false for rows that `check_prompts` refuses.
    """

    network: VisionTextNetwork
    memory: Memory
    caches: list[KeyValue]
    valid: Bool[Array, 'B S']
    logits: Float[Array, 'B V']
    answerable: Bool[Array, ' B']

    def with_room(self, slots: int) -> list[KeyValue]:
        """The caches with `slots` empty slots behind the prompt's."""
        return [cache.extended_by(slots) for cache in self.caches]

    def logits_after(
        self,
        tokens: Int[Array, 'B T'],
        caches: list[KeyValue],
        index: Array | int,
        mask: Bool[Array, '#B T S'],
    ) -> tuple[Float[Array, 'B T V'], list[KeyValue]]:
        """Runs answer tokens that are written from answer slot `index` on.

        `mask` says which answer slots each sees; all see the prompt.
        """
        width = self.valid.shape[1]
        prompt = jnp.broadcast_to(self.valid[:, None], (*tokens.shape, width))
        mask = jnp.broadcast_to(mask, (tokens.shape[0], *mask.shape[1:]))
        states, caches = self.network.decode_step(
            tokens,
            self.memory,
            jnp.concatenate([prompt, mask], axis=2)[:, None],
            caches,
            width + index,
        )
        return self.network.logits(states), caches

    def answer_step(self, rivals: int, max_length: int) -> tuple[StepFn, list[KeyValue]]:
        """The step for `rivals` answers a row of at most `max_length` tokens, and its caches."""
        # Nothing follows the last token, so it needs no slot.
        length = max(max_length - 1, 1)

        def step(
            tokens: Array, caches: list[KeyValue], position: Array, lineage: Array
        ) -> tuple[Array, list[KeyValue]]:
            mask = visible_slots(lineage[..., :length], position)
            return self.logits_after(tokens, caches, position * rivals, mask)

        return step, self.with_room(length * rivals)

    def label_scores(self, labels: Int[Array, 'R L']) -> Float[Array, 'B R']:
        """Log-probability of every label (padded with 0 behind its EOS) as each row's answer."""
        batch, length = len(self.valid), labels.shape[1] - 1
        caches, at = self.with_room(length), jnp.arange(length)
        causal = (at[:, None] >= at)[None]

        def score(label: Int[Array, ' L']) -> Float[Array, ' B']:
            logits = self.logits[:, None]
            if length:
                before = jnp.broadcast_to(label[:-1], (batch, length))
                after, _ = self.logits_after(before, caches, 0, causal)
                logits = jnp.concatenate([logits, after], axis=1)
            log_probs = jax.nn.log_softmax(logits)
            gained = jnp.take_along_axis(log_probs, label[None, :, None], axis=-1)[..., 0]
            return jnp.sum(jnp.where(label != 0, gained, 0.0), axis=1)

        # One label after the other, each for the whole batch: memory stays that of one label.
        return jax.lax.map(score, labels).T


def prefill(
    network: VisionTextNetwork, batch: Batch, max_decode_length: int | None = None
) -> Prefilled:
    """Encodes the images and runs the prompts, each once.

    With `image_rows` int32[B] in the batch there are fewer rows of images than of text, and this
    says which of them each row of text is about.

    Only the prompt of the decoder features is read. In a prefix wiring rows hold prompt and answer,
    so `max_decode_length` says how many slots can be prompt; without it all can.

    Raises:
      UserError: no slot is left for a prompt.
    """
    memory = network.encode(
        batch['images'],
        batch['image_mask'],
        batch.get('encoder_input_tokens'),
        rows=batch.get('image_rows', 1),
    )
    rows = batch['decoder_input_tokens']
    lengths, width = _prompt_lengths(batch, max_decode_length)
    if 'decoder_prefix_mask' not in batch:
        rows = jnp.zeros_like(rows)  # the beginning of a row alone
    tokens, valid = align_right(rows, jnp.asarray(lengths), width)
    # Bidirectional over the prompt; the eye keeps a padding query from a softmax over nothing.
    mask = valid[:, None, :] | jnp.eye(width, dtype=bool)[None]
    states, caches = network.decode_step(tokens, memory, mask[:, None], prompt=valid)
    segments = batch.get('decoder_segment_ids', jnp.ones((1, 1), jnp.int32))
    answerable = (lengths <= width) & (jnp.max(segments, axis=1) <= 1)
    logits = network.logits(states[:, -1:])[:, 0]
    return Prefilled(network, memory, caches, valid, logits, answerable)


def check_prompts(batch: HostBatch, max_decode_length: int | None = None) -> None:
    """Raises `UserError` for rows that no answer can be predicted for; a check on the host.

    Those are rows that hold several prompts and, with `max_decode_length`, prompts that do not fit
    into what it leaves of a row.
    """
    segments = batch.get('decoder_segment_ids')
    if segments is not None and (many := np.flatnonzero(np.max(segments, axis=1) > 1)).size:
        raise UserError(
            f'row {many[0]} of the batch holds {np.max(segments[many[0]])} prompts '
            '(decoder_segment_ids): an answer is predicted for one prompt a row. Use a task that '
            'asks one question in an example.'
        )
    lengths, width = _prompt_lengths(batch, max_decode_length)
    if (long := np.flatnonzero(np.asarray(lengths) > width)).size:
        # One slot of both holds the beginning-of-row token.
        raise UserError(
            f'the prompt of row {long[0]} of the batch has {lengths[long[0]] - 1} tokens; rows of '
            f'{batch["decoder_input_tokens"].shape[1]} tokens with max_decode_length = '
            f'{max_decode_length} leave room for {width - 1}.'
        )


def align_right(
    tokens: Int[Array, 'B L'], lengths: Int[Array, ' B'], width: int
) -> tuple[Int[Array, 'B P'], Bool[Array, 'B P']]:
    """Moves the first `lengths[b]` tokens of each row to the end of a row of `width` slots.

    Prompts of different lengths then end at the same slot, so that every row writes its next token
    to the same cache slot and keeps its own distances between tokens. Returns the rows and where
    they hold a token.
    """
    slots = jnp.arange(width)[None]
    start = width - lengths[:, None]
    source = jnp.clip(slots - start, 0, tokens.shape[1] - 1)
    valid = slots >= start
    return jnp.where(valid, jnp.take_along_axis(tokens, source, axis=1), 0), valid


def _prompt_lengths(
    batch: Batch | HostBatch, max_decode_length: int | None
) -> tuple[Array | np.ndarray, int]:
    """Slots that each row's prompt takes, beginning-of-row token included, and those there are."""
    count, length = batch['decoder_input_tokens'].shape
    prefix = batch.get('decoder_prefix_mask')
    if prefix is None:
        return jnp.ones(count, jnp.int32), 1
    width = length if max_decode_length is None else length - max_decode_length + 1
    if width < 1:
        raise UserError(
            f'max_decode_length = {max_decode_length} leaves no room for a prompt in rows of '
            f'{length} tokens.'
        )
    return prefix.sum(axis=1), width
