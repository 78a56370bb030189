"""Prints what an example of the demo costs when pipelines have few threads, and when as usual.

    python benchmarks/pipeline_threads.py

Each figure is of a process of its own, in turn: CPU time an example of the demo's training
mixture, from the records to batches, after the first batches, nothing else being computed. At the
end the ratio of the least. Three minutes on two cores.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from unittest import mock

KINDS = ('few', 'as usual')
LEFT_OUT = 20  # batches in which buffers are filled


def main() -> None:
    """Measures and prints, or is one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batches', type=int, default=100)
    parser.add_argument('--repeats', type=int, default=3)
    parser.add_argument('--run', choices=KINDS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        print(cost(args.run, args.batches))
        return
    least = dict.fromkeys(KINDS, float('inf'))
    for _, kind in itertools.product(range(args.repeats), KINDS):
        command = [sys.executable, __file__, '--run', kind, f'--batches={args.batches}']
        found = float(subprocess.check_output(command, stderr=subprocess.DEVNULL))
        least[kind] = min(least[kind], found)
        print(f'threads: {kind}: {found:.2f} ms of CPU an example', flush=True)
    print(f'with few, {least["few"] / least["as usual"]:.2f} of the CPU time')


def cost(kind: str, batches: int) -> float:
    """Milliseconds of CPU time an example."""
    from vlm.runner import session
    from vlm.runner.config import GinFlags

    leaving = mock.patch.object(session, 'leave_cores_to_steps', lambda: None)
    with tempfile.TemporaryDirectory() as folder:
        if kind == 'as usual':
            leaving.start()
        flags = GinFlags(['demo.gin'], bindings=[f'MODEL_DIR={folder + "/run"!r}'])
        trainer = session.open_session(flags).trainer
        reader = trainer.build_mesh().reader
        with trainer.dataset.training_batches(trainer.model.FEATURE_CONVERTER_CLS, reader) as data:
            for _ in range(LEFT_OUT):
                next(data)
            start = time.process_time()
            for _ in range(batches):
                next(data)
            seconds = time.process_time() - start
    return 1e3 * seconds / (batches * trainer.dataset.batch_size)


if __name__ == '__main__':
    main()
