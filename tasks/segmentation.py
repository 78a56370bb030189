"""Segmentation as tokens: `segment {label}` -> box, 16 mask codes and name (PaliGemma's form).

    <loc0512><loc0256><loc0895><loc0767><seg012>...<seg101> cat ; ...

The codes of an object come with the record, made by the encoder of a mask autoencoder; the metric
here is of the boxes. `vlm.metrics.masks.mask_readout` scores masks, given its decoder.

RefCOCO asks with the bare sentence: `prompt='{label}'`.
"""

import dataclasses

import numpy as np

from vlm.boxes import BoxCodec
from vlm.data.examples import Augmentation, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import TaskSpec
from vlm.metrics.detection import labelled_boxes, labelled_boxes_per_example
from vlm.metrics.masks import MaskBoxCodec, encode_codes
from vlm.tasks.box_answers import add_box_task
from vlm.vocab import escape

PROMPT = 'segment {label}'


def read(
    record: Record, prompt: str, rng: np.random.Generator, codec: BoxCodec = BoxCodec()
) -> list[Pair]:
    """One pair a label: every object with it, in the order of the record."""
    pairs = []
    for label in dict.fromkeys(entry['label'] for entry in record['objects']):
        entries = [entry for entry in record['objects'] if entry['label'] == label]
        answer = codec.separator.join(
            f'{codec.encode_box(e["box"])}{encode_codes(e["mask_codes"])} {escape(label)}'
            for e in entries
        )
        objects = tuple((entry['box'], label) for entry in entries)
        pairs.append(Pair(fill(prompt, label=label), answer, objects=objects))
    return pairs


def add_segmentation_task(
    name: str,
    source: RecordSource,
    prompt: str = PROMPT,
    codec: BoxCodec = BoxCodec(),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task over records with `objects` of `label`, `box` and 16 `mask_codes`.

    `augment` must not move the objects within their boxes: a mirrored mask has other codes.
    """
    return add_box_task(
        name,
        source,
        read,
        prompt,
        labelled_boxes,
        labelled_boxes_per_example,
        MaskBoxCodec(**dataclasses.asdict(codec)),
        augment,
    )
