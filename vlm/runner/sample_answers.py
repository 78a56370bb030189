"""Sample answers as TensorBoard shows them: pictures with boxes, and a table of texts."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vlm.runner.drawing import draw_boxes


def answer_picture(path: Path, row: Mapping[str, Any]) -> bytes:
    """A PNG of an answered picture with predicted and reference boxes."""
    boxes = [(box, 'predicted') for box in row.get('boxes', ())]
    boxes += [(box, 'reference') for box in row.get('reference_boxes', ())]
    return draw_boxes(path.read_bytes(), boxes)


def picture_size(png: bytes) -> tuple[int, int]:
    """(width, height) in pixels."""
    with Image.open(io.BytesIO(png)) as picture:
        return picture.size


def answer_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table of prompts, answers, references and scores."""
    lines = ['id | prompt | prediction | references | score', '---|---|---|---|---']
    for row in rows:
        references = ' / '.join(map(str, row.get('references', ())))
        cells = (row['id'], row['prompt'], row['prediction'], references, row.get('score'))
        lines.append(' | '.join(_cell(cell) for cell in cells))
    return '\n'.join(lines)


def _cell(value: object) -> str:
    # A line break or a bar would end the cell.
    return '–' if value is None else ' '.join(str(value).replace('|', r'\|').split())
