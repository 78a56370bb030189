"""How answers are chosen, as data: one decoder, its variations are configuration."""

import dataclasses
import operator
from collections.abc import Sequence
from typing import Any

from vlm.errors import UserError, unknown_name

METHODS = ('greedy', 'sample', 'beam')

# Options that only one method reads: set with another, they would be ignored without a word.
_READ_BY = {'temperature': 'sample', 'top_k': 'sample', 'top_p': 'sample', 'alpha': 'beam'}


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """How the tokens of an answer are chosen.

    Attributes:
      method: 'greedy' takes the likeliest token, 'sample' draws one, 'beam' searches for the
        likeliest answers.
      num_decodes: answers a row: samples drawn, or the width of the beam.
      temperature: logits are divided by it before a token is drawn; above 0.
      top_k: draw among the k likeliest tokens; None for all.
      top_p: draw among the fewest likeliest tokens that hold this share of the probability
        (nucleus sampling, 1904.09751), in (0, 1]; None for all. Taken of what `top_k` leaves.
      alpha: answers of a beam are ranked by log-probability / ((5 + length) / 6)**alpha (GNMT,
        1609.08144, 7), the length counting EOS; 0 ranks by probability, more favours long answers.
      allowed_ids: the only tokens an answer may hold, beside EOS, which always may; None for all.

    Raises:
      UserError: a value out of range, or an option that `method` does not read.
    """

    method: str = 'greedy'
    num_decodes: int = 1
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    alpha: float = 0.6
    allowed_ids: Sequence[int] | None = None

    def __post_init__(self):
        if self.method not in METHODS:
            raise unknown_name('method', self.method, METHODS, 'DecodingConfig.method')
        for field in dataclasses.fields(self):
            reader, value = _READ_BY.get(field.name, self.method), getattr(self, field.name)
            if reader != self.method and value != field.default:
                raise UserError(
                    f'DecodingConfig.{field.name} = {value} is read by method = {reader!r} only, '
                    f'and the method is {self.method!r}.'
                )
        if self.method == 'greedy':
            self._require('num_decodes', self.num_decodes == 1, "1 with method = 'greedy'")
        self._require('num_decodes', self.num_decodes >= 1, 'at least 1')
        self._require('temperature', self.temperature > 0, "above 0 (0 would be 'greedy')")
        self._require('top_k', self.top_k is None or self.top_k >= 1, 'at least 1')
        self._require('top_p', self.top_p is None or 0 < self.top_p <= 1, 'in (0, 1]')
        self._require('alpha', self.alpha >= 0, 'at least 0')
        if self.allowed_ids is not None:
            ids = tuple(map(operator.index, self.allowed_ids))
            # Hashable, whatever gin or JSON gave: a configuration selects a compiled program.
            object.__setattr__(self, 'allowed_ids', ids)
            self._require('allowed_ids', bool(ids) and min(ids) > 0, 'ids above 0 (padding)')

    def check_vocabulary(self, vocab_size: int) -> None:
        """Raises `UserError` where an allowed id has no row in a table of `vocab_size` rows."""
        largest = max(self.allowed_ids or (0,))
        if largest >= vocab_size:
            raise UserError(
                f'DecodingConfig.allowed_ids holds {largest}; the largest id of the model is '
                f'{vocab_size - 1} (TextConfig.vocab_size = {vocab_size}).'
            )

    def _require(self, name: str, fine: bool, wanted: str) -> None:
        if not fine:
            value: Any = getattr(self, name)
            raise UserError(f'DecodingConfig.{name} = {value} must be {wanted}.')
