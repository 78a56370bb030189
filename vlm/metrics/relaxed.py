"""Relaxed accuracy, the score of questions about charts (ChartQA, arXiv 2203.10244)."""

import math
from collections.abc import Sequence

from vlm.errors import UNANSWERED
from vlm.metrics.examples import mean, reference_pairs

TOLERANCE = 0.05  # of the reference


def relaxed_accuracy(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> dict[str, float]:
    """Returns the share, in [0, 1], of predictions within 5 % of a reference, or equal to it.

    Numbers are compared as such if both texts are one and the reference is not 0; a '%' at the end
    divides by 100, so 96% matches 0.96. Anything else must be equal but for case and white space
    at the ends. '1,000' is a text, as in the published code.
    """
    return {'relaxed_accuracy': mean(relaxed_accuracy_per_example(targets, predictions))}


def relaxed_accuracy_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns 1.0 or 0.0 for each example."""
    return [
        float(said != UNANSWERED and any(_matches(said, r) for r in references))
        for references, said in reference_pairs(targets, predictions)
    ]


def _matches(said: str, reference: str) -> bool:
    number, wanted = _number(said), _number(reference)
    if number is not None and wanted:
        return abs(number - wanted) / abs(wanted) <= TOLERANCE
    return said.strip().lower() == reference.strip().lower()


def _number(text: str) -> float | None:
    """Reads a finite number, or a percentage as a share; None for anything else."""
    text = text.strip()
    try:
        value = float(text.rstrip('%')) / (100 if text.endswith('%') else 1)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
