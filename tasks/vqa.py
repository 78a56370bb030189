"""Visual question answering: `answer en {question}` -> the answer (PaliGemma's prompt)."""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.vqa import vqa_accuracy, vqa_accuracy_per_example
from vlm.vocab import escape

PROMPT = 'answer en {question}'


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """Pairs of `questions` and `answers`, two lists of one length."""
    return [
        Pair(fill(prompt, question=question), escape(answer), (answer,))
        for question, answer in zip(record['questions'], record['answers'], strict=True)
    ]


def add_vqa_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (vqa_accuracy,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a question answering task over records with `questions` and `answers`."""
    return add_task(name, source, read, prompt, metrics, vqa_accuracy_per_example, augment=augment)
