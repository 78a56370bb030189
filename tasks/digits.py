"""Scenes of handwritten digits (scikit-learn's `load_digits`), train and test digits disjoint."""

import functools

from vlm.boxes import BoxCodec
from vlm.data import digits
from vlm.data.sources import RecordSource
from vlm.data.tasks import add_group
from vlm.tasks.counting import add_counting_task
from vlm.tasks.detection import add_detection_task
from vlm.tasks.ocr import add_ocr_task, add_spotting_task

COUNTS = {'train': 30_000, 'test': 500}
LABELS = tuple('0123456789')
# One level a pixel of 64.
CODEC = BoxCodec(levels=65)


def _scenes(split: str, kind: str):
    return digits.read_scenes(split, COUNTS[split], kind)


STRIPS = functools.partial(_scenes, kind='strip')
SCATTERED = functools.partial(_scenes, kind='scattered')

OCR = add_ocr_task('digits_ocr', RecordSource(STRIPS, COUNTS))
STRIP_SPOT = add_spotting_task('digits_strip_spot', RecordSource(STRIPS, COUNTS), codec=CODEC)
DETECT = add_detection_task(
    'digits_detect',
    RecordSource(SCATTERED, COUNTS),
    labels=LABELS,
    absent=1,
    labelled=False,
    codec=CODEC,
)
SPOT = add_spotting_task('digits_spot', RecordSource(SCATTERED, COUNTS), codec=CODEC)
COUNT = add_counting_task('digits_count', RecordSource(SCATTERED, COUNTS), things='digits')

_TRAIN = {'train': COUNTS['train']}
add_group('digits_scattered_all', RecordSource(SCATTERED, _TRAIN), [DETECT, SPOT, COUNT])
add_group('digits_strip_all', RecordSource(STRIPS, _TRAIN), [OCR, STRIP_SPOT])
