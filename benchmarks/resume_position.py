"""Prints how long it takes to find the place in the data again: by position and by counting.

    python benchmarks/resume_position.py

Takes some batches of the demo's mixture, saves the position, and measures until the next batch is
there in a new pipeline: restored, and after passing over all examples before it.
"""

import argparse
import tempfile
import time
from pathlib import Path

import gin

from vlm.data.converter import ImageTextFeatureConverter
from vlm.data.frames import Frame
from vlm.mixtures import demo  # noqa: F401  (registers the mixture)
from vlm.runner.batches import Batches
from vlm.runner.datasets import DatasetConfig

LENGTHS = {'images': 1, 'inputs': 36, 'targets': 36}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batches', type=int, default=400)
    parser.add_argument('--batch_size', type=int, default=32)
    args = parser.parse_args()
    gin.clear_config()
    data = DatasetConfig('demo', LENGTHS, batch_size=args.batch_size)

    def batches() -> Batches:
        return data.training_batches(
            lambda pack: ImageTextFeatureConverter(pack=pack, frame=Frame((64, 64)))
        )

    with tempfile.TemporaryDirectory() as name, batches() as first:
        began = time.perf_counter()
        for _ in range(args.batches):
            next(first)
        rate = args.batches / (time.perf_counter() - began)
        print(f'{args.batches} batches of {args.batch_size}: {rate:.1f} batches/s')
        began = time.perf_counter()
        first.save(Path(name), args.batches)
        size = sum(path.stat().st_size for path in Path(name).iterdir())
        print(f'saving the position: {time.perf_counter() - began:.2f} s, {size / 1e6:.1f} MB')
        expected = next(first)
        for how, folder in (('restoring it', Path(name)), ('counting', Path(name) / 'none')):
            began = time.perf_counter()
            with batches() as again:
                again.restore(folder, args.batches)
                found = next(again)
                seconds = time.perf_counter() - began
            same = all((found[key] == expected[key]).all() for key in expected)
            print(f'{how}, until the next batch: {seconds:.2f} s; the same batch: {same}')


if __name__ == '__main__':
    main()
