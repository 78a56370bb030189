r"""Multiple choice, in two published forms (both PaliGemma's).

    answer en {question} choose from: {choices}      -> the choice's text     (A-OKVQA, AI2D)
    Question: {question}\nContext: {hint}\nOptions: {choices}\nAnswer:
                                                     -> The answer is B.      (ScienceQA)

A record has `question`, `choices` (a list of texts), `answer` (one of them, as text) and, if wanted
in the second form, a `hint`. The choices are shuffled, so that their order tells nothing.
"""

import string
from collections.abc import Sequence

import numpy as np

from vlm.data.examples import HIDDEN, Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.short_answers import choice_letter, choice_letter_per_example
from vlm.metrics.text import exact_match, exact_match_per_example
from vlm.vocab import escape

PROMPT = 'answer en {question} choose from: {choices}'
LETTERED_PROMPT = 'Question: {question}\nContext: {hint}\nOptions: {choices}\nAnswer:'


def _shuffled(record: Record, rng: np.random.Generator) -> list[str]:
    choices = record['choices']
    if record['answer'] not in (*choices, HIDDEN):
        raise ValueError(f'the answer {record["answer"]!r} is none of the choices')
    return [choices[i] for i in rng.permutation(len(choices))]


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair: the choices are set apart by tabs, the answer is one of them."""
    choices = ' \t '.join(_shuffled(record, rng))
    asked = fill(prompt, question=record['question'], choices=choices)
    return [Pair(asked, escape(record['answer']), (record['answer'],))]


def read_lettered(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair: the choices carry letters, the answer names one."""
    choices = _shuffled(record, rng)
    lettered = dict(zip(string.ascii_uppercase, choices, strict=False))
    asked = fill(
        prompt,
        question=record['question'],
        hint=record.get('hint', ''),
        choices=', '.join(f'({letter}) {choice}' for letter, choice in lettered.items()),
    )
    if record['answer'] == HIDDEN:
        return [Pair(asked, HIDDEN)]
    letter = string.ascii_uppercase[choices.index(record['answer'])]
    return [Pair(asked, f'The answer is {letter}.')]


def add_multiple_choice_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task that answers with the text of a choice."""
    return add_task(name, source, read, prompt, metrics, exact_match_per_example, augment=augment)


def add_lettered_choice_task(
    name: str,
    source: RecordSource,
    prompt: str = LETTERED_PROMPT,
    metrics: Sequence[MetricFn] = (choice_letter,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task that answers with the letter of a choice, of up to 26."""
    return add_task(
        name, source, read_lettered, prompt, metrics, choice_letter_per_example, augment=augment
    )
