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
_PTB = 'on PTB-like tokens'
_COCO = 'as faster-coco-eval 1.8 and pycocotools compute it, mean over classes'
_SPOTS = (
    'one-to-one by falling IoU >= 0.5 with equal texts (NFKC, without case and the punctuation '
    'around words), counts summed over all images'
)
_AS_SAID = 'boxes of an answer ranked in the order they are written'


def _over_iou(name: str, thresholds: str, what: str) -> MetricDefinition:
    return MetricDefinition(name, '1', f'{what} at IoU {thresholds}; in [0, 1], -1 without objects')


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
            '3',
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
        MetricDefinition(
            'exact_match_lower',
            '1',
            'share of predictions equal to a reference in lower case, ends stripped; in [0, 1]',
        ),
        MetricDefinition(
            'number_match',
            '1',
            'share of predictions equal to a reference in lower case with none, zero, one, ... '
            'twenty as digits, whole answers only; in [0, 1]',
        ),
        MetricDefinition(
            'choice_letter',
            '1',
            "share of predictions whose first 'the answer is X.' names the reference's letter, "
            'case ignored; in [0, 1]',
        ),
        MetricDefinition(
            'word_error_rate',
            '1',
            'edits of all predictions over words of all references (between white space, NFC; of '
            'several references the one with the lowest rate); in [0, inf)',
        ),
        MetricDefinition(
            'anls',
            '1',
            'ANLS as in pix2struct and big_vision: lower case, best reference, 1 - NL if NL < 0.5 '
            'else 0; in [0, 1]',
        ),
        MetricDefinition(
            'anls_rrc',
            '1',
            'ANLS as on the Robust Reading site: lower case, white space collapsed but for the '
            'lengths, best reference, 1 - NL if NL <= 0.5 else 0; in [0, 1]',
        ),
        MetricDefinition(
            'relaxed_accuracy',
            '1',
            'share of predictions within 5 % of a reference if both are numbers (% divides by 100) '
            'and it is not 0, else equal in lower case; in [0, 1]',
        ),
        MetricDefinition(
            'bleu_4',
            '2',
            f'corpus BLEU-4 as in pycocoevalcap 1.2 (nearest reference length) {_PTB}; in [0, 1]',
        ),
        MetricDefinition(
            'rouge_l',
            '2',
            f'mean ROUGE-L as in pycocoevalcap 1.2 (beta 1.2, best precision and best recall of '
            f'the references) {_PTB}; in [0, 1]',
        ),
        MetricDefinition('meteor', '2', f'METEOR 1.5, English, by its Java program {_PTB}'),
        MetricDefinition('spice', '2', f'mean SPICE 1.0 F-score by its Java program {_PTB}'),
        MetricDefinition(
            'sacrebleu',
            '1',
            'sacreBLEU 2 BLEU (13a tokens, case kept, exponential smoothing) / 100; in [0, 1]',
        ),
        MetricDefinition(
            'chrf', '1', 'sacreBLEU 2 chrF2 (6 characters, 0 words) / 100, of the corpus; in [0, 1]'
        ),
        MetricDefinition(
            'mean_mask_iou',
            '1',
            'mean IoU of the first readable mask with the true one in whole pixels of the image, 0 '
            'where there is none; in [0, 1]',
        ),
        MetricDefinition('spotting_f1', '1', f'2 matched / (said + wanted), {_SPOTS}; in [0, 1]'),
        MetricDefinition('spotting_precision', '1', f'matched / said, {_SPOTS}; in [0, 1]'),
        MetricDefinition('spotting_recall', '1', f'matched / wanted, {_SPOTS}; in [0, 1]'),
        MetricDefinition(
            'group_accuracy',
            '1',
            "share of groups whose candidate with the surest 'true' (else the least sure 'false') "
            'is right; in [0, 1]',
        ),
        _over_iou('coco_ap', '0.50:0.05:0.95', f'AP {_COCO}'),
        _over_iou('coco_ap_50', '0.5', f'AP {_COCO}'),
        _over_iou('coco_ap_75', '0.75', f'AP {_COCO}'),
        _over_iou('coco_ap_small', '0.50:0.05:0.95', f'AP {_COCO}, areas below 32^2 pixels,'),
        _over_iou('coco_ap_medium', '0.50:0.05:0.95', f'AP {_COCO}, areas 32^2 to 96^2 pixels,'),
        _over_iou('coco_ap_large', '0.50:0.05:0.95', f'AP {_COCO}, areas above 96^2 pixels,'),
        _over_iou('coco_ar_100', '0.50:0.05:0.95', f'recall of 100 boxes an image {_COCO}'),
        _over_iou('lvis_ap', '0.50:0.05:0.95', f'AP by the rules of LVIS {_COCO}'),
        _over_iou('lvis_ap_rare', '0.50:0.05:0.95', f'AP by the rules of LVIS {_COCO} (rare)'),
        _over_iou('lvis_ap_common', '0.50:0.05:0.95', f'AP by the rules of LVIS {_COCO} (common)'),
        _over_iou(
            'lvis_ap_frequent', '0.50:0.05:0.95', f'AP by the rules of LVIS {_COCO} (frequent)'
        ),
        *(
            _over_iou(
                f'lvis_ap{part}_as_said',
                '0.50:0.05:0.95',
                f'AP by the rules of LVIS, {_AS_SAID}{part.replace("_", ", classes that are ")},',
            )
            for part in ('', '_rare', '_common', '_frequent')
        ),
        _over_iou('ap_as_said', '0.50:0.05:0.95', f'COCO AP, {_AS_SAID},'),
        _over_iou('ap_50_as_said', '0.5', f'COCO AP, {_AS_SAID},'),
        _over_iou('ap_75_as_said', '0.75', f'COCO AP, {_AS_SAID},'),
    )
}


def definition_of(key: str) -> MetricDefinition:
    """Returns the identity of a metric's result key; raises UserError with the nearest keys."""
    if key not in DEFINITIONS:
        raise unknown_name('metric', key, DEFINITIONS)
    return DEFINITIONS[key]
