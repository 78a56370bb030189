"""CIDEr-D, the consensus score of captions (Vedantam et al., arXiv 1411.5726).

The scale is that of the official COCO evaluation (pycocoevalcap): 0 to 10, where papers print it
times a hundred, so 1.0 here is "CIDEr 100". How rare an n-gram is comes from the references of
the images scored together: scores of different splits or of subsets do not compare, and one image
alone scores 0.
"""

import math
from collections import Counter
from collections.abc import Sequence

from vlm.errors import UNANSWERED
from vlm.metrics.caption_tokens import caption_words
from vlm.metrics.examples import mean, reference_pairs

LONGEST = 4  # n-grams of 1 to 4 tokens
LENGTH_SIGMA = 6.0  # how fast the score falls with a difference in length

Vector = dict[tuple[str, ...], float]


def cider(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the mean CIDEr-D, in [0, 10]; targets are each image's reference captions."""
    return {'cider': mean(cider_per_example(targets, predictions))}


def cider_per_example(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> list[float]:
    """Returns the CIDEr-D of each caption, in [0, 10], with rarity from all the references."""
    images = []
    for references, said in reference_pairs(targets, predictions):
        said = '' if said == UNANSWERED else said
        images.append(([_ngrams(r) for r in references], _ngrams(said)))
    rarity = _Rarity([references for references, _ in images])
    return [_image_score(references, said, rarity) for references, said in images]


class _Rarity:
    """Weighs n-grams by log(images / images whose references have it), at least one image."""

    def __init__(self, images: Sequence[Sequence[Counter]]) -> None:
        self.log_images = math.log(len(images))
        self.images_with = Counter(
            ngram for references in images for ngram in set().union(*references)
        )

    def vectors(self, ngrams: Counter) -> list[Vector]:
        """Returns the weighted counts, one vector for each length of n-gram."""
        vectors = [{} for _ in range(LONGEST)]
        for ngram, count in ngrams.items():
            weight = self.log_images - math.log(max(1, self.images_with[ngram]))
            vectors[len(ngram) - 1][ngram] = count * weight
        return vectors


def _ngrams(caption: str) -> Counter:
    tokens = caption_words(caption)
    return Counter(
        tuple(tokens[i : i + n]) for n in range(1, LONGEST + 1) for i in range(len(tokens) - n + 1)
    )


def _image_score(references: Sequence[Counter], said: Counter, rarity: _Rarity) -> float:
    hypothesis = rarity.vectors(said)
    total = 0.0
    for reference in references:
        cosines = map(_clipped_cosine, hypothesis, rarity.vectors(reference))
        off = _length(said) - _length(reference)
        total += sum(cosines) / LONGEST * math.exp(-(off**2) / (2 * LENGTH_SIGMA**2))
    return 10 * total / len(references)


def _length(ngrams: Counter) -> int:
    # The official code measures length in bigrams: a text of one token counts as empty.
    return sum(count for ngram, count in ngrams.items() if len(ngram) == 2)


def _clipped_cosine(hypothesis: Vector, reference: Vector) -> float:
    """Cosine in which repeating an n-gram more often than the reference does earns nothing."""
    norms = math.hypot(*hypothesis.values()) * math.hypot(*reference.values())
    if not norms:
        return 0.0
    shared = hypothesis.keys() & reference.keys()
    return sum(min(hypothesis[g], reference[g]) * reference[g] for g in shared) / norms
