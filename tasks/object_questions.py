"""Object-aware questions (PaLI, 2209.06794; the prompts are PaliGemma's), over `objects`.

    What objects are in the image?               -> cat, dog         in alphabetical order
    Is {thing} in the image?                     -> yes | no
    Which of {things} are in the image?          -> those that are, in the order asked; or none
    How many {thing}?                            -> a number in digits

`labels` are the names that questions about what is not there are drawn from.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vlm.boxes import NOTHING
from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.short_answers import number_match, number_match_per_example
from vlm.metrics.text import exact_match, exact_match_per_example
from vlm.vocab import escape

LIST_PROMPT = 'What objects are in the image?'
PRESENCE_PROMPT = 'Is {thing} in the image?'
WHICH_PROMPT = 'Which of {things} are in the image?'
COUNT_PROMPT = 'How many {thing}?'


def _present(record: Record) -> list[str]:
    return sorted({entry['label'] for entry in record['objects']})


def _absent(
    record: Record, labels: Sequence[str], count: int, rng: np.random.Generator
) -> list[str]:
    """Returns up to `count` of `labels` that the image does not hold, drawn at random."""
    missing = [label for label in labels if label not in set(_present(record))]
    return [missing[i] for i in rng.permutation(len(missing))[:count]]


def _joined(names: Sequence[str]) -> str:
    return ', '.join(names) or NOTHING


def add_object_list_task(
    name: str,
    source: RecordSource,
    prompt: str = LIST_PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task that asks for the names of all objects."""

    def read(record: Record, template: str, rng: np.random.Generator) -> list[Pair]:
        listed = _joined(_present(record))
        return [Pair(fill(template), escape(listed), (listed,))]

    return add_task(name, source, read, prompt, metrics, exact_match_per_example, augment=augment)


def add_object_presence_task(
    name: str,
    source: RecordSource,
    labels: Sequence[str],
    prompt: str = PRESENCE_PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task that asks for each label the image holds, and for as many that it does not.

    An image without objects gets one question, answered no.
    """

    def read(record: Record, template: str, rng: np.random.Generator) -> list[Pair]:
        present = _present(record)
        absent = _absent(record, labels, max(len(present), 1), rng)
        asked = [(label, 'yes') for label in present] + [(label, 'no') for label in absent]
        return [Pair(fill(template, thing=label), answer) for label, answer in asked]

    return add_task(name, source, read, prompt, metrics, exact_match_per_example, augment=augment)


def add_object_choice_task(
    name: str,
    source: RecordSource,
    labels: Sequence[str],
    absent: int = 2,
    prompt: str = WHICH_PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task that names all labels of the image and `absent` others, and asks which."""

    def read(record: Record, template: str, rng: np.random.Generator) -> list[Pair]:
        present = _present(record)
        named = present + _absent(record, labels, absent, rng)
        named = [named[i] for i in rng.permutation(len(named))]
        there = _joined([label for label in named if label in present])
        return [Pair(fill(template, things=', '.join(named)), escape(there), (there,))]

    return add_task(name, source, read, prompt, metrics, exact_match_per_example, augment=augment)


def add_object_count_task(
    name: str,
    source: RecordSource,
    labels: Sequence[str] = (),
    absent: int = 0,
    prompt: str = COUNT_PROMPT,
    metrics: Sequence[MetricFn] = (number_match,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task that counts each label of the image, and `absent` others of `labels` (0)."""

    def read(record: Record, template: str, rng: np.random.Generator) -> list[Pair]:
        counts = Counter(entry['label'] for entry in record['objects'])
        asked = _present(record) + _absent(record, labels, absent, rng)
        return [Pair(fill(template, thing=label), str(counts[label])) for label in asked]

    return add_task(name, source, read, prompt, metrics, number_match_per_example, augment=augment)
