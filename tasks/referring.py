"""Referring expressions: the bare `{expression}` -> the box of what it means.

That is PaliGemma's form for RefCOCO, where the masks of `vlm.tasks.segmentation` follow the box.
"""

import numpy as np

from vlm.boxes import BoxCodec
from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import TaskSpec
from vlm.metrics.detection import box_readout, box_readout_per_example
from vlm.tasks.box_answers import add_box_task

PROMPT = '{expression}'


def read(
    record: Record, prompt: str, rng: np.random.Generator, codec: BoxCodec = BoxCodec()
) -> list[Pair]:
    """One pair an expression; an object without `expressions` is not asked for."""
    return [
        Pair(
            fill(prompt, expression=expression),
            codec.encode_box(entry['box']),
            objects=((entry['box'], expression),),
        )
        for entry in record['objects']
        for expression in entry.get('expressions', ())
    ]


def add_referring_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    codec: BoxCodec = BoxCodec(),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task over records with `objects` of `box` and `expressions`, a list of texts."""
    return add_box_task(
        name, source, read, prompt, box_readout, box_readout_per_example, codec, augment
    )
