"""Scenes of handwritten digits (scikit-learn's `load_digits`), train and test digits disjoint."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np

from vlm.boxes import BoxCodec
from vlm.data import digits
from vlm.data.examples import Pair, Record
from vlm.data.sources import RecordSource
from vlm.data.tasks import add_group
from vlm.tasks.counting import add_counting_task
from vlm.tasks.detection import add_detection_task
from vlm.tasks.ocr import add_ocr_task, add_spotting_task

COUNTS = {'train': 30_000, 'test': 500}
LABELS = tuple('0123456789')
# One level for two pixels of 64.
CODEC = BoxCodec(levels=33)


def _scenes(split: str, kind: str):
    return digits.read_scenes(split, COUNTS[split], kind)


def _source(kind: str, counts: Mapping[str, int] = COUNTS) -> RecordSource:
    # No scene has to do with the one before it.
    return RecordSource(functools.partial(_scenes, kind=kind), counts, random_order=True)


STRIPS = _source('strip')
SCATTERED = _source('scattered')

OCR = add_ocr_task('digits_ocr', STRIPS)
STRIP_SPOT = add_spotting_task('digits_strip_spot', STRIPS, codec=CODEC)
DETECT = add_detection_task(
    'digits_detect',
    SCATTERED,
    labels=LABELS,
    absent=1,
    labelled=False,
    codec=CODEC,
)
SCATTERED_OCR = add_ocr_task('digits_scattered_ocr', SCATTERED)
COUNT = add_counting_task('digits_count', SCATTERED, things='digits')

# In training 'none' is asked for less: it is the safest answer until a model knows where to look,
# and one that is right a third of the time is never left.
DETECT_PRESENT = dataclasses.replace(DETECT, read=functools.partial(DETECT.read, absent=0.25))

# As many digits with boxes as fit beside the reading of them into the 36 tokens of demo.gin's
# answers. Longer strips are only read: their boxes would be left out, and named as bad data.
MOST_SPOTS = 4


def _read_few_spots(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    return STRIP_SPOT.read(record, prompt, rng) if len(record['objects']) <= MOST_SPOTS else []


STRIP_SPOT_FEW = dataclasses.replace(STRIP_SPOT, read=_read_few_spots)

_TRAIN = {'train': COUNTS['train']}
add_group(
    'digits_scattered_all',
    _source('scattered', _TRAIN),
    [DETECT_PRESENT, SCATTERED_OCR, COUNT],
)
add_group('digits_strip_all', _source('strip', _TRAIN), [OCR, STRIP_SPOT_FEW])
