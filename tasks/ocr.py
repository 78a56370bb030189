"""OCR: `ocr` -> all text in the image, left to right and top to bottom (PaliGemma's prompt)."""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.text import character_error_rate, exact_match, exact_match_per_example
from vlm.vocab import escape

PROMPT = 'ocr'


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair: the record's `text`."""
    return [Pair(fill(prompt), escape(record['text']), (record['text'],))]


def add_ocr_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (exact_match, character_error_rate),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a text reading task over records with `text`."""
    return add_task(name, source, read, prompt, metrics, exact_match_per_example, augment=augment)
