"""METEOR and SPICE of captions: the official Java programs, through pycocoevalcap.

They need a Java runtime and `pip install 'vlm[metrics]'`; SPICE also Stanford CoreNLP, which
pycocoevalcap downloads the first time. Both read captions as `vlm.metrics.caption_tokens` cuts
them, which is what the COCO evaluation hands to them.
"""

import subprocess
from collections.abc import Sequence
from typing import Any

from vlm.errors import UNANSWERED, UserError
from vlm.metrics.caption_tokens import caption_tokens
from vlm.metrics.examples import reference_pairs
from vlm.metrics.extras import import_extra, require_java


def meteor(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns METEOR 1.5 (English) of the data set, in [0, 1].

    Raises:
      UserError: no pycocoevalcap, no Java, or the program failed.
    """
    package = import_extra('pycocoevalcap.meteor.meteor', 'METEOR')
    require_java('METEOR')
    return {'meteor': _score(package.Meteor, 'METEOR', targets, predictions)}


def spice(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns the mean SPICE F-score, in [0, 1].

    Raises:
      UserError: no pycocoevalcap, no Java, no CoreNLP and no network to fetch it, or the program
        failed (it was written for Java 8 and asks for 8 GB of memory).
    """
    package = import_extra('pycocoevalcap.spice.spice', 'SPICE')
    require_java('SPICE')
    return {'spice': _score(package.Spice, 'SPICE', targets, predictions)}


def _score(
    program: Any, name: str, targets: Sequence[Sequence[str]], predictions: Sequence[str]
) -> float:
    wanted, said = {}, {}
    for i, (references, prediction) in enumerate(reference_pairs(targets, predictions)):
        wanted[i] = [_plain(reference) for reference in references]
        said[i] = [_plain('' if prediction == UNANSWERED else prediction)]
    try:
        value, _ = program().compute_score(wanted, said)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        raise UserError(f'{name}: the Java program of pycocoevalcap failed: {error}') from error
    return float(value)


def _plain(caption: str) -> str:
    # '|' separates fields in what METEOR reads.
    return ' '.join(caption_tokens(caption)).replace('|', '')
