"""Average precision of scored boxes: COCO's and LVIS's, by the evaluator faster-coco-eval.

It gives the figures of pycocotools and counts in C++. Needs `pip install 'vlm[metrics]'`. As in the
official programs a figure that no object contributes to (no small objects, say) is -1.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from vlm.boxes import BoxCodec, BoxLike, PartlyMarked, clip_box, relative_to_pixels
from vlm.errors import UNANSWERED, UserError
from vlm.metrics.detection import PALIGEMMA, Objects, checked_object
from vlm.metrics.examples import pairs
from vlm.metrics.extras import import_extra

LVIS_FREQUENCIES = 'rcf'  # rare, common, frequent
LVIS_MOST = 300  # detections of an image that count; COCO's is 100
_ANY_SIZE = (1024, 1024)  # a power of two: overlaps of exactly 0.5 stay exact

Size = tuple[int, int]  # height, width in pixels


@dataclasses.dataclass(frozen=True)
class TrueBox:
    """One object of an image.

    Attributes:
      label: its class.
      box: [y_min, x_min, y_max, x_max] in [0, 1].
      area: in square pixels, for the figures by size; that of the box if None (COCO files give the
        smaller one of the outline).
      crowd: a box around many: what is found inside of it is neither right nor wrong.
    """

    label: str
    box: BoxLike
    area: float | None = None
    crowd: bool = False


@dataclasses.dataclass(frozen=True)
class ScoredBox:
    """One detection: class, box [y_min, x_min, y_max, x_max] in [0, 1], how sure the model is."""

    label: str
    box: BoxLike
    score: float


def coco_ap(
    truths: Sequence[Sequence[TrueBox]],
    found: Sequence[Sequence[ScoredBox]],
    sizes: Sequence[Size] | None = None,
) -> dict[str, float]:
    """Returns the figures of the COCO detection challenge (Lin et al., arXiv 1405.0312), in [0, 1].

    'coco_ap' is the mean over classes and IoU thresholds 0.50, 0.55, ... 0.95; 'coco_ap_50' and
    'coco_ap_75' those at one threshold; 'coco_ar_100' the recall of up to 100 boxes an image. With
    `sizes`, (height, width) of each image in pixels, also 'coco_ap_small' (area below 32 x 32),
    'coco_ap_medium' and 'coco_ap_large' (from 96 x 96). A label that no true box has is ignored.
    """
    categories = [{'name': label} for label in _labels(truths)]
    stats = _evaluate(truths, found, sizes, [{}] * len(truths), categories)
    keys = {'': 'AP_all', '_50': 'AP_50', '_75': 'AP_75'}
    if sizes is not None:
        keys |= {f'_{size}': f'AP_{size}' for size in ('small', 'medium', 'large')}
    figures = {f'coco_ap{key}': float(stats[name]) for key, name in keys.items()}
    return figures | {'coco_ar_100': float(stats['AR_third'])}


def lvis_ap(
    truths: Sequence[Sequence[TrueBox]],
    found: Sequence[Sequence[ScoredBox]],
    absent: Sequence[Sequence[str]],
    incomplete: Sequence[Sequence[str]],
    frequencies: Mapping[str, str],
) -> dict[str, float]:
    """Returns LVIS's 'lvis_ap' and its parts '_rare', '_common', '_frequent' (arXiv 1908.03195).

    Images are annotated for some classes only, so a detection counts only for a class that its
    image holds or is known not to hold.

    Args:
      truths: the true boxes of each image.
      found: the detections of each image; the 300 with the highest scores count.
      absent: labels that each image is known not to hold (`neg_category_ids`).
      incomplete: labels of which not every object of the image is marked, where what is found too
        much is not wrong (`not_exhaustive_category_ids`).
      frequencies: 'r', 'c' or 'f' of every label there is.
    """
    for label, frequency in frequencies.items():
        if frequency not in LVIS_FREQUENCIES:
            raise UserError(f"LVIS frequency of {label!r} is {frequency!r}, not 'r', 'c' or 'f'")
    if missing := [label for label in _labels(truths) if label not in frequencies]:
        raise UserError(f'no LVIS frequency is given for the label {missing[0]!r}')
    ids = {label: i for i, label in enumerate(frequencies)}
    images = [
        {
            'neg_category_ids': [ids[label] for label in none],
            'not_exhaustive_category_ids': [ids[label] for label in some],
        }
        for none, some in zip(absent, incomplete, strict=True)
    ]
    categories = [{'name': k, 'frequency': v} for k, v in frequencies.items()]
    stats = _evaluate(truths, found, None, images, categories, lvis=True)
    names = {'': 'AP_all', '_rare': 'APr', '_common': 'APc', '_frequent': 'APf'}
    return {f'lvis_ap{key}': float(stats[name]) for key, name in names.items()}


def ap_as_said(
    targets: Sequence[Objects],
    predictions: Sequence[str],
    *,
    codec: BoxCodec = PALIGEMMA,
) -> dict[str, float]:
    """Scores written boxes, which have no score: the earlier in an answer the surer.

    Returns 'ap_as_said', 'ap_50_as_said' and 'ap_75_as_said' in [0, 1], computed as COCO's. Lower
    than what the same boxes earn with the probabilities of their classes as scores.
    """
    figures = coco_ap(*_as_said(targets, predictions, codec))
    return {f'ap{at}_as_said': figures[f'coco_ap{at}'] for at in ('', '_50', '_75')}


def lvis_ap_as_said(
    targets: Sequence[Objects],
    predictions: Sequence[str],
    *,
    codec: BoxCodec = PALIGEMMA,
) -> dict[str, float]:
    """Scores written boxes by LVIS's rules, the earlier in an answer the surer.

    Returns `lvis_ap`'s figures under names that end in '_as_said'. Raises UserError for a target
    that is no `vlm.boxes.PartlyMarked`: the rules want to know what was looked for.
    """
    for number, target in enumerate(targets):
        if not isinstance(target, PartlyMarked):
            raise UserError(
                f'target {number} does not say which classes were looked for in its image '
                '(neg_category_ids of an LVIS file), which lvis_ap_as_said needs; use ap_as_said.'
            )
    frequencies: dict[str, str] = {}
    for target in targets:
        frequencies |= target.frequencies
    figures = lvis_ap(
        *_as_said(targets, predictions, codec),
        [target.absent for target in targets],
        [target.incomplete for target in targets],
        frequencies,
    )
    return {f'{name}_as_said': value for name, value in figures.items()}


def _as_said(
    targets: Sequence[Objects], predictions: Sequence[str], codec: BoxCodec
) -> tuple[list[list[TrueBox]], list[list[ScoredBox]]]:
    truths, found = [], []
    for objects, said in pairs(targets, predictions):
        truths.append([TrueBox(*checked_object(pair)) for pair in objects])
        read = codec.parse(said).objects if said != UNANSWERED else []
        found.append([ScoredBox(o.label, o.box, 1 / (1 + i)) for i, o in enumerate(read)])
    return truths, found


def _labels(truths: Sequence[Sequence[TrueBox]]) -> list[str]:
    return sorted({entry.label for image in truths for entry in image})


def _evaluate(
    truths: Sequence[Sequence[TrueBox]],
    found: Sequence[Sequence[ScoredBox]],
    sizes: Sequence[Size] | None,
    images: Sequence[Mapping[str, Any]],
    categories: Sequence[Mapping[str, Any]],
    lvis: bool = False,
) -> Mapping[str, float]:
    """Returns the evaluator's figures; `images` and `categories` are rows of COCO's file format."""
    package = import_extra('faster_coco_eval', 'average precision')
    sizes = [_ANY_SIZE] * len(truths) if sizes is None else sizes
    examples = list(pairs(list(zip(truths, sizes, strict=True)), found))
    ids = {category['name']: i for i, category in enumerate(categories)}
    true_rows, found_rows = [], []
    for image, ((objects, size), detections) in enumerate(examples):
        true_rows += [_true_row(image, entry, ids, size) for entry in objects]
        found_rows += [
            {**_row(image, entry, ids, size), 'score': float(entry.score)}
            for entry in detections
            if entry.label in ids
        ]
    truth = package.COCO(
        {
            'images': [{'id': i, **row} for i, row in enumerate(images)],
            'categories': [{'id': i, **row} for i, row in enumerate(categories)],
            # From 1: the evaluator takes the id 0 for "not matched".
            'annotations': [{'id': i + 1, **row} for i, row in enumerate(true_rows)],
        }
    )
    run = package.COCOeval_faster(truth, truth.loadRes(found_rows), 'bbox', lvis_style=lvis)
    if lvis:
        run.params.maxDets = [LVIS_MOST]
    run.evaluate()
    run.accumulate()
    run.summarize()
    return run.stats_as_dict


def _row(
    image: int, entry: TrueBox | ScoredBox, ids: Mapping[str, int], size: Size
) -> dict[str, Any]:
    """What both kinds of box have; `bbox` is x, y, width, height in pixels."""
    y_min, x_min, y_max, x_max = relative_to_pixels(clip_box(entry.box), *size).tolist()
    return {
        'image_id': image,
        'category_id': ids[entry.label],
        'bbox': [x_min, y_min, x_max - x_min, y_max - y_min],
    }


def _true_row(image: int, entry: TrueBox, ids: Mapping[str, int], size: Size) -> dict[str, Any]:
    row = _row(image, entry, ids, size)
    area = row['bbox'][2] * row['bbox'][3] if entry.area is None else entry.area
    return {**row, 'area': area, 'iscrowd': int(entry.crowd)}
