"""Identity of every figure: what a results file says beside a score, so that scores compare.

Two scores compare if name and version are equal. A change that moves any score gets a new version.
"""

import dataclasses

from vlm.errors import unknown_name


@dataclasses.dataclass(frozen=True)
class MetricDefinition:
    """What a key of a metric's result means; `definition` is one line."""

    name: str
    version: str
    definition: str


_BOXES = 'one-to-one by falling IoU >= 0.5 with equal labels, counts summed over all images'
_ANSWERS = (
    'answers normalised as the official evaluation does (with 3 or more raters only if they differ)'
)

DEFINITIONS = {
    definition.name: definition
    for definition in (
        MetricDefinition(
            'exact_match',
            '1',
            'share of predictions equal to a reference, ends stripped, case kept; in [0, 1]',
        ),
        MetricDefinition(
            'character_error_rate',
            '1',
            'edits of all predictions over characters of all references (code points, NFC, ends '
            'stripped; of several references the one with the lowest rate); in [0, inf)',
        ),
        MetricDefinition(
            'vqa_accuracy',
            '1',
            'official VQA accuracy, min(raters who agree / 3, 1) averaged leaving one rater out; '
            f'{_ANSWERS}; with fewer than 4 references 1 if any is equal; in [0, 1]',
        ),
        MetricDefinition(
            'vqa_accuracy_simple',
            '1',
            f'min(raters who agree / 3, 1); {_ANSWERS}; with fewer than 3 references 1 if any is '
            'equal; in [0, 1]',
        ),
        MetricDefinition(
            'cider',
            '1',
            'CIDEr-D as in pycocoevalcap 1.2 (n 1-4, sigma 6, document frequencies of the scored '
            'references) on PTB-like tokens; in [0, 10], 1.0 is printed as 100 in papers',
        ),
        MetricDefinition(
            'acc_at_0.5',
            '1',
            'share of examples whose first readable box has IoU >= 0.5 with the target; in [0, 1]',
        ),
        MetricDefinition(
            'mean_iou',
            '1',
            'mean IoU of the first readable box with the target, 0 where there is none; in [0, 1]',
        ),
        MetricDefinition(
            'f1_at_0.5',
            '1',
            f'2 matched / (said + wanted) boxes, {_BOXES}; unreadable boxes count as said; '
            'in [0, 1]',
        ),
        MetricDefinition(
            'precision_at_0.5',
            '1',
            f'matched / said boxes, {_BOXES}; unreadable boxes count as said; in [0, 1]',
        ),
        MetricDefinition('recall_at_0.5', '1', f'matched / wanted boxes, {_BOXES}; in [0, 1]'),
        MetricDefinition(
            'unreadable_boxes',
            '1',
            'pieces of the predictions that should be boxes and could not be read; a count',
        ),
    )
}


def definition_of(key: str) -> MetricDefinition:
    """Returns the identity of a metric's result key; raises UserError with the nearest keys."""
    if key not in DEFINITIONS:
        raise unknown_name('metric', key, DEFINITIONS)
    return DEFINITIONS[key]
