"""Text spotting: pieces of text found and read, one-to-one at IoU >= 0.5 with equal text.

The matching is that of `vlm.metrics.detection.labelled_boxes`; texts are equal after Unicode's
compatibility normalisation, without regard to case, white space and the punctuation around them,
in the manner of the end-to-end protocol of the Robust Reading Competition. (That protocol also
passes over words marked as illegible and words of up to two letters; here every box counts.)
"""

import unicodedata
from collections.abc import Sequence

from vlm.boxes import BoxCodec
from vlm.metrics.detection import PALIGEMMA, Counts, Objects, box_counts


def spotting(
    targets: Sequence[Objects], predictions: Sequence[str], *, codec: BoxCodec = PALIGEMMA
) -> dict[str, float]:
    """Returns 'spotting_f1', '..._precision' and '..._recall', in [0, 1], summed over all images.

    Targets are (text, box) pairs, boxes [y_min, x_min, y_max, x_max] in [0, 1].
    """
    total = sum(box_counts(targets, predictions, codec, normalise_text), Counts())
    return {
        'spotting_f1': total.f1,
        'spotting_precision': total.precision,
        'spotting_recall': total.recall,
    }


def spotting_per_example(
    targets: Sequence[Objects], predictions: Sequence[str], *, codec: BoxCodec = PALIGEMMA
) -> list[float]:
    """Returns the F1 of each image, in [0, 1]; their mean is not the F1 of the data set."""
    return [c.f1 for c in box_counts(targets, predictions, codec, normalise_text)]


def normalise_text(text: str) -> str:
    """Returns a text as spotting compares it: '"Café,  BAR!"' -> 'café bar'.

    A text of nothing but punctuation stays as it is, so that it does not equal every other one.
    """
    words = map(_without_punctuation_around, unicodedata.normalize('NFKC', text).split())
    return ' '.join(filter(None, words)).casefold() or ' '.join(text.split())


def _without_punctuation_around(word: str) -> str:
    inside = [i for i, char in enumerate(word) if not unicodedata.category(char).startswith('P')]
    return word[inside[0] : inside[-1] + 1] if inside else ''
