"""What every metric asks of its arguments: one target for each prediction, and at least one."""

from collections.abc import Iterator, Sequence
from typing import Any

from vlm.errors import UserError


def pairs(targets: Sequence, predictions: Sequence) -> Iterator[tuple[Any, Any]]:
    """Returns the (target, prediction) pairs; raises UserError if there are none, or not pairs."""
    if len(targets) != len(predictions):
        raise UserError(f'{len(predictions)} predictions for {len(targets)} targets')
    if not len(targets):
        raise UserError('no examples to score: is the evaluation split empty?')
    return zip(targets, predictions, strict=True)


def reference_pairs(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> Iterator[tuple[Sequence[str], str]]:
    """Returns the (references, prediction) pairs of a text metric; each has a reference or more."""
    for i, (references, prediction) in enumerate(pairs(targets, predictions)):
        if isinstance(references, str) or not len(references):
            raise UserError(
                f'target {i} is {references!r}; a text metric wants a list of reference texts, '
                "such as ['cat'], for each example"
            )
        yield references, prediction


def mean(values: Sequence[float]) -> float:
    """Returns the mean of one value or more."""
    return float(sum(values) / len(values))
