"""Geometric augmentation of records: the images get a view, the boxes move with it."""

import numpy as np

from vlm.boxes import flip_horizontal, to_region
from vlm.data.examples import Record
from vlm.data.views import View, attach_view


def zoom_and_flip(
    record: Record,
    rng: np.random.Generator,
    *,
    smallest: float = 0.8,
    largest: float = 1.25,
    flip: bool = True,
) -> Record:
    """Shows a window of the image that holds every object, mirrored half of the time.

    The window's side is `smallest`..`largest` of the image's. It may reach outside, where the image
    is continued by its edge pixels, but not at an edge that an object touches: that object would be
    continued, too, and its box be wrong.
    """
    boxes = _boxes(record)
    # Without objects the middle is kept, or the window could miss the image.
    kept = boxes if len(boxes) else np.full((1, 4), 0.5)
    low, high = kept[:, :2].min(0), kept[:, 2:].max(0)
    side = rng.uniform(smallest, largest)
    region = [_window(low[axis], high[axis], side, rng) for axis in (0, 1)]
    window = (region[0][0], region[1][0], region[0][1], region[1][1])
    return _shown(record, window, bool(flip and rng.random() < 0.5))


def flip(record: Record, rng: np.random.Generator) -> Record:
    """Mirrors the image half of the time, for texts that tell left from right by no word."""
    return _shown(record, (0.0, 0.0, 1.0, 1.0), bool(rng.random() < 0.5))


def _boxes(record: Record) -> np.ndarray:
    boxes = [entry['box'] for entry in record.get('objects', ())]
    return np.array(boxes, np.float64).reshape(-1, 4)


def _shown(record: Record, window: tuple[float, float, float, float], mirrored: bool) -> Record:
    """The record with its images cut to `window` (y_min, x_min, y_max, x_max) and its boxes moved.

    They move by the window as it was drawn; `View` rounds it to float32.
    """
    moved = to_region(_boxes(record), window)
    if mirrored:
        moved = flip_horizontal(moved)
    objects = record.get('objects', ())
    placed = [{**entry, 'box': box.tolist()} for entry, box in zip(objects, moved, strict=True)]
    view = View(window, mirrored)
    images = [attach_view(data, view) for data in record['images']]
    return {**record, 'images': images, **({'objects': placed} if objects else {})}


def _window(low: float, high: float, side: float, rng: np.random.Generator) -> tuple[float, float]:
    """Start and end, along one axis, of a window of length `side` around [low, high]."""
    earliest, latest = high - side, low
    if low <= 0.0:
        earliest = max(earliest, 0.0)
    if high >= 1.0:
        latest = min(latest, 1.0 - side)
    if earliest > latest:  # the object is too large for a window of this length
        return 0.0, 1.0
    start = rng.uniform(earliest, latest)
    return start, start + side
