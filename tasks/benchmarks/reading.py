"""Reading text: receipts with boxes (SROIE), single words (IIIT5K)."""

from vlm.data.layouts import Published
from vlm.data.layouts import regions as layouts
from vlm.metrics.short_answers import exact_match_lower
from vlm.metrics.text import character_error_rate, word_error_rate
from vlm.tasks.ocr import add_ocr_task, add_spotting_task

SROIE = Published(
    layouts.receipts,
    {'train': 'sroie/train/box', 'test': 'sroie/test/box'},
    images={split: f'sroie/{split}/img/{{name}}.jpg' for split in ('train', 'test')},
    fetch='SROIE, task 1, of https://rrc.cvc.uab.es/?ch=13: the .txt files into sroie/train/box '
    'and sroie/test/box, the .jpg files into sroie/train/img and sroie/test/img',
    box_format='xyxy pixels',
)
add_ocr_task('sroie_ocr', SROIE, metrics=(character_error_rate, word_error_rate))
add_spotting_task('sroie_spotting', SROIE)

# The usual measure is word accuracy without case.
add_ocr_task(
    'iiit5k',
    Published(
        layouts.word_crops,
        {'train': 'iiit5k/traindata.mat', 'test': 'iiit5k/testdata.mat'},
        images='iiit5k/{name}',
        fetch='IIIT5K-Word_V3.0.tar.gz of https://cvit.iiit.ac.in/research/projects/cvit-projects/'
        'the-iiit-5k-word-dataset; its content goes to iiit5k/',
    ),
    metrics=(exact_match_lower, character_error_rate),
)
