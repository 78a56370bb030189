"""Classification as text: `classify` -> the name of the class (LiT-decoder's way, 2303.17376).

The paper's prompts are not published; this one is ours.
"""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.text import exact_match, exact_match_per_example
from vlm.vocab import escape

PROMPT = 'classify'


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair: the record's `label`."""
    return [Pair(fill(prompt), escape(record['label']), (record['label'],))]


def add_classification_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
    augment: Augmentation | None = None,
    labels: Sequence[str] = (),
) -> TaskSpec:
    """Registers a task over records with the `label` of the image, the name of its class.

    Training is the same with `labels`, the names of all classes; an evaluation then scores each of
    them as the answer and takes the likeliest, where without them it decodes a text.
    """
    return add_task(
        name,
        source,
        read,
        prompt,
        metrics,
        exact_match_per_example,
        augment=augment,
        labels=labels,
    )
