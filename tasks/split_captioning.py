"""Split captioning (PaLI, 2209.06794): the beginning of a caption is given, its rest is wanted.

    Generate the alt_text in {language} at {position}: {beginning} <extra_id_0>  ->  the rest

`position` is the number of words given; at 0 the whole caption is wanted, as in plain captioning.
"""

from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.captions import cider, cider_per_example
from vlm.vocab import escape

PROMPT = 'Generate the alt_text in {language} at {position}: {beginning} <extra_id_0>'


def read(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """One pair: `caption`, cut before a word drawn at random; `language` is 'en' if absent."""
    words = record['caption'].split()
    position = int(rng.integers(len(words)))
    asked = fill(
        prompt,
        language=record.get('language', 'en'),
        position=position,
        beginning=' '.join(words[:position]),
    )
    rest = ' '.join(words[position:])
    # With nothing given, the template would leave two spaces.
    return [Pair(asked.replace('  ', ' '), escape(rest), (rest,))]


def add_split_captioning_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    metrics: Sequence[MetricFn] = (cider,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task over records with a `caption` and, if it is not English, a `language`."""
    return add_task(name, source, read, prompt, metrics, cider_per_example, augment=augment)
