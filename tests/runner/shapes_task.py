"""A tiny task for runner tests, imported by gin (MIXTURE_OR_TASK_MODULE): what colour is this?"""

import numpy as np
import seqio

from vlm.data.examples import HIDDEN
from vlm.data.image_files import encode_png
from vlm.data.sources import RecordSource
from vlm.data.tasks import add_group, amend
from vlm.metrics.submissions import vqa_submission
from vlm.tasks.classification import add_classification_task
from vlm.tasks.locca import add_aref_task
from vlm.tasks.vqa import add_vqa_task

COLOURS = {'red': (255, 0, 0), 'green': (0, 200, 0), 'blue': (0, 0, 255)}
TEST_RECORDS = 9
BROKEN = 'test/4'


def read_squares(split):
    """Squares of one colour on white; in `broken`, one file is not an image."""
    rng = np.random.default_rng(0 if split == 'train' else 1)
    for i in range(48 if split == 'train' else TEST_RECORDS):
        name = list(COLOURS)[i % 3]
        y, x = rng.integers(0, 9, size=2)
        pixels = np.full((16, 16, 3), 255, np.uint8)
        pixels[y : y + 8, x : x + 8] = COLOURS[name]
        box = [y / 16, x / 16, (y + 8) / 16, (x + 8) / 16]
        record_id = f'{split if split != "broken" else "test"}/{i}'
        image = encode_png(pixels)
        if split == 'broken' and record_id == BROKEN:
            image = image[: len(image) // 2]
        yield {
            'id': record_id,
            'images': [image],
            'questions': ['what color is it?'],
            'answers': [name],
            'label': name,
            'objects': [{'label': f'{name} square', 'box': box}],
        }


SPLITS = {'train': 48, 'test': TEST_RECORDS, 'broken': TEST_RECORDS}
ASKED = add_vqa_task('squares', RecordSource(read_squares, SPLITS))
AREF = add_aref_task('squares_aref', RecordSource(read_squares, SPLITS))
seqio.MixtureRegistry.add('squares_and_boxes', ['squares', 'squares_aref'], default_rate=1.0)
add_group('squares_all', RecordSource(read_squares, SPLITS), [ASKED, AREF])
add_classification_task(
    'squares_scored',
    RecordSource(read_squares, SPLITS),
    prompt='answer en what color is it?',
    labels=('a purple one', 'blue', 'green', 'red'),
)


def read_unanswered(split):
    """The same, as of a benchmark that keeps its answers."""
    return ({**record, 'answers': [[HIDDEN]]} for record in read_squares(split))


SENT = add_vqa_task('squares_sent', RecordSource(read_unanswered, SPLITS))
amend(SENT, submission=vqa_submission)
