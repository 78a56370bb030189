"""`vlm vocab`: a vocabulary from the prompts and answers of tasks."""

import itertools
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from rich.console import Console

from vlm.data.pipeline import FAULTS
from vlm.data.prompts import template
from vlm.data.tasks import spec_of
from vlm.runner.config import GinFlags
from vlm.runner.datasets import find_task_or_mixture
from vlm.runner.quiet import quiet_libraries
from vlm.runner.show_tasks import prepare
from vlm.vocab_training import train_vocabulary

# What tasks write as one token each: the sentinels of span corruption and split captioning, as many
# as T5 has, and the mask codes of segmentation, as many as PaliGemma has. Where they begin -> all.
MARKS = {
    '<extra_id_': [f'<extra_id_{i}>' for i in range(100)],
    '<seg': [f'<seg{i:03d}>' for i in range(128)],
}


def train_vocabulary_of_tasks(
    flags: GinFlags,
    tasks: Sequence[str],
    modules: list[str],
    output: str,
    size: int,
    records: int,
) -> int:
    """Trains on the `train` split of each task and writes the model file."""
    with quiet_libraries():
        prepare(flags, modules)
        texts = list(itertools.chain.from_iterable(texts_of(task, records) for task in tasks))
        trained = train_vocabulary(texts, output, size, extra_pieces=marks_in(texts))
    Console(highlight=False, soft_wrap=True).print(
        f'{output}: {trained.size:,} tokens, {len(trained.location_ids):,} of them locations.'
    )
    return 0


def marks_in(texts: Iterable[str]) -> list[str]:
    """The pieces that these texts want whole: sentinels and mask codes, all if there is any."""
    found = {mark for mark in MARKS for text in texts if mark in text}
    return [piece for mark, pieces in MARKS.items() if mark in found for piece in pieces]


def texts_of(task: str, records: int) -> Iterator[str]:
    """Prompts and answers that a task makes of its first `records` training records."""
    provider, spec = find_task_or_mixture(task), spec_of(task)
    prompt, rng = template(task, spec.prompt), np.random.default_rng(0)
    source = provider.source.get_dataset('train', shuffle=False)
    for element in source.take(records).as_numpy_iterator():
        record = {**json.loads(element['record']), 'id': '', 'images': list(element['images'])}
        try:
            pairs = spec.read(record, prompt, rng)
        except FAULTS:
            continue  # `vlm tasks check` and training name it
        for pair in pairs:
            yield pair.prompt
            yield pair.answer
