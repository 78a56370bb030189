"""Video captioning and question answering: a record's `images` are the frames, in their order.

Frames are encoded one by one and their tokens concatenated, as in PaliGemma and PaLI-X, with their
prompts. The length of `images` in TASK_FEATURE_LENGTHS must have room for `frames`.
"""

import functools
from collections.abc import Sequence

import numpy as np

from vlm.data.examples import Record
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, ScoreFn, TaskSpec, add_task
from vlm.metrics.captions import cider, cider_per_example
from vlm.metrics.text import exact_match, exact_match_per_example
from vlm.tasks import captioning, vqa


def sample_frames(record: Record, rng: np.random.Generator, *, frames: int) -> Record:
    """Keeps `frames` of the record's images, the middle ones of as many equal parts of the video.

    A video with fewer keeps all.
    """
    images = record['images']
    if len(images) <= frames:
        return record
    kept = [int((i + 0.5) * len(images) / frames) for i in range(frames)]
    return {**record, 'images': [images[i] for i in kept]}


def add_video_captioning_task(
    name: str,
    source: RecordSource,
    frames: int = 16,
    prompt: str = captioning.PROMPT,
    metrics: Sequence[MetricFn] = (cider,),
    score: ScoreFn = cider_per_example,
) -> TaskSpec:
    """Registers a captioning task over records with frames and `captions` or a `caption`."""
    sample = functools.partial(sample_frames, frames=frames)
    return add_task(name, source, captioning.read, prompt, metrics, score, augment=sample)


def add_video_qa_task(
    name: str,
    source: RecordSource,
    frames: int = 16,
    prompt: str = vqa.PROMPT,
    metrics: Sequence[MetricFn] = (exact_match,),
    score: ScoreFn = exact_match_per_example,
) -> TaskSpec:
    """Registers questions over records with frames, as `vlm.tasks.vqa.questions_of` reads them."""
    sample = functools.partial(sample_frames, frames=frames)
    return add_task(name, source, vqa.read, prompt, metrics, score, augment=sample)
