"""Captioning: `caption en` -> a sentence (PaliGemma's prompt)."""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill, is_blank
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, ScoreFn, TaskSpec, add_task
from vlm.metrics.captions import cider, cider_per_example
from vlm.metrics.text import exact_match
from vlm.vocab import escape

PROMPT = 'caption en'


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair: one of `captions` (or the only `caption`) is the target, all are references.

    A template may ask for the record's `language` ('en' if it has none).
    """
    captions = record.get('captions') or record['caption']
    captions = [captions] if isinstance(captions, str) else captions
    captions = [caption for caption in captions if not is_blank(caption)] or ['']
    target = captions[int(rng.integers(len(captions)))]
    asked = fill(prompt, language=record.get('language', 'en'))
    return [Pair(asked, escape(target), tuple(captions))]


def add_captioning_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (cider, exact_match),
    score: ScoreFn = cider_per_example,
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a captioning task over records with `captions` or a `caption`."""
    return add_task(name, source, read, prompt, metrics, score, augment=augment)
