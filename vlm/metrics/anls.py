"""ANLS, the score of document questions (Biten et al., arXiv 1905.13648), in its two conventions.

1 - NL, the best of the references, where NL is the edit distance over the length of the longer
text; an answer that is too far off scores 0. The two in use differ by points on the same answers:

                           anls            anls_rrc
    as in                  pix2struct,     the Robust Reading Competition's site
                           big_vision
    an NL of exactly 0.5   scores 0        scores 0.5
    white space            counts          runs of it are one space, ends are stripped; the
                                           lengths are still those of the raw texts

Both compare in lower case.
"""

from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

from vlm.errors import UNANSWERED
from vlm.metrics.examples import mean, reference_pairs

TOO_FAR = 0.5


def anls(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the mean ANLS, in [0, 1], as pix2struct and big_vision compute it."""
    return {'anls': mean(anls_per_example(targets, predictions))}


def anls_per_example(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> list[float]:
    """Returns the ANLS of each example, in [0, 1]."""
    scores = []
    for references, said in reference_pairs(targets, predictions):
        nearest = min(_distance(r.lower(), said.lower(), r, said) for r in references)
        scores.append(1 - nearest if nearest < TOO_FAR and said != UNANSWERED else 0.0)
    return scores


def anls_rrc(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the mean ANLS, in [0, 1], as the Robust Reading Competition computes it."""
    return {'anls_rrc': mean(anls_rrc_per_example(targets, predictions))}


def anls_rrc_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns the ANLS of each example, in [0, 1]."""
    scores = []
    for references, said in reference_pairs(targets, predictions):
        nearest = min(_distance(_spaced(r), _spaced(said), r, said) for r in references)
        scores.append(1 - nearest if nearest <= TOO_FAR and said != UNANSWERED else 0.0)
    return scores


def _distance(a: str, b: str, raw_a: str, raw_b: str) -> float:
    return Levenshtein.distance(a, b) / max(len(raw_a), len(raw_b), 1)


def _spaced(text: str) -> str:
    return ' '.join(text.lower().split())
