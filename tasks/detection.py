"""Detection: `detect {label}` -> every box with that label, or `none` (PaliGemma's form)."""

import functools

import numpy as np

from vlm.boxes import BoxCodec
from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import TaskSpec
from vlm.metrics.detection import labelled_boxes, labelled_boxes_per_example
from vlm.tasks.box_answers import add_box_task

PROMPT = 'detect {label}'


def read(
    record: Record,
    prompt: str,
    rng: np.random.Generator,
    codec: BoxCodec = BoxCodec(),
    labels: tuple[str, ...] = (),
    absent: int | float = 0,
    labelled: bool = True,
) -> list[Pair]:
    """One pair a label that the image holds, and `absent` of those of `labels` that it does not.

    Of a number with a fraction, such as 0.25, the fraction is the chance of one more.
    Boxes are written in the order of the record's `objects`, each with the label behind it as
    PaliGemma does; `labelled=False` leaves it out, since the prompt names it.
    """
    present = list(dict.fromkeys(entry['label'] for entry in record['objects']))
    missing = [label for label in labels if label not in present]
    wanted = int(absent) + bool(absent % 1 and rng.random() < absent % 1)
    drawn = rng.choice(len(missing), size=min(wanted, len(missing)), replace=False)
    pairs = []
    for label in [*present, *(missing[i] for i in drawn)]:
        boxes = [entry['box'] for entry in record['objects'] if entry['label'] == label]
        found = [(box, label if labelled else '') for box in boxes]
        answer = codec.encode_objects(found)
        pairs.append(Pair(fill(prompt, label=label), answer, objects=tuple(found)))
    return pairs


def add_detection_task(
    name: str,
    source: RecordSource,
    labels: tuple[str, ...] = (),
    absent: int | float = 0,
    labelled: bool = True,
    prompt: str = PROMPT,
    codec: BoxCodec = BoxCodec(),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a detection task over records with `objects` of `label` and `box`."""
    reader = functools.partial(read, labels=labels, absent=absent, labelled=labelled)
    return add_box_task(
        name,
        source,
        reader,
        prompt,
        labelled_boxes,
        labelled_boxes_per_example,
        codec,
        augment,
    )
