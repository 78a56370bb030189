"""Ranking by score: which of several candidates a model that says 'true' or 'false' likes best.

Pix2Struct (arXiv 2210.03347) answers referring expressions about screens so: each candidate box is
drawn, the model says whether it is the one, and the surest 'true' wins its group.
"""

from collections import defaultdict
from collections.abc import Hashable, Sequence

from vlm.errors import UNANSWERED, UserError
from vlm.metrics.examples import mean, pairs

RIGHT = 'true'


def group_accuracy(
    targets: Sequence[tuple[Hashable, bool]],
    predictions: Sequence[str],
    scores: Sequence[float],
) -> dict[str, float]:
    """Returns the share, in [0, 1], of groups whose best candidate is a right one.

    Best is the 'true' of the highest score; where none is 'true', the answer of the lowest score;
    of equals the first. An image that could not be decoded comes last.

    Args:
      targets: (group, whether this candidate is right); a group has at least one that is.
      predictions: 'true' or anything else, which counts as 'false'.
      scores: log-probabilities of the predictions.

    Raises:
      UserError: the lists differ in length, or a group has no right candidate.
    """
    if len(scores) != len(predictions):
        raise UserError(f'{len(scores)} scores for {len(predictions)} predictions')
    groups = defaultdict(list)
    for ((group, right), said), score in zip(pairs(targets, predictions), scores, strict=True):
        groups[group].append((_rank(said, score), right))
    for group, candidates in groups.items():
        if not any(right for _, right in candidates):
            raise UserError(f'group {group!r} has no right candidate to find')
    best = [max(candidates, key=lambda c: c[0]) for candidates in groups.values()]
    return {'group_accuracy': mean([float(right) for _, right in best])}


def _rank(said: str, score: float) -> tuple[int, float]:
    """Sorts answers: unanswered, then the surest 'false' ... the surest 'true'."""
    if said == UNANSWERED:
        return -1, 0.0
    return (1, score) if said.strip().lower() == RIGHT else (0, -score)
