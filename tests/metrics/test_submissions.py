"""Files for evaluation servers: ids as numbers, every question answered."""

import pytest

from vlm.errors import UserError
from vlm.metrics.submissions import caption_submission, document_submission, vqa_submission

ROWS = [
    {'id': 'vqav2/458752000', 'prompt': 'what?', 'prediction': 'red', 'references': [], 'score': 0},
    {'id': '7', 'prompt': 'what?', 'prediction': None, 'references': [], 'score': 0},
]


@pytest.mark.parametrize(
    ('make', 'number', 'answer'),
    [
        (vqa_submission, 'question_id', 'answer'),
        (document_submission, 'questionId', 'answer'),
        (caption_submission, 'image_id', 'caption'),
    ],
)
def test_forms(make, number, answer):
    assert make(ROWS) == [{number: 458752000, answer: 'red'}, {number: 7, answer: ''}]


def test_ids_must_be_numbers_and_differ():
    with pytest.raises(UserError, match='val/a'):
        vqa_submission([{'id': 'val/a', 'prediction': 'x'}])
    with pytest.raises(UserError, match='12#0'):  # one of several questions about image 12
        vqa_submission([{'id': 'image12#0', 'prediction': 'x'}])
    with pytest.raises(UserError, match="number 7.*'b/007'"):
        vqa_submission([*ROWS, {'id': 'b/007', 'prediction': 'x'}])
