"""OCR: `ocr` -> all text in the image, left to right and top to bottom (PaliGemma's prompt).

Spotting: `spot text` -> every piece of text with its box, in the same order.
"""

from collections.abc import Sequence

import numpy as np

from vlm.boxes import BoxCodec
from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.detection import labelled_boxes, labelled_boxes_per_example
from vlm.metrics.text import character_error_rate, exact_match, exact_match_per_example
from vlm.tasks.box_answers import add_box_task
from vlm.vocab import escape

PROMPT = 'ocr'
SPOTTING_PROMPT = 'spot text'


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair: the record's `text`."""
    return [Pair(fill(prompt), escape(record['text']), (record['text'],))]


def add_ocr_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (exact_match, character_error_rate),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a text reading task over records with `text`."""
    return add_task(name, source, read, prompt, metrics, exact_match_per_example, augment=augment)


def read_spots(
    record: Record, prompt: str, rng: np.random.Generator, codec: BoxCodec = BoxCodec()
) -> list[Pair]:
    """One pair: the box and the label of each of the record's `objects`, in their order."""
    found = tuple((entry['box'], entry['label']) for entry in record['objects'])
    return [Pair(fill(prompt), codec.encode_objects(found), objects=found)]


def add_spotting_task(
    name: str,
    source: RecordSource,
    prompt: str = SPOTTING_PROMPT,
    codec: BoxCodec = BoxCodec(),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task that finds and reads: records with `objects` of `label` (text) and `box`."""
    return add_box_task(
        name,
        source,
        read_spots,
        prompt,
        labelled_boxes,
        labelled_boxes_per_example,
        codec,
        augment,
    )
