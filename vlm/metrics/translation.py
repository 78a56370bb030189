"""BLEU and chrF of texts in any language, by sacreBLEU (Post, WMT 2018), with its defaults.

chrF counts characters, so it also scores languages written without spaces, which caption metrics
take for one word a clause. Needs `pip install 'vlm[metrics]'`.
"""

from collections.abc import Sequence
from typing import Any

from vlm.errors import UNANSWERED
from vlm.metrics.examples import reference_pairs
from vlm.metrics.extras import import_extra


def sacrebleu(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns sacreBLEU's BLEU (13a tokens, case kept), in [0, 1]; papers print it times 100."""
    package = import_extra('sacrebleu.metrics', 'sacreBLEU')
    return {'sacrebleu': _corpus_score(package.BLEU(), targets, predictions)}


def chrf(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns chrF2 (1 to 6 characters, no words), in [0, 1]; papers print it times 100."""
    package = import_extra('sacrebleu.metrics', 'chrF')
    return {'chrf': _corpus_score(package.CHRF(), targets, predictions)}


def chrf_per_example(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> list[float]:
    """Returns the chrF2 of each example, in [0, 1]; their mean is not that of the data set."""
    metric = import_extra('sacrebleu.metrics', 'chrF').CHRF()
    return [
        metric.sentence_score(_said(said), list(references)).score / 100
        for references, said in reference_pairs(targets, predictions)
    ]


def _corpus_score(
    metric: Any, targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> float:
    references, said = zip(*reference_pairs(targets, predictions), strict=True)
    # sacreBLEU wants all first references, then all second ones; None where there is none.
    most = max(map(len, references))
    streams = [[r[i] if i < len(r) else None for r in references] for i in range(most)]
    return metric.corpus_score(list(map(_said, said)), streams).score / 100


def _said(prediction: str) -> str:
    return '' if prediction == UNANSWERED else prediction
