"""LocCa's three tasks over captioned regions (2403.19596): Cap, ARef and GCap.

    Cap:                     -> a blue triangle
    ARef: a blue triangle :  -> its box
    GCap:                    -> its box, then its caption

LocCa trains ARef on `{caption} : {box}` behind the bare task word and conditions on the caption
only at evaluation. Here the caption is part of the prompt both times, so that what is evaluated is
what was trained; a template without `{caption}` gives the original form.
"""

from collections.abc import Sequence

import numpy as np

from vlm.boxes import BoxCodec
from vlm.data.examples import Augmentation, LabelledBox, Pair, Record, fill, template_fields
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.detection import box_readout, box_readout_per_example
from vlm.metrics.text import exact_match, exact_match_per_example
from vlm.tasks.box_answers import add_box_task
from vlm.vocab import escape

CAP_PROMPT = 'Cap:'
AREF_PROMPT = 'ARef: {caption} :'
GCAP_PROMPT = 'GCap:'


def _regions(record: Record) -> list[LabelledBox]:
    """(box, caption) of each object; an object without a caption is described by its label."""
    objects = record['objects']
    return [(entry['box'], entry.get('caption', entry['label'])) for entry in objects]


def read_cap(record: Record, prompt: str, rng: np.random.Generator) -> list[Pair]:
    """The caption of the image."""
    return [Pair(fill(prompt), escape(record['caption']), (record['caption'],))]


def read_aref(
    record: Record, prompt: str, rng: np.random.Generator, codec: BoxCodec = BoxCodec()
) -> list[Pair]:
    """One pair a region: its caption is given (or written first), its box is wanted."""
    pairs = []
    for box, caption in _regions(record):
        answer = codec.encode_box(box)
        if 'caption' not in template_fields(prompt):
            answer = f'{escape(caption)} : {answer}'
        pairs.append(Pair(fill(prompt, caption=caption), answer, objects=((box, caption),)))
    return pairs


def read_gcap(
    record: Record, prompt: str, rng: np.random.Generator, codec: BoxCodec = BoxCodec()
) -> list[Pair]:
    """One pair, of a region drawn at random: box first, then caption."""
    regions = _regions(record)
    box, caption = regions[int(rng.integers(len(regions)))]
    answer = f'{codec.encode_box(box)} : {escape(caption)}'
    return [Pair(fill(prompt), answer, objects=((box, caption),))]


def add_cap_task(
    name: str,
    source: RecordSource,
    prompt: str = CAP_PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers LocCa's captioning task over records with a `caption`."""
    return add_task(
        name, source, read_cap, prompt, metrics, exact_match_per_example, augment=augment
    )


def add_aref_task(
    name: str,
    source: RecordSource,
    prompt: str = AREF_PROMPT,
    codec: BoxCodec = BoxCodec(),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers caption -> box over records with `objects` of `box` and `caption` or `label`."""
    return add_box_task(
        name, source, read_aref, prompt, box_readout, box_readout_per_example, codec, augment
    )


def add_gcap_task(
    name: str,
    source: RecordSource,
    prompt: str = GCAP_PROMPT,
    codec: BoxCodec = BoxCodec(),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers image -> box and caption; the metric reads the box."""
    return add_box_task(
        name, source, read_gcap, prompt, box_readout, box_readout_per_example, codec, augment
    )
