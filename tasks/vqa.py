"""Visual question answering: `answer en {question}` -> the answer (PaliGemma's prompt)."""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, ScoreFn, TaskSpec, add_task
from vlm.metrics.vqa import vqa_accuracy, vqa_accuracy_per_example
from vlm.vocab import escape

PROMPT = 'answer en {question}'


def questions_of(record: Record) -> list[tuple[str, tuple[str, ...]]]:
    """Returns each question of a record with all its right answers.

    A record has `questions` and `answers`, two lists of one length, an answer being a text or the
    list of what several people said; or one `question` with `answers`, or with one `answer`.
    """
    if 'questions' in record:
        asked = zip(record['questions'], record['answers'], strict=True)
    else:
        asked = [(record['question'], record.get('answers') or record['answer'])]
    return [(q, (said,) if isinstance(said, str) else tuple(said)) for q, said in asked]


def draw(texts: Sequence[str], rng: np.random.Generator) -> str:
    """Returns one of several texts: each epoch trains on another."""
    return texts[int(rng.integers(len(texts)))]


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair a question: one of its answers is the target, all are references.

    A template may ask for the record's `language` ('en' if it has none).
    """
    language = record.get('language', 'en')
    return [
        Pair(
            fill(prompt, question=question, language=language),
            escape(draw(answers, rng)),
            answers,
        )
        for question, answers in questions_of(record)
    ]


def add_vqa_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (vqa_accuracy,),
    score: ScoreFn = vqa_accuracy_per_example,
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a question answering task over records that `questions_of` reads."""
    return add_task(name, source, read, prompt, metrics, score, augment=augment)
