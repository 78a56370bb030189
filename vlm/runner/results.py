"""Predictions as rows of a file: what was asked, said and expected, boxes, a few pictures."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from vlm.boxes import clip_box
from vlm.data.envelope import untag_image
from vlm.data.examples import HIDDEN
from vlm.data.features import output_features
from vlm.data.frames import Frame, image_frame, stored_box_of
from vlm.data.image_files import ImageError, decode_image, encode_png
from vlm.data.tasks import TaskSpec, postprocess
from vlm.errors import UNANSWERED
from vlm.runner.run_dir import RunDir

PICTURES = 12  # samples of a task that the report shows


@dataclasses.dataclass(frozen=True)
class Example:
    """One evaluated example: its (tagged) encoded image and what is known of it."""

    image: bytes
    meta: dict[str, Any]

    @property
    def target(self) -> Any:
        """What metrics compare with."""
        return postprocess('', {'meta': json.dumps(self.meta)}, is_target=True)


def is_hidden(example: Example) -> bool:
    """Whether only an evaluation server knows the answer."""
    return example.meta.get('references') == [HIDDEN]


def submission_path(predictions: Path) -> Path:
    """Where the server's file of a file of predictions goes."""
    return predictions.with_suffix('.submission.json')


def write_submission(
    spec: TaskSpec, rows: Sequence[Mapping[str, Any]], run: RunDir, path: Path
) -> bool:
    """Writes what the task's evaluation server takes; returns whether there is such a server."""
    if spec.submission is None:
        return False
    run.write_json(path, spec.submission(rows))
    return True


def read_examples(dataset: tf.data.Dataset) -> list[Example]:
    """The examples of a cached task data set, in order."""
    return [
        Example(element['images'][0], json.loads(element['meta']))
        for element in dataset.as_numpy_iterator()
    ]


def result_rows(
    spec: TaskSpec,
    examples: Sequence[Example],
    answers: Sequence[np.ndarray],
    run: RunDir | None = None,
    step: int = 0,
) -> list[dict[str, Any]]:
    """One row an example; with `run`, pictures of the first few are saved for the report.

    `prediction` is None where the image could not be decoded.
    """
    vocabulary = output_features()['targets'].vocabulary
    texts = [postprocess(vocabulary.decode(ids.tolist()), {}, is_target=False) for ids in answers]
    scores = [None] * len(texts)
    if spec.score is not None and texts:
        scores = spec.score([example.target for example in examples], texts)
    frame = image_frame()
    scores = [
        None if is_hidden(example) else score
        for example, score in zip(examples, scores, strict=True)
    ]
    rows = []
    for i, (example, text, score) in enumerate(zip(examples, texts, scores, strict=True)):
        row = _row(spec, frame, example, text, score)
        if run is not None and i < PICTURES:
            row['image'] = _save_picture(example, run, f'{spec.name}-{i:03d}.png')
        rows.append(row)
    return rows


def _row(
    spec: TaskSpec, frame: Frame, example: Example, text: str, score: float | None
) -> dict[str, Any]:
    meta = example.meta
    row = {
        'id': meta['id'],
        'prompt': meta['prompt'],
        'prediction': None if text == UNANSWERED else text,
        'references': meta.get('references', []),
        'score': score,
    }
    if spec.codec is not None:
        found = spec.codec.parse(text).objects if text != UNANSWERED else []
        boxes = [entry.box for entry in found]
        wanted = [box for box, _ in meta.get('objects', [])]
        row['boxes'] = [_stored(box, example, frame) for box in boxes]
        row['reference_boxes'] = [_stored(box, example, frame) for box in wanted]
        labels = [label for _, label in meta.get('objects', [])]
        row['references'] = [_readable(wanted, labels)]
        row['prediction'] = row['prediction'] and _readable(boxes, [e.label for e in found], text)
    return row


def _stored(box: Sequence[float], example: Example, frame: Frame) -> list[float]:
    moved = stored_box_of(box, untag_image(example.image)[1], frame)
    return [round(float(x), 4) for x in clip_box(moved)]


def _readable(boxes: Sequence, labels: Sequence[str], otherwise: str = 'none') -> str:
    """Boxes for a person: '[0.12 0.30 0.55 0.61] cat'; four numbers instead of four tokens."""
    if not len(boxes):
        return otherwise
    numbers = [' '.join(f'{x:.2f}' for x in box) for box in boxes]
    return ' ; '.join(f'[{n}] {label}'.rstrip() for n, label in zip(numbers, labels, strict=True))


def _save_picture(example: Example, run: RunDir, name: str) -> str | None:
    try:
        pixels = decode_image(untag_image(example.image)[1])
    except ImageError:
        return None
    path = run.inference / 'images' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.asarray(pixels)))
    return str(Path('inference') / 'images' / name)
