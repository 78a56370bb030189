"""Frames of a video as encoded pictures: from the file by PyAV, or from a folder of frame files.

PyAV (`pip install 'vlm[video]'`) is imported when the first file is read.
"""

import io
import os
from pathlib import Path
from typing import Any

from vlm.data.sources.files import FileRefused, path_inside, read_inside
from vlm.data.sources.folders import EXTENSIONS
from vlm.errors import UserError

ENDINGS = ('.mp4', '.avi', '.mkv', '.webm', '.mov')
JPEG_QUALITY = 90


def middles(count: int, start: float | int, end: float | int) -> list[float]:
    """The middles of `count` equal parts of [start, end]."""
    return [start + (i + 0.5) * (end - start) / count for i in range(count)]


def find_frames(
    folder: str, name: str, count: int, start: float | None = None, end: float | None = None
) -> list[bytes]:
    """Returns up to `count` frames of the video `name` (without ending) of a folder, in order.

    A folder of that name, whose pictures are frames in the order of their names, goes before a file
    of it; `start` and `end`, in seconds, hold for files alone. Raises FileRefused where there is
    neither, or the file cannot be decoded; UserError where PyAV is missing.
    """
    place = path_inside(folder, name)
    if os.path.isdir(place):
        names = sorted(n for n in os.listdir(place) if n.lower().endswith(EXTENSIONS))
        kept = names
        if len(names) > count:
            kept = [names[int(at)] for at in middles(count, 0, len(names))]
        return [read_inside(place, n) for n in kept]
    for ending in ENDINGS:
        if os.path.isfile(place + ending):
            return video_frames(Path(path_inside(folder, name + ending)), count, start, end)
    raise FileRefused(f'there is neither a folder {name!r} nor a video {name}{ENDINGS[0]} or so')


def video_frames(
    path: Path, count: int, start: float | None = None, end: float | None = None
) -> list[bytes]:
    """Returns `count` frames as JPEG, of the middles of equal parts of start..end seconds.

    Raises FileRefused for what is no video, has no length or ends early.
    """
    try:
        import av
    except ImportError:
        raise UserError("videos need PyAV: pip install 'vlm[video]'") from None
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            length = _seconds(container, stream)
            first, last = start or 0.0, length if end is None else min(end, length)
            return [_encode(_frame_at(container, stream, t)) for t in middles(count, first, last)]
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise FileRefused(f'{path.name!r} cannot be read as a video: {error}') from None


def _seconds(container: Any, stream: Any) -> float:
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None:
        raise ValueError('it does not say how long it is')
    return container.duration / 1e6  # PyAV counts a container's time in microseconds


def _frame_at(container: Any, stream: Any, seconds: float) -> Any:
    """The frame that is shown at a time: the last one that begins by then."""
    container.seek(int(seconds / stream.time_base), stream=stream)  # to the key frame before
    shown = None
    for frame in container.decode(stream):
        if shown is not None and frame.time is not None and frame.time > seconds:
            break
        shown = frame
    if shown is None:
        raise ValueError(f'no frame at {seconds:.2f} s')
    return shown


def _encode(frame: Any) -> bytes:
    buffer = io.BytesIO()
    frame.to_image().save(buffer, 'JPEG', quality=JPEG_QUALITY)
    return buffer.getvalue()
