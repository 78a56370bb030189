"""Counting: how many objects -> a number in digits."""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.text import exact_match, exact_match_per_example

PROMPT = 'answer en how many {things} are in the image?'


def add_counting_task(
    name: str,
    source: RecordSource,
    things: str,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task that asks for the number of `objects` of a record, called `things`."""

    def read(record: Record, template: str, rng: np.random.Generator) -> list[Pair]:
        return [Pair(fill(template, things=things), str(len(record['objects'])))]

    return add_task(name, source, read, prompt, metrics, exact_match_per_example, augment=augment)
