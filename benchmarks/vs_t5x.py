"""Prints what this package costs beside upstream T5X: steps, decoding, start, memory.

    python benchmarks/vs_t5x.py            # T5X on PYTHONPATH, see docs/t5x.md

Minima and medians of both, measured in turn, and the ratio of the minima. Float32; a ViT of 6
layers on images of 128 px in patches of 16, a decoder of 4, both of width 256; 1,024 tokens, 16
images, rows of 32 tokens. T5X's side is what its users build (benchmarks/t5x_baseline.py): the same
ViT before its example decoder. Each has a process of its own; ours has huge pages, as our commands
do. Commands run the demo mixture on one network, ours, in both engines; the first step is done when
its loss is logged. Ten minutes on two cores.
"""

import argparse
import collections
import functools
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vlm.runner.host_memory import use_huge_pages

from peak_memory import peak_bytes

ENGINES = ('ours', 't5x')
READY = 'ready\n'  # has run once
TOKENS, BEAMS = 32, 4
SHUFFLED, PIXELS = 1000, 224
Figures = dict[str, list[float]]


def main() -> None:
    """Measures and prints, or does one part in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch', type=int, default=16)
    parser.add_argument('--repeats', type=int, default=7, help='of steps and decoding')
    parser.add_argument('--commands', type=int, default=3, help='repeats of commands and memory')
    parser.add_argument('--part', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        if args.part.endswith('-ours'):
            use_huge_pages()
        PARTS[args.part](args.batch)
        print(json.dumps(peak_bytes() / 2**20))
        return
    show('train step, s', interleaved('step', args.batch, args.repeats))
    show('greedy decode, s', interleaved('greedy', args.batch, args.repeats))
    show("greedy decode, T5X's default way, s", interleaved('default', args.batch, args.repeats))
    show(f'beam {BEAMS}, s', interleaved('beam', args.batch, args.repeats))
    cold, warm = first_steps(args.commands)
    show('command to first step, s', cold)
    show('command to first step, our compilation cache warm, s', warm)
    for what in ('train', 'decode', 'shuffle'):
        show(f'peak memory, {what}, MiB', in_processes(what, args))


def show(name: str, figures: Figures) -> None:
    """One line: minimum and median of both, and how the minima compare."""
    texts = [f'{k} {min(v):.3g} ({statistics.median(v):.3g})' for k, v in figures.items()]
    ratio = min(figures['ours']) / min(figures['t5x'])
    print(f'{name}: {", ".join(texts)}; {ratio:.2f} times', flush=True)


# ---- steps and decoding, each engine in a process of its own ----


def interleaved(what: str, batch: int, repeats: int) -> Figures:
    """Seconds of both engines, in turn; each runs once unmeasured."""
    pipes: dict[str, Any] = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
    engines = {
        engine: subprocess.Popen(part(f'{what}-{engine}', batch), **pipes) for engine in ENGINES
    }
    for name, engine in engines.items():
        if engine.stdout.readline() != READY:
            raise SystemExit(f'{what}-{name} failed.')
    figures: Figures = {engine: [] for engine in ENGINES}
    for _, (name, engine) in itertools.product(range(repeats), engines.items()):
        print('again', file=engine.stdin, flush=True)
        figures[name].append(float(engine.stdout.readline()))
    for engine in engines.values():
        engine.communicate()
    return figures


def repeat(run: Callable[[], Any]) -> None:
    """Runs once, and once more for every line of standard input, with the seconds it took."""
    run()
    print(READY, end='', flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        run()
        print(time.perf_counter() - began, flush=True)


def part(name: str, batch: int) -> list[str]:
    """The command of a part."""
    return [sys.executable, __file__, f'--part={name}', f'--batch={batch}']


def our_model_and_batch(size: int) -> tuple[Any, dict[str, Any]]:
    """A prompt of its end token alone, so that rows are as long as T5X's."""
    from measuring import make_batch, make_model

    return make_model(6, 4), make_batch(size, 1, TOKENS - 1)


def our_step(size: int) -> Callable[[], Any]:
    """A training step as `vlm train` takes it."""
    import jax
    import optax

    from vlm.runner.optimizers import Optimizer
    from vlm.runner.state import TrainState
    from vlm.runner.train_step import make_train_step

    from measuring import make_params

    model, batch = our_model_and_batch(size)
    config = Optimizer(optax.adamw, lambda step: 1e-4, clip_norm=None)
    optimizer = config.transformation(lambda name: False)
    step = make_train_step(model, optimizer, config)
    kept = [TrainState.create(make_params(model, batch), optimizer, ema=False)]

    def run() -> None:
        kept[0], metrics = step(kept[0], jax.device_put(batch), jax.random.key(0))
        jax.block_until_ready((kept[0].params, metrics))

    return run


def t5x_step(size: int) -> Callable[[], Any]:
    """A training step of T5X's Trainer."""
    import jax

    import t5x_baseline

    model, batch = our_model_and_batch(size)
    batch = t5x_baseline.make_batch(batch)
    model = t5x_baseline.make_model(model.module.config, search=False)
    trainer = t5x_baseline.make_trainer(model, batch)

    def run() -> None:
        trainer.train(itertools.repeat(batch), 1)
        jax.block_until_ready(trainer.train_state.params)

    return run


def our_decoder(size: int, beams: int) -> Callable[[], Any]:
    """Greedy answers, or those of a beam."""
    import jax

    from vlm.decoding import DecodingConfig

    from measuring import make_params

    model, batch = our_model_and_batch(size)
    decoding = DecodingConfig('beam', beams) if beams > 1 else DecodingConfig()
    predict = functools.partial(model.predict_batch, max_decode_length=TOKENS, decoding=decoding)
    # A row has room for the prompt and as many answer tokens as are decoded.
    batch |= {k: grown(v) for k, v in batch.items() if k.startswith('decoder_')}
    params, jitted = make_params(model, batch), jax.jit(predict)
    return lambda: jax.block_until_ready(jitted(params, jax.device_put(batch)))


def grown(rows: Any) -> Any:
    """Rows with one more slot of padding."""
    import numpy as np

    return np.pad(rows, [(0, 0), (0, 1)])


def t5x_decoder(size: int, beams: int, search: bool) -> Callable[[], Any]:
    """T5X's `temperature_sample` as it is by default, which is greedy, or its `beam_search`."""
    import jax

    import t5x_baseline

    model, batch = our_model_and_batch(size)
    batch = t5x_baseline.make_batch(batch)
    model = t5x_baseline.make_model(model.module.config, search)
    params = t5x_baseline.make_trainer(model, batch).train_state.params
    jitted = jax.jit(functools.partial(model.predict_batch_with_aux, num_decodes=beams))
    return lambda: jax.block_until_ready(jitted(params, jax.device_put(batch)))


# ---- commands ----


def first_steps(repeats: int) -> tuple[Figures, Figures]:
    """Seconds from command to first step, in turn: without and with our cache of programs."""
    from vlm.paths import gin_dir

    cold: Figures = {'ours': [], 't5x': []}
    warm: Figures = {'ours': [], 't5x': cold['t5x']}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cache = {'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache')}
        shared = ['--gin_file=demo.gin', '--gin_file=optimizers/adamw.gin', '--gin.BATCH_SIZE=16']
        ours = [sys.executable, '-m', 'vlm.cli', 'train', *shared, '--gin.LOG_PERIOD=1']
        t5x = [
            *(sys.executable, '-m', 't5x.main', '--run_mode=train'),
            *(f'--gin_search_paths={gin_dir()}', '--gin_file=t5x/pretrain.gin', *shared),
            *('--gin.LOG_PERIOD=1', '--gin.EVAL_STEPS=0'),
        ]
        command_seconds(ours, folder / 'filling', cache)
        for i in range(repeats):
            empty = {'JAX_COMPILATION_CACHE_DIR': str(folder / f'empty_{i}')}
            cold['ours'].append(command_seconds(ours, folder / f'ours_{i}', empty))
            cold['t5x'].append(command_seconds(t5x, folder / f't5x_{i}', {}))
            warm['ours'].append(command_seconds(ours, folder / f'warm_{i}', cache))
    return cold, warm


def command_seconds(command: list[str], run: Path, environment: dict[str, str]) -> float:
    """Seconds until the loss of step 1 is written; the process is ended then."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, f'--gin.MODEL_DIR={str(run)!r}'],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    last: collections.deque[str] = collections.deque(maxlen=20)
    try:
        for line in lines_of(process, run / 'metrics.jsonl'):
            if re.search(r'\[1\] collection=train .*loss=|"step": 1,', line):
                return time.perf_counter() - began
            last.append(line)
        raise SystemExit(f'no first step: {" ".join(command)}\n{"".join(last)}')
    finally:
        process.kill()
        process.wait()


def lines_of(process: subprocess.Popen, metrics: Path) -> Iterator[str]:
    """What T5X logs and what `vlm train` writes, as it comes."""
    os.set_blocking(process.stderr.fileno(), False)
    while process.poll() is None:
        yield from process.stderr.readlines()
        if metrics.exists():
            yield metrics.read_text()
        time.sleep(0.02)
    yield from process.stderr.readlines()


# ---- memory, in processes of their own ----


def in_processes(what: str, args: argparse.Namespace) -> Figures:
    """Peak resident MiB of a process that does one part, in turn."""
    figures: Figures = {engine: [] for engine in ENGINES}
    for _, engine in itertools.product(range(args.commands), ENGINES):
        command = part(f'{what}-{engine}', args.batch)
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        figures[engine].append(float(done.stdout.splitlines()[-1]))
    if what == 'shuffle':
        # What is left is what shuffling adds to TensorFlow and SeqIO.
        command = part('shuffle-none', args.batch)
        done = subprocess.run(command, check=True, capture_output=True)
        empty = float(done.stdout.splitlines()[-1])
        figures = {engine: [x - empty for x in values] for engine, values in figures.items()}
    return figures


def twice(make: Callable[[], Callable[[], Any]]) -> None:
    """Runs what was made two times, beside TensorFlow and SeqIO as in the commands of both."""
    import seqio  # noqa: F401

    run = make()
    run()
    run()


def pictures(split: str) -> Iterator[dict[str, Any]]:
    """Photographs of about 20 KB, made of blurred noise."""
    import io

    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(SHUFFLED + 1):
        noise = rng.integers(0, 256, (PIXELS // 4, PIXELS // 4, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(noise).resize((PIXELS, PIXELS)).save(buffer, 'JPEG', quality=85)
        yield {'id': str(i), 'images': [buffer.getvalue()], 'captions': ['a picture']}


def draw(buffered: int, decode: bool) -> None:
    """Draws an example of a shuffled task: images encoded, or decoded before as T5X's users do."""
    import io

    import numpy as np
    import seqio
    import tensorflow as tf
    from PIL import Image

    from vlm.data.envelope import untag_image
    from vlm.data.python_calls import numpy_function
    from vlm.data.sources import RecordSource
    from vlm.tasks.captioning import add_captioning_task

    def pixels(data: bytes) -> np.ndarray:
        return np.asarray(Image.open(io.BytesIO(untag_image(data)[1])), np.float32)

    add_captioning_task('pictures', RecordSource(pictures, {'train': SHUFFLED + 1}))
    lengths = {'images': 1, 'inputs': 8, 'targets': 8}
    task = seqio.get_mixture_or_task('pictures')
    examples = task.get_dataset(lengths, 'train', shuffle=False, try_in_mem_cache=False)
    if decode:
        examples = examples.map(
            lambda x: {**x, 'images': numpy_function(pixels, [x['images'][0]], tf.float32)}
        )
    next(iter(examples.shuffle(buffered)))


PARTS: dict[str, Callable[[int], None]] = {
    'step-ours': lambda size: repeat(our_step(size)),
    'step-t5x': lambda size: repeat(t5x_step(size)),
    'greedy-ours': lambda size: repeat(our_decoder(size, 1)),
    'greedy-t5x': lambda size: repeat(t5x_decoder(size, 1, search=False)),
    'default-ours': lambda size: repeat(our_decoder(size, 1)),
    # What T5X's model class decodes by if nobody says otherwise: a search with one beam.
    'default-t5x': lambda size: repeat(t5x_decoder(size, 1, search=True)),
    'beam-ours': lambda size: repeat(our_decoder(size, BEAMS)),
    'beam-t5x': lambda size: repeat(t5x_decoder(size, BEAMS, search=True)),
    'train-ours': lambda size: twice(lambda: our_step(size)),
    'train-t5x': lambda size: twice(lambda: t5x_step(size)),
    'decode-ours': lambda size: twice(lambda: our_decoder(size, 1)),
    'decode-t5x': lambda size: twice(lambda: t5x_decoder(size, 1, search=False)),
    'shuffle-ours': lambda size: draw(SHUFFLED, decode=False),
    'shuffle-t5x': lambda size: draw(SHUFFLED, decode=True),
    'shuffle-none': lambda size: draw(1, decode=False),
}


if __name__ == '__main__':
    main()
