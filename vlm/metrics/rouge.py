"""ROUGE-L of captions, as the COCO evaluation computes it (Lin, ACL 2004 workshop)."""

from collections.abc import Sequence

from rapidfuzz.distance import LCSseq

from vlm.errors import UNANSWERED
from vlm.metrics.caption_tokens import caption_tokens
from vlm.metrics.examples import mean, reference_pairs

BETA = 1.2  # how much more recall weighs than precision


def rouge_l(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the mean ROUGE-L, in [0, 1]."""
    return {'rouge_l': mean(rouge_l_per_example(targets, predictions))}


def rouge_l_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns for each caption the F of its longest common subsequence with a reference, in [0, 1].

    Precision and recall are each the best of all references, and need not be of the same one.
    """
    scores = []
    for references, said in reference_pairs(targets, predictions):
        mine = caption_tokens('' if said == UNANSWERED else said)
        precisions, recalls = [], []
        for tokens in map(caption_tokens, references):
            common = LCSseq.similarity(mine, tokens)
            precisions.append(common / max(len(mine), 1))
            recalls.append(common / max(len(tokens), 1))
        scores.append(_f(max(precisions), max(recalls)))
    return scores


def _f(precision: float, recall: float) -> float:
    if not precision or not recall:
        return 0.0
    return (1 + BETA**2) * precision * recall / (recall + BETA**2 * precision)
