"""Scenes of handwritten digits (scikit-learn's `load_digits`), train and test digits disjoint."""

import dataclasses
import functools

from vlm.boxes import BoxCodec
from vlm.data import digits
from vlm.data.sources import RecordSource
from vlm.data.tasks import TaskSpec, add_group
from vlm.tasks.counting import add_counting_task
from vlm.tasks.detection import add_detection_task
from vlm.tasks.ocr import add_ocr_task, add_spotting_task

COUNTS = {'train': 30_000, 'test': 500}
LABELS = tuple('0123456789')
# One level for two pixels of 64.
CODEC = BoxCodec(levels=33)


def _scenes(split: str, kind: str):
    return digits.read_scenes(split, COUNTS[split], kind)


STRIPS = functools.partial(_scenes, kind='strip')
SCATTERED = functools.partial(_scenes, kind='scattered')


def _add_detect(name: str, read):
    return add_detection_task(
        name,
        RecordSource(read, COUNTS),
        labels=LABELS,
        absent=1,
        labelled=False,
        codec=CODEC,
    )


OCR = add_ocr_task('digits_ocr', RecordSource(STRIPS, COUNTS))
DETECT = _add_detect('digits_detect', SCATTERED)
STRIP_DETECT = _add_detect('digits_strip_detect', STRIPS)
SPOT = add_spotting_task('digits_spot', RecordSource(SCATTERED, COUNTS), codec=CODEC)
SCATTERED_OCR = add_ocr_task('digits_scattered_ocr', RecordSource(SCATTERED, COUNTS))
COUNT = add_counting_task('digits_count', RecordSource(SCATTERED, COUNTS), things='digits')


def _mostly_present(detect: TaskSpec) -> TaskSpec:
    """Asks less for what is not there: a training aid.

    'none' is the safest answer until a model knows where to look, and one that is right a third of
    the time is never left.
    """
    return dataclasses.replace(detect, read=functools.partial(detect.read, absent=0.25))


_TRAIN = {'train': COUNTS['train']}
add_group(
    'digits_scattered_all',
    RecordSource(SCATTERED, _TRAIN),
    [_mostly_present(DETECT), SPOT, SCATTERED_OCR, COUNT],
)
add_group('digits_strip_all', RecordSource(STRIPS, _TRAIN), [OCR, _mostly_present(STRIP_DETECT)])
