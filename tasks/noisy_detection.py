"""Detection of all objects at once, with noise objects behind them (after Pix2Seq, 2109.10852).

    detect  ->  <box> dog ; <box> cat ; <box> noise ; <box> noise

A model that may stop after any object stops too early. Here every answer has `length` objects: the
true ones in an order drawn anew each time, then boxes that hold nothing (half of them drawn
anywhere, half moved from true ones), labelled `noise`, which are left out when an answer is read.
Pix2Seq trains the labels of noise alone; in this package the whole answer is trained, so their
boxes, too.
"""

import dataclasses
import functools

import numpy as np

from vlm.boxes import BoxCodec, ParsedBoxes, clip_box
from vlm.data.examples import Augmentation, LabelledBox, Pair, Record, fill
from vlm.data.sources import RecordSource
from vlm.data.tasks import MetricFn, TaskSpec, add_task
from vlm.metrics.detection import labelled_boxes, labelled_boxes_per_example

PROMPT = 'detect'
NOISE = 'noise'
SMALLEST = 0.05  # side of a noise box; anything thinner may have no area in few bins
MOST_SHIFT = 0.3  # of a moved box, in parts of its own size


@dataclasses.dataclass(frozen=True)
class NoiseFreeCodec(BoxCodec):
    """A `BoxCodec` that, reading, leaves noise objects out."""

    def parse(self, text: str) -> ParsedBoxes:
        """As `BoxCodec.parse`, without the objects labelled `noise`."""
        parsed = super().parse(text)
        kept = [entry for entry in parsed.objects if entry.label != NOISE]
        return ParsedBoxes(kept, parsed.unreadable)


def noise_box(boxes: list, rng: np.random.Generator) -> list[float]:
    """Returns a box drawn anywhere, or one of `boxes` moved by up to 0.3 of its size."""
    if len(boxes) and rng.random() < 0.5:
        box = np.asarray(boxes[int(rng.integers(len(boxes)))], np.float64)
        size = np.tile(box[2:] - box[:2], 2)
        moved = clip_box(box + size * rng.uniform(-MOST_SHIFT, MOST_SHIFT, 4))
        if (moved[2:] - moved[:2]).min() >= SMALLEST:
            return moved.tolist()
    side = rng.uniform(SMALLEST, 1, 2)
    corner = rng.uniform(0, 1 - side)
    return [*corner.tolist(), *(corner + side).tolist()]


def read(
    record: Record,
    prompt: str,
    rng: np.random.Generator,
    codec: BoxCodec = BoxCodec(),
    length: int = 20,
) -> list[Pair]:
    """One pair: all objects of the image, of more than `length` those drawn first, then noise."""
    entries = record['objects']
    found: list[LabelledBox] = [(entry['box'], entry['label']) for entry in entries]
    if any(label == NOISE for _, label in found):
        raise ValueError(f'an object is labelled {NOISE!r}, which marks what is none')
    shown = [found[i] for i in rng.permutation(len(found))[:length]]
    boxes = [box for box, _ in found]
    noise = [(noise_box(boxes, rng), NOISE) for _ in range(length - len(shown))]
    answer = codec.encode_objects([*shown, *noise])
    return [Pair(fill(prompt), answer, objects=tuple(found), marking=record.get('marking'))]


def add_noisy_detection_task(
    name: str,
    source: RecordSource,
    length: int = 20,
    prompt: str = PROMPT,
    metrics: tuple[MetricFn, ...] = (labelled_boxes,),
    codec: BoxCodec = BoxCodec(),
    augment: Augmentation | None = None,
) -> TaskSpec:
    """Registers a task over records with `objects` of `label` and `box`, perhaps a `marking`.

    Args:
      name: of the task.
      source: where the records come from.
      length: objects of an answer, noise included.
      prompt: the prompt template.
      metrics: of written boxes; `vlm.metrics.average_precision` has others.
      codec: writes the boxes.
      augment: moves images and boxes.
    """
    reading = NoiseFreeCodec(**dataclasses.asdict(codec))
    return add_task(
        name,
        source,
        functools.partial(read, codec=codec, length=length),
        prompt,
        [functools.partial(metric, codec=reading) for metric in metrics],
        functools.partial(labelled_boxes_per_example, codec=reading),
        codec=reading,
        augment=augment,
    )
