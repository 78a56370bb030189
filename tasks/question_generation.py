"""Visual question generation: `question en {answer}` -> a question (PaliGemma's prompt)."""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.captions import cider, cider_per_example
from vlm.tasks.vqa import draw, questions_of
from vlm.vocab import escape

PROMPT = 'question en {answer}'


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair a question; references are all questions of the record with an answer in common."""
    asked = questions_of(record)
    pairs = []
    for question, answers in asked:
        alike = [other for other, theirs in asked if set(answers) & set(theirs)]
        language = record.get('language', 'en')
        prompt_text = fill(prompt, answer=draw(answers, rng), language=language)
        pairs.append(Pair(prompt_text, escape(question), tuple(alike)))
    return pairs


def add_question_generation_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (cider,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task over the records of question answering (`vlm.tasks.vqa.questions_of`)."""
    return add_task(name, source, read, prompt, metrics, cider_per_example, augment=augment)
