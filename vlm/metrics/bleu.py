"""BLEU-4 of captions, as the COCO evaluation computes it (Papineni et al., ACL 2002).

On the tokens of `vlm.metrics.caption_tokens`; of several references each n-gram counts as often as
in the one that has it most, and the length to reach is that of the reference nearest in length (of
two equally near the shorter). For translations, which are compared on other tokens, see
`vlm.metrics.translation`.
"""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

from vlm.errors import UNANSWERED
from vlm.metrics.caption_tokens import caption_words
from vlm.metrics.examples import reference_pairs

LONGEST = 4  # n-grams of 1 to 4 tokens
# The official program adds these to counts, so that a caption without any n-gram scores 0.
_TINY, _SMALL = 1e-15, 1e-9


def bleu_4(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the BLEU-4 of the data set, in [0, 1], from counts summed over all captions."""
    total = sum(_all_overlaps(targets, predictions), Overlap())
    return {'bleu_4': total.bleu}


def bleu_4_per_example(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> list[float]:
    """Returns the BLEU-4 of each caption, in [0, 1]; their mean is not that of the data set."""
    return [overlap.bleu for overlap in _all_overlaps(targets, predictions)]


@dataclasses.dataclass(frozen=True)
class Overlap:
    """n-grams a caption shares with its references, and has, by n; tokens it has, and should."""

    shared: tuple[int, ...] = (0,) * LONGEST
    said: tuple[int, ...] = (0,) * LONGEST
    length: int = 0
    wanted_length: int = 0

    def __add__(self, other: 'Overlap') -> 'Overlap':
        return Overlap(
            tuple(map(sum, zip(self.shared, other.shared, strict=True))),
            tuple(map(sum, zip(self.said, other.said, strict=True))),
            self.length + other.length,
            self.wanted_length + other.wanted_length,
        )

    @property
    def bleu(self) -> float:
        """Geometric mean of the four precisions, times the penalty for brevity."""
        precision = math.prod(
            (shared + _TINY) / (said + _SMALL)
            for shared, said in zip(self.shared, self.said, strict=True)
        )
        ratio = (self.length + _TINY) / (self.wanted_length + _SMALL)
        brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
        return precision ** (1 / LONGEST) * brevity


def _all_overlaps(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> list[Overlap]:
    return [_overlap(*pair) for pair in reference_pairs(targets, predictions)]


def _overlap(references: Sequence[str], said: str) -> Overlap:
    mine = caption_words('' if said == UNANSWERED else said)
    theirs = [caption_words(reference) for reference in references]
    shared, total = [], []
    for n in range(1, LONGEST + 1):
        ngrams, most = _ngrams(mine, n), Counter()
        for tokens in theirs:
            most |= _ngrams(tokens, n)
        shared.append((ngrams & most).total())
        total.append(ngrams.total())
    _, nearest = min((abs(len(tokens) - len(mine)), len(tokens)) for tokens in theirs)
    return Overlap(tuple(shared), tuple(total), len(mine), nearest)


def _ngrams(tokens: Sequence[str], n: int) -> Counter:
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
