r"""Few-shot prompts: k answered examples, with their images, in front of each question (PaLI-X).

    answer en what is this? a cat \n answer en what is this? a dog \n answer en what is this?

The images of the shots come first, in the order of their texts, then those of the question; the
length of `images` in TASK_FEATURE_LENGTHS must have room for all of them.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from vlm.data.examples import Pair, Reader, Record
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, ScoreFn, TaskSpec, add_task
from vlm.errors import UserError

SEPARATOR = '\n'


def with_shots(
    read: Callable[[str], Iterable[Record]], count: int, support: str = 'train', pool: int = 1000
) -> Callable[[str], Iterator[Record]]:
    """Returns a function for `RecordSource` whose records have `count` others before them.

    Their images stand before the record's own and their fields, without images, in `shots`. They
    are drawn from the first `pool` records of the split `support`, the same ones every time, and
    never the record itself. Raises UserError, when read, if there are too few.
    """

    def read_with_shots(split: str) -> Iterator[Record]:
        candidates = list(itertools.islice(read(support), pool))
        for i, record in enumerate(read(split)):
            others = [other for other in candidates if other['id'] != record['id']]
            if len(others) < count:
                raise UserError(
                    f'{count} shots are wanted and {support!r} has {len(others)} records to show'
                )
            drawn = np.random.default_rng(i).choice(len(others), size=count, replace=False)
            shots = [others[j] for j in drawn]
            images = [data for entry in (*shots, record) for data in entry['images']]
            fields = [{k: v for k, v in shot.items() if k != 'images'} for shot in shots]
            yield {**record, 'images': images, 'shots': fields}

    return read_with_shots


def few_shot(read: Reader) -> Reader:
    """Returns a reader whose prompts begin with an answered pair of each of the record's `shots`.

    `read` reads the shots and the record alike; of several pairs of a shot one is drawn. It must
    not answer with boxes: they would be relative to the first image.
    """

    def read_few(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
        shown = []
        for shot in record['shots']:
            pairs = read(shot, prompt, rng)
            pair = pairs[int(rng.integers(len(pairs)))]
            shown.append(f'{pair.prompt} {pair.answer}')
        return [
            dataclasses.replace(pair, prompt=SEPARATOR.join([*shown, pair.prompt]))
            for pair in read(record, prompt, rng)
        ]

    return read_few


def add_few_shot_task(
    name: str,
    source: RecordSource,
    read: Reader,
    prompt: str,
    metrics: Sequence[MetricFn],
    score: ScoreFn | None = None,
) -> TaskSpec:
    """Registers a few-shot task over records made by `with_shots`.

    `read` and `prompt` are those of a task with text answers, such as `vlm.tasks.vqa.read` and
    `vlm.tasks.vqa.PROMPT`.
    """
    return add_task(name, source, few_shot(read), prompt, metrics, score)
