"""Exact match, character and word error rate: short answers, class names, text in an image.

Targets are lists of references, one list an example; white space at either end never counts.
"""

import unicodedata
from collections.abc import Callable, Sequence

from rapidfuzz.distance import Levenshtein

from vlm.errors import UNANSWERED
from vlm.metrics.examples import mean, reference_pairs


def exact_match(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the share, in [0, 1], of predictions equal to one of their references, case kept."""
    return {'exact_match': mean(exact_match_per_example(targets, predictions))}


def exact_match_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns 1.0 or 0.0 for each example."""
    return [
        float(said != UNANSWERED and said.strip() in [r.strip() for r in references])
        for references, said in reference_pairs(targets, predictions)
    ]


def character_error_rate(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> dict[str, float]:
    """Returns the edits that mend all predictions over the characters of all references.

    In [0, inf): long wrong answers cost more than a reference has characters. An edit inserts,
    deletes or replaces one Unicode code point, after NFC (so that 'é' is one character however it
    was typed). Of several references an example counts the one with the lowest rate.
    """
    return {'character_error_rate': _total_rate(_edits(targets, predictions, _characters))}


def character_error_rate_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns the rate of each example; their mean is not the rate of the data set."""
    return [_rate(*way) for way in _edits(targets, predictions, _characters)]


def word_error_rate(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> dict[str, float]:
    """Returns the same as `character_error_rate`, counted in words between white space."""
    return {'word_error_rate': _total_rate(_edits(targets, predictions, _words))}


def word_error_rate_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns the rate of each example; their mean is not the rate of the data set."""
    return [_rate(*way) for way in _edits(targets, predictions, _words)]


def _edits(
    targets: Sequence[Sequence[str]],
    predictions: Sequence[str],
    cut: Callable[[str], Sequence[str]],
) -> list[tuple[int, int]]:
    """Returns for each example the edits, and the units of the reference they lead to."""
    found = []
    for references, said in reference_pairs(targets, predictions):
        said = cut('' if said == UNANSWERED else said)
        ways = []
        for reference in map(cut, references):
            ways.append((Levenshtein.distance(said, reference), len(reference)))
        found.append(min(ways, key=lambda way: _rate(*way)))
    return found


def _total_rate(ways: Sequence[tuple[int, int]]) -> float:
    edits, lengths = zip(*ways, strict=True)
    return _rate(sum(edits), sum(lengths))


def _rate(edits: int, length: int) -> float:
    return edits / max(length, 1)


def _characters(text: str) -> str:
    return unicodedata.normalize('NFC', text.strip())


def _words(text: str) -> list[str]:
    return _characters(text).split()
