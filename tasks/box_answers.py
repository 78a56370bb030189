"""What tasks that answer with boxes share: one codec writes, reads and scores them."""

import functools

from vlm.boxes import BoxCodec
from vlm.data.examples import Augmentation, Reader
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, ScoreFn, TaskSpec, add_task


def add_box_task(
    name: str,
    source: RecordSource,
    read: Reader,
    prompt: str,
    metric: MetricFn,
    score: ScoreFn,
    codec: BoxCodec,
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task whose reader, metric and score by example all take `codec` by name."""
    return add_task(
        name,
        source,
        functools.partial(read, codec=codec),
        prompt,
        (functools.partial(metric, codec=codec),),
        functools.partial(score, codec=codec),
        codec=codec,
        augment=augment,
    )
