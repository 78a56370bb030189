"""Predictions in the forms that evaluation servers take, from the rows of `inference/*.jsonl`.

A row is a dict with `id` and `prediction` (None where the image could not be decoded: an empty
answer, so that the server counts it as wrong). The servers know their questions by number, so the
id of a record must end in it: 'vqav2/458752000' is question 458752000. So a record must hold one
question; 'image12#0', the first of several, is refused. Each function returns what `json.dump`
writes to the file to be sent.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from vlm.errors import UserError

Rows = Iterable[Mapping[str, Any]]

_NUMBER = re.compile(r'(?:[^#]*[^0-9#])?([0-9]+)')


def vqa_submission(rows: Rows) -> list[dict[str, Any]]:
    """Returns VQAv2's form: question_id, answer."""
    return [{'question_id': number, 'answer': said} for number, said in _numbered(rows)]


def document_submission(rows: Rows) -> list[dict[str, Any]]:
    """Returns the form of DocVQA and InfographicVQA: questionId, answer."""
    return [{'questionId': number, 'answer': said} for number, said in _numbered(rows)]


def stvqa_submission(rows: Rows) -> list[dict[str, Any]]:
    """Returns ST-VQA's form: question_id as text, answer."""
    return [{'question_id': str(number), 'answer': said} for number, said in _numbered(rows)]


def vizwiz_submission(rows: Rows) -> list[dict[str, Any]]:
    """Returns VizWiz's form: the picture's name, which is the id, and answer."""
    return [{'image': row['id'], 'answer': row['prediction'] or ''} for row in rows]


def caption_submission(rows: Rows) -> list[dict[str, Any]]:
    """Returns the form of NoCaps and COCO captions: image_id, caption."""
    return [{'image_id': number, 'caption': said} for number, said in _numbered(rows)]


def _numbered(rows: Rows) -> list[tuple[int, str]]:
    """Returns (number, answer) of each row; raises UserError for an id without one, or twice."""
    found: dict[int, str] = {}
    for row in rows:
        match = _NUMBER.fullmatch(row['id'])
        if match is None:
            raise UserError(
                f'the id {row["id"]!r} does not end in a number, as servers name questions'
            )
        number = int(match[1])
        if number in found:
            raise UserError(
                f'two predictions have the number {number}; the second is {row["id"]!r}'
            )
        found[number] = row['prediction'] or ''
    return list(found.items())
