"""Token ids of prompts and answers laid out as model features, in numpy: for training and serving.

A row of the wirings `decoder_prefix` and `prefix_lm` holds prompt and answer; several pairs of one
image share it:

    targets   p1 p1 /  a1 /  p2 /  a2 a2 /  0     / = EOS
    inputs    0  p1 p1 /  a1 0  p2 /  a2 a2 0     each segment starts with BOS (0)
    segments  1  1  1  1  1  2  2  2  2  2  0
    weights   0  0  0  1  1  0  0  1  1  1  0     1 on the answer and its EOS
    prefix    1  1  1  1  0  1  1  1  0  0  0     positions that read BOS or the prompt

In `fusion_encoder` the prompt goes to the text encoder and the row holds the answer alone.

What begins a row and ends a prompt is a `PromptForm`: 0 and EOS as drawn, or tokens of their own.
Where nothing ends a prompt, its last token is what the answer's first one is predicted from.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Int

from vlm.vocab import EOS_ID

Features = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class PromptForm:
    """The ids that a row begins with and that a prompt ends with, in the prefix wirings.

    PaliGemma was trained with <bos> and a line break (2407.07726, 3.1); the defaults are T5's. With
    no `end_id` the answer's first token is predicted where the prompt's last one is read: in
    'detect 7' at the 7 itself, which a small decoder need not learn to carry on.
    """

    bos_id: int = 0
    end_id: int | None = EOS_ID


PLAIN = PromptForm()


def make_row(
    wiring: str,
    inputs: Int[np.ndarray, ' I'],
    targets: Int[np.ndarray, ' O'],
    lengths: Mapping[str, int],
    form: PromptForm = PLAIN,
) -> Features:
    """The text features of one example, padded with 0 (or cut) to `lengths`.

    Args:
      wiring: 'decoder_prefix', 'prefix_lm' or 'fusion_encoder'.
      inputs: prompt ids, every prompt ended by EOS.
      targets: answer ids, likewise; empty where an answer is to be predicted.
      lengths: length of each feature; its keys are the features wanted.
      form: of prompts; `fusion_encoder` has none but the plain one.
    """
    if wiring == 'fusion_encoder':
        row = fusion_row(inputs, targets)
    else:
        row = prefix_row(inputs, targets, form)
    return {name: _fit(value, lengths[name]) for name, value in row.items()}


def prefix_row(
    inputs: Int[np.ndarray, ' I'], targets: Int[np.ndarray, ' O'], form: PromptForm = PLAIN
) -> Features:
    """Unpadded decoder row of prompts and answers, see the drawing at the top of this module."""
    inputs, asked = _ended(inputs, form.end_id)
    segment = np.concatenate([asked, segments(targets)])
    is_answer = np.concatenate([np.zeros(len(inputs), bool), np.ones(len(targets), bool)])
    # Prompt 1, answer 1, prompt 2, answer 2, ...; the order within each is kept.
    order = np.argsort(2 * segment + is_answer, kind='stable')
    tokens = np.concatenate([inputs, targets])[order].astype(np.int32)
    segment, is_answer = segment[order], is_answer[order]
    first = np.ones(len(tokens), bool)
    first[1:] = segment[1:] != segment[:-1]
    before = _shift(tokens)
    return {
        'decoder_input_tokens': np.where(first, form.bos_id, before).astype(np.int32),
        'decoder_target_tokens': tokens,
        'decoder_loss_weights': is_answer.astype(np.float32),
        'decoder_prefix_mask': first | ~_shift(is_answer),
        'decoder_segment_ids': (segment + 1).astype(np.int32),
    }


def fusion_row(inputs: Int[np.ndarray, ' I'], targets: Int[np.ndarray, ' O']) -> Features:
    """Prompt for the encoder, answer for the decoder, unpadded; one pair."""
    return {
        'encoder_input_tokens': inputs.astype(np.int32),
        'decoder_input_tokens': _shift(targets).astype(np.int32),
        'decoder_target_tokens': targets.astype(np.int32),
        'decoder_loss_weights': np.ones(len(targets), np.float32),
    }


def segments(tokens: Int[np.ndarray, ' T']) -> Int[np.ndarray, ' T']:
    """Which pair each token belongs to, from 0: EOS closes a pair."""
    ends = (tokens == EOS_ID).astype(np.int64)
    return np.cumsum(ends) - ends


def _ended(
    inputs: Int[np.ndarray, ' I'], end_id: int | None
) -> tuple[Int[np.ndarray, ' J'], Int[np.ndarray, ' J']]:
    """Prompts ended by `end_id` in place of EOS, and the pair that each token is of."""
    ends, segment = inputs == EOS_ID, segments(inputs)
    if end_id is None:
        return inputs[~ends], segment[~ends]
    return np.where(ends, np.int32(end_id), inputs), segment


def prompt_row(inputs: Int[np.ndarray, ' I'], form: PromptForm = PLAIN) -> Features:
    """A `prefix_row` to be answered: one position more, which holds the prompt's last token."""
    row = prefix_row(inputs, np.array([EOS_ID], np.int32), form)
    row['decoder_loss_weights'][-1] = 0.0
    return row


def _shift(values: np.ndarray) -> np.ndarray:
    """Each position gets the value before it, the first 0."""
    shifted = np.zeros_like(values)
    shifted[1:] = values[:-1]
    return shifted


def _fit(values: np.ndarray, length: int) -> np.ndarray:
    fitted = np.zeros(length, values.dtype)
    fitted[: len(values)] = values[:length]
    return fitted
