"""Exact match after one agreed change of both texts: case, number words, the letter of a choice.

Targets are lists of references, one list an example; white space at either end never counts. The
plain form is `vlm.metrics.text.exact_match`.
"""

import re
from collections.abc import Callable, Sequence

from vlm.errors import UNANSWERED
from vlm.metrics.examples import mean, reference_pairs

_WORDS = (
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen '
    'fifteen sixteen seventeen eighteen nineteen twenty'
)
_NUMERALS = {'none': '0'} | {word: str(i) for i, word in enumerate(_WORDS.split())}
_LETTER = re.compile(r'the answer is ([a-z])\.')


def exact_match_lower(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> dict[str, float]:
    """Returns the share, in [0, 1], equal to a reference in lower case (OCR-VQA, POPE)."""
    return {'exact_match_lower': mean(exact_match_lower_per_example(targets, predictions))}


def exact_match_lower_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns 1.0 or 0.0 for each example."""
    return _equal(targets, predictions, _lower)


def number_match(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the share, in [0, 1], equal to a reference with number words as digits (TallyQA).

    'none' and 'zero' to 'twenty' are 0 to 20, as whole answers only: 'two dogs' stays a text. Case
    does not count.
    """
    return {'number_match': mean(number_match_per_example(targets, predictions))}


def number_match_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns 1.0 or 0.0 for each example."""
    return _equal(targets, predictions, lambda text: _NUMERALS.get(_lower(text), _lower(text)))


def choice_letter(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the share, in [0, 1], that names the right letter: 'The answer is B.' (ScienceQA).

    A prediction without that sentence is wrong, even where it is the letter itself; of several the
    first counts.
    """
    return {'choice_letter': mean(choice_letter_per_example(targets, predictions))}


def choice_letter_per_example(
    targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> list[float]:
    """Returns 1.0 or 0.0 for each example."""
    return _equal(targets, predictions, _letter)


def _equal(
    targets: Sequence[Sequence[str]],
    predictions: Sequence[str],
    changed: Callable[[str], str | None],
) -> list[float]:
    """Compares changed texts; a prediction that `changed` makes None of equals nothing."""
    scores = []
    for references, said in reference_pairs(targets, predictions):
        mine = None if said == UNANSWERED else changed(said)
        scores.append(float(mine is not None and mine in [changed(r) for r in references]))
    return scores


def _lower(text: str) -> str:
    return text.strip().lower()


def _letter(text: str) -> str | None:
    match = _LETTER.search(text.lower())
    return match and match[1]
