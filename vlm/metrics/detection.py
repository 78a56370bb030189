"""Boxes: one box read out for a phrase, and sets of labelled boxes.

Targets are, for each image, a list of (label, box) pairs with boxes [y_min, x_min, y_max, x_max] in
[0, 1]; predictions are the texts a model wrote, read leniently by `codec`. An overlap of exactly
0.5 counts as found.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vlm.boxes import BoxCodec, BoxLike, LabelledBox, ParsedBoxes, box_iou, pairwise_iou
from vlm.errors import UNANSWERED, UserError
from vlm.metrics.examples import mean, pairs

FOUND_IOU = 0.5
PALIGEMMA = BoxCodec()

Objects = Sequence[Sequence]  # the (label, box) pairs of one image


def box_readout(
    targets: Sequence[Objects], predictions: Sequence[str], *, codec: BoxCodec = PALIGEMMA
) -> dict[str, float]:
    """Scores answers that should name one box, such as LocCa's and RefCOCO's; labels are ignored.

    Returns 'acc_at_0.5' and 'mean_iou', both in [0, 1] and over all examples, and the count
    'unreadable_boxes'. The first readable box of an answer is scored, and no box has IoU 0. Raises
    UserError for an example that has not exactly one target box.
    """
    ious = box_readout_per_example(targets, predictions, codec=codec)
    return {
        'acc_at_0.5': mean([float(iou >= FOUND_IOU) for iou in ious]),
        'mean_iou': mean(ious),
        'unreadable_boxes': _unreadable(predictions, codec),
    }


def box_readout_per_example(
    targets: Sequence[Objects], predictions: Sequence[str], *, codec: BoxCodec = PALIGEMMA
) -> list[float]:
    """Returns for each example the IoU of the first box read with the target, in [0, 1]."""
    ious = []
    for i, (objects, said) in enumerate(pairs(targets, predictions)):
        if len(objects) != 1:
            raise UserError(f'target {i} has {len(objects)} boxes; a box read-out wants exactly 1')
        _, box = checked_object(objects[0])
        found = _read(said, codec).objects
        ious.append(float(box_iou(found[0].box, box)) if found else 0.0)
    return ious


def labelled_boxes(
    targets: Sequence[Objects], predictions: Sequence[str], *, codec: BoxCodec = PALIGEMMA
) -> dict[str, float]:
    """Scores answers that should list all the objects, such as those to 'detect cat ; dog'.

    Returns 'f1_at_0.5', 'precision_at_0.5' and 'recall_at_0.5', in [0, 1], from counts summed over
    all images (micro average), and the count 'unreadable_boxes'. Boxes are matched one to one, the
    highest IoU first, where the labels are equal (but for case and white space) and IoU >= 0.5.
    What could not be read was still said: it counts as a wrong box.

    An image with no object and an answer that names none is right, and adds to no count; if all
    are such, all three figures are 1. An unanswered image without objects counts one wrong box.
    """
    total = sum(box_counts(targets, predictions, codec), Counts())
    return {
        'f1_at_0.5': total.f1,
        'precision_at_0.5': total.precision,
        'recall_at_0.5': total.recall,
        'unreadable_boxes': _unreadable(predictions, codec),
    }


def labelled_boxes_per_example(
    targets: Sequence[Objects], predictions: Sequence[str], *, codec: BoxCodec = PALIGEMMA
) -> list[float]:
    """Returns the F1 of each image, in [0, 1]; their mean is not the F1 of the data set."""
    return [counts.f1 for counts in box_counts(targets, predictions, codec)]


@dataclasses.dataclass(frozen=True)
class Counts:
    """Boxes matched, said by the model, and wanted."""

    matched: int = 0
    said: int = 0
    wanted: int = 0

    def __add__(self, other: 'Counts') -> 'Counts':
        return Counts(
            self.matched + other.matched, self.said + other.said, self.wanted + other.wanted
        )

    @property
    def precision(self) -> float:
        """Share of said boxes that are right; if none was said: 1 if none was wanted, else 0."""
        return self.matched / self.said if self.said else float(not self.wanted)

    @property
    def recall(self) -> float:
        """Share of wanted boxes that were said; if none was wanted: 1 if none was said, else 0."""
        return self.matched / self.wanted if self.wanted else float(not self.said)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 if no box was wanted and none said."""
        both = self.said + self.wanted
        return 2 * self.matched / both if both else 1.0


def _name(label: str) -> str:
    return ' '.join(label.split()).lower()


def box_counts(
    targets: Sequence[Objects],
    predictions: Sequence[str],
    codec: BoxCodec,
    name: Callable[[str], str] = _name,
) -> list[Counts]:
    """Returns the counts of each image; labels are equal if `name` makes the same text of them."""
    counts = []
    for objects, said in pairs(targets, predictions):
        wanted = [checked_object(pair) for pair in objects]
        if said == UNANSWERED:
            counts.append(Counts(said=int(not wanted), wanted=len(wanted)))
            continue
        read = _read(said, codec)
        boxes_said = len(read.objects) + len(read.unreadable)
        matched = _matches(wanted, read.objects, name)
        counts.append(Counts(matched, boxes_said, len(wanted)))
    return counts


def _matches(
    wanted: Sequence[tuple[str, BoxLike]],
    found: Sequence[LabelledBox],
    name: Callable[[str], str],
) -> int:
    """Counts one-to-one matches, taking the pairs in falling order of IoU."""
    iou = pairwise_iou([box for _, box in wanted], [o.box for o in found])
    same = [[name(label) == name(o.label) for o in found] for label, _ in wanted]
    iou = np.where(np.array(same, bool).reshape(iou.shape), iou, 0)
    free_wanted, free_found = set(range(len(wanted))), set(range(len(found)))
    for flat in np.argsort(-iou, axis=None, kind='stable'):
        i, j = divmod(int(flat), len(found))
        if iou[i, j] < FOUND_IOU:
            break
        if i in free_wanted and j in free_found:
            free_wanted.remove(i)
            free_found.remove(j)
    return len(wanted) - len(free_wanted)


def _read(said: str, codec: BoxCodec) -> ParsedBoxes:
    return ParsedBoxes([], []) if said == UNANSWERED else codec.parse(said)


def _unreadable(predictions: Iterable[str], codec: BoxCodec) -> float:
    return float(sum(len(_read(said, codec).unreadable) for said in predictions))


def checked_object(pair: Sequence) -> tuple[str, BoxLike]:
    """Returns a target's (label, box); raises UserError for what is no such pair."""
    label, box = pair
    if not isinstance(label, str) or len(box) != 4:
        raise UserError(
            f"box target {pair!r} is not a (label, box) pair such as ('cat', [0,0,1,1])"
        )
    return label, box
