"""`vlm tasks`: what is registered, and examples token by token as the model is trained on them."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import gin
import jax.numpy as jnp
import numpy as np
import seqio
import tensorflow as tf
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm.data.converter import ImageTextFeatureConverter
from vlm.data.image_files import encode_png
from vlm.data.prompts import template
from vlm.data.tasks import declared, spec_of
from vlm.data.vocabularies import task_vocabulary
from vlm.errors import UserError
from vlm.nn import masks
from vlm.runner import config
from vlm.runner.datasets import DatasetConfig
from vlm.runner.quiet import quiet_libraries
from vlm.runner.task_list import print_lists, remember

console = Console(highlight=False, soft_wrap=True)

SHIPPED = (
    'vlm.mixtures.demo',
    'vlm.mixtures.lit_decoder',  # and with it all public benchmarks
    'vlm.mixtures.locca',
    'vlm.mixtures.pali',
    'vlm.mixtures.paligemma',
)
OPTIONAL = ['MODEL_DIR', 'TASK_FEATURE_LENGTHS', 'TRAIN_STEPS', 'BATCH_SIZE']
LENGTHS = {'images': 1, 'inputs': 64, 'targets': 64}


def list_tasks(flags: config.GinFlags, modules: list[str]) -> int:
    """Prints every task with its prompt and metrics, every mixture with its rates."""
    with quiet_libraries():
        prepare(flags, modules)
        mixtures = map(seqio.MixtureRegistry.get, sorted(seqio.MixtureRegistry.names()))
        rows = {
            'tasks': [[name, *_task_columns(name)] for name in sorted(seqio.TaskRegistry.names())],
            'mixtures': [[mixture.name, _rates(mixture)] for mixture in mixtures],
        }
    if not (modules or flags.files or flags.bindings):
        remember(rows)
    print_lists(rows)
    return 0


def _rates(mixture: seqio.Mixture) -> str:
    return ', '.join(f'{task.name} {mixture.get_rate(task):g}' for task in mixture.tasks)


def _task_columns(name: str) -> tuple[str, str, str]:
    task = seqio.TaskRegistry.get(name)
    splits = ', '.join(task.splits)
    if name not in declared():
        return splits, '(a group of tasks)', ''
    spec = spec_of(name)
    metrics = (getattr(m, 'func', m).__name__ for m in spec.metrics)
    return splits, template(name, spec.prompt), ', '.join(metrics)


def show_examples(
    flags: config.GinFlags,
    modules: list[str],
    name: str,
    split: str,
    count: int,
    images: str | None,
) -> int:
    """Prints examples token by token: token, loss weight, what it may attend to."""
    with quiet_libraries():
        lengths = prepare(flags, modules)
        dataset = DatasetConfig(name, lengths, split, shuffle=False)
        converter = ImageTextFeatureConverter()
        rows = converter(dataset.examples(), lengths).take(count).as_numpy_iterator()
        for i, row in enumerate(rows):
            console.print(_example_table(f'{name}, {split}, example {i}', row))
            if images:
                _save(Path(images), f'{name}-{split}-{i}', row['images'])
    return 0


def prepare(flags: config.GinFlags, modules: list[str]) -> dict[str, int]:
    """Registers every task that the package, modules and gin give; returns the feature lengths."""
    tf.config.set_visible_devices([], 'GPU')
    lengths = LENGTHS
    if flags.files or flags.bindings:
        # Nothing is written here, so no run directory is needed.
        flags.bindings.insert(0, "MODEL_DIR = 'unused'")
        loaded = config.load(flags, optional=OPTIONAL)
        config.import_modules(loaded)
        config.register_tasks(loaded)
        lengths = dict(config.macro('TASK_FEATURE_LENGTHS', LENGTHS))
    import_task_modules(modules)
    return lengths


def import_task_modules(modules: Sequence[str]) -> None:
    """Imports the tasks that come with the package and the user's, from the current folder too."""
    config.make_cwd_importable()
    with gin.unlock_config():
        for module in [*SHIPPED, *modules]:
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                raise UserError(f'--module {module} cannot be imported: {error}.') from error


def _example_table(title: str, row: dict[str, np.ndarray]) -> Table:
    """One line a position of the decoder row."""
    tokenizer = task_vocabulary().tokenizer
    seen = np.asarray(
        masks.decoder_mask(
            len(row['decoder_target_tokens']),
            jnp.asarray(row['decoder_prefix_mask'])[None],
            jnp.asarray(row['decoder_segment_ids'])[None],
        )
    )[0, 0]
    table = Table(title=title)
    for column in ('position', 'holds', 'predicts', 'weight', 'attends to'):
        table.add_column(column)
    for i in np.flatnonzero(row['decoder_segment_ids']):
        held, target = row['decoder_input_tokens'][i], row['decoder_target_tokens'][i]
        weight = row['decoder_loss_weights'][i]
        table.add_row(
            str(i),
            '(start)' if held == 0 else escape(tokenizer.pieces([held])[0]),
            escape(tokenizer.pieces([target])[0]),
            f'{weight:g}',
            'image, ' + _ranges(np.flatnonzero(seen[i])),
            style='bold' if weight else 'dim',
        )
    return table


def _ranges(positions: np.ndarray) -> str:
    """'0-3, 7' of [0, 1, 2, 3, 7]."""
    if not len(positions):
        return ''
    breaks = np.flatnonzero(np.diff(positions) > 1)
    starts = positions[np.concatenate([[0], breaks + 1])]
    ends = positions[np.concatenate([breaks, [len(positions) - 1]])]
    return ', '.join(f'{a}-{b}' if b > a else str(a) for a, b in zip(starts, ends, strict=True))


def _save(folder: Path, name: str, images: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, pixels in enumerate(images):
        path = folder / f'{name}-{i}.png'
        path.write_bytes(encode_png(pixels))
        console.print(f'saved {path}')
