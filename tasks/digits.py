"""Scenes of handwritten digits (scikit-learn's `load_digits`), train and test digits disjoint."""

import functools

from vlm.boxes import BoxCodec
from vlm.data import digits
from vlm.data.sources import RecordSource
from vlm.data.tasks import add_group
from vlm.tasks.counting import add_counting_task
from vlm.tasks.detection import add_detection_task
from vlm.tasks.ocr import add_ocr_task

COUNTS = {'train': 30_000, 'test': 500}
LABELS = tuple('0123456789')
# One level a pixel of the 64 x 64 scenes.
CODEC = BoxCodec(levels=65)


def _scenes(split: str, kind: str):
    return digits.read_scenes(split, COUNTS[split], kind)


STRIPS = functools.partial(_scenes, kind='strip')
SCATTERED = functools.partial(_scenes, kind='scattered')

OCR = add_ocr_task('digits_ocr', RecordSource(STRIPS, COUNTS))
DETECT = add_detection_task(
    'digits_detect',
    RecordSource(SCATTERED, COUNTS),
    labels=LABELS,
    absent=1,
    labelled=False,
    codec=CODEC,
)
COUNT = add_counting_task('digits_count', RecordSource(SCATTERED, COUNTS), things='digits')

_TRAIN = {'train': COUNTS['train']}
add_group('digits_scattered_all', RecordSource(SCATTERED, _TRAIN), [DETECT, COUNT])
add_group('digits_strip_all', RecordSource(STRIPS, _TRAIN), [OCR, DETECT])
