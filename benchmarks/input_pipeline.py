"""Prints how fast images are read, against a bare loop of TensorFlow, and what shuffling holds.

    python benchmarks/input_pipeline.py

Writes JPEG files of 640 x 480. Ours: read, decode, resize to 224 x 224, ask, tokenise, lay out,
batch; once as it is by default, once with `reduced_jpeg`. Bare: tf.io.decode_jpeg and
tf.image.resize of the same files in a tf.data loop, once as TensorFlow does by default (reducing
without antialiasing, which skips pixels) and once with it, as ours. Each runs on one core. The
rates are of the process's own CPU time, which other programs on the core slow down less than they
do the clock; making and tracing a pipeline, once a run, is left out. Before that, a task of 10,000
such images is shuffled in one buffer.
"""

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import seqio
import tensorflow as tf
from PIL import Image

from vlm.data.converter import ImageTextFeatureConverter
from vlm.data.frames import Frame
from vlm.data.sources import RecordSource
from vlm.tasks.vqa import add_vqa_task

LENGTHS = {'images': 1, 'inputs': 16, 'targets': 8}
SIZE = (224, 224)
BATCH = 32


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--files', type=int, default=256)
    parser.add_argument('--images', type=int, default=512, help='of each timed pass')
    parser.add_argument('--shuffled', type=int, default=10_000, help='0: leave that out')
    parser.add_argument('--repeats', type=int, default=3)
    args = parser.parse_args()
    if hasattr(os, 'sched_setaffinity'):  # first of all: threads keep what they started with
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        paths = write_jpegs(Path(folder), args.files)
        mean = np.mean([path.stat().st_size for path in paths])
        print(
            f'{len(paths)} JPEG files of 640 x 480, {mean / 1024:.0f} KiB on average; '
            f'load {os.getloadavg()[0]:.1f}'
        )
        add_task('ours', paths, args.images)
        add_task('many', paths, max(args.shuffled, 1))
        if args.shuffled:
            shuffling(args.shuffled)
        speed(paths, args.images, args.repeats)


def write_jpegs(folder: Path, count: int) -> list[Path]:
    """Pictures with large shapes and fine grain, as cameras make them."""
    rng = np.random.default_rng(0)
    paths = [folder / f'{i:05d}.jpg' for i in range(count)]
    for path in paths:
        coarse = Image.fromarray(rng.integers(0, 256, (8, 10, 3), np.uint8))
        pixels = np.asarray(coarse.resize((640, 480), Image.Resampling.BICUBIC), np.float32)
        pixels += rng.normal(0, 8, (480, 640, 1))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path, quality=90)
    return paths


def add_task(name: str, paths: list[Path], count: int) -> None:
    """A task of `count` records that read the files in turn."""

    def read(split: str) -> Iterator[dict]:
        for i in range(count):
            path = paths[i % len(paths)]
            question = {'question': 'what is in the picture?', 'answer': 'shapes'}
            yield {'id': f'{i}', 'images': [path.read_bytes()], **question}

    add_vqa_task(name, RecordSource(read, {'train': count}))


# ---- speed ----


def speed(paths: list[Path], images: int, repeats: int) -> None:
    """Images a second of each, the best of several passes in turn, on one core."""
    passes: dict[str, Callable[[], tf.data.Dataset]] = {
        'ours': lambda: ours('ours'),
        'ours, reduced_jpeg': lambda: ours('ours', reduced_jpeg=True),
        'bare': lambda: bare(paths, images, antialias=False),
        'bare, antialiased': lambda: bare(paths, images, antialias=True),
    }
    best = dict.fromkeys(passes, (0.0, 0.0))
    for _ in range(repeats):
        for name, make in passes.items():
            rates = images_per_second(make().with_options(one_thread()), images)
            best[name] = tuple(map(max, best[name], rates))
    for name, (cpu, clock) in best.items():
        shares = [f'{best[own][0] / cpu:.2f}' for own in passes if own.startswith('ours')]
        print(
            f'{name}: {cpu:.0f} images a second of CPU ({clock:.0f} by the clock); '
            f'of that, ours reach {" and ".join(shares)}'
        )


def images_per_second(dataset: tf.data.Dataset, images: int) -> tuple[float, float]:
    """Of the process's CPU time, and by the clock."""
    batches = dataset.as_numpy_iterator()
    next(batches)
    cpu, clock = time.process_time(), time.perf_counter()
    seen = sum(map(len, batches))
    assert seen == images - BATCH
    return seen / (time.process_time() - cpu), seen / (time.perf_counter() - clock)


def ours(task: str, reduced_jpeg: bool = False) -> tf.data.Dataset:
    """Batches of pixels as training gets them; the other features are made, too."""
    # Without SeqIO's cache, as training reads.
    examples = seqio.get_mixture_or_task(task).get_dataset(
        LENGTHS, 'train', shuffle=False, try_in_mem_cache=False
    )
    converter = ImageTextFeatureConverter(frame=Frame(SIZE, reduced_jpeg=reduced_jpeg))
    rows = converter(examples, LENGTHS)
    return rows.batch(BATCH).prefetch(1).map(lambda batch: batch['images'])


def bare(paths: list[Path], images: int, antialias: bool) -> tf.data.Dataset:
    """Batches of pixels, and nothing else."""

    def load(path: tf.Tensor) -> tf.Tensor:
        pixels = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
        small = tf.image.resize(pixels, SIZE, antialias=antialias)
        return tf.cast(tf.round(small), tf.uint8)

    files = tf.data.Dataset.from_tensor_slices([str(path) for path in paths]).repeat().take(images)
    return files.map(load, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH).prefetch(1)


def one_thread() -> tf.data.Options:
    """As many threads as there are cores for them: one."""
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    return options


# ---- memory of the shuffle buffer ----


def shuffling(count: int) -> None:
    """Grown memory of the process once the buffer is full, against the encoded images in it."""
    task = seqio.get_mixture_or_task('many')
    small = task.get_dataset(LENGTHS, 'train', shuffle=True, shuffle_buffer_size=8, seed=0)
    next(small.as_numpy_iterator())  # what the first iterator of a process allocates once
    gc.collect()
    before = resident_bytes()
    dataset = task.get_dataset(LENGTHS, 'train', shuffle=True, shuffle_buffer_size=count, seed=0)
    iterator = dataset.as_numpy_iterator()
    next(iterator)
    gc.collect()
    grown = resident_bytes() - before
    encoded = sum(len(record['images'][0]) for record in task.source.records('train'))
    print(
        f'{count:,} images shuffled: {encoded / 2**20:.0f} MiB encoded, the process grew by '
        f'{grown / 2**20:.0f} MiB, {grown / encoded:.2f} times that'
    )
    del iterator


def resident_bytes() -> int:
    """Of this process, now (Linux)."""
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


if __name__ == '__main__':
    main()
