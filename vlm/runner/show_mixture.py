"""`vlm tasks --mixture NAME`: what a mixture's rates come to over a run."""

import dataclasses
import itertools

import numpy as np
import seqio
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vlm.data.mixtures import rates_of
from vlm.data.sources.sharded import ShardedSource
from vlm.errors import UserError
from vlm.runner import config
from vlm.runner.quiet import quiet_libraries
from vlm.runner.show_tasks import prepare

console = Console(highlight=False, soft_wrap=True)

SAMPLE = 64  # examples of each task whose tokens are counted
COLUMNS = (
    'task',
    'rate',
    'share',
    'records',
    'in the run',
    'epochs',
    'tokens',
    'tokens in the run',
)


@dataclasses.dataclass(frozen=True)
class TaskCount:
    """What the data of a task's train split come to; None where they are not to be had.

    `pairs` are examples a record, `tokens` mean prompt and answer tokens of an example.
    """

    records: int | None = None
    tokens: float | None = None
    examples_a_record: float | None = None
    why: str = ''


def show_mixture(flags: config.GinFlags, modules: list[str], name: str) -> int:
    """Prints, for each task, its share of the examples and what that is of a run's.

    A run is TRAIN_STEPS times BATCH_SIZE examples, of the gin files given; without them only
    shares, sizes and tokens are shown.
    """
    with quiet_libraries():
        lengths = prepare(flags, modules)
        rates, origin = rates_of(name)
        steps, batch = config.macro('TRAIN_STEPS', None), config.macro('BATCH_SIZE', None)
        drawn = steps * batch if steps and batch else None
        total = sum(rates.values())
        counts = {task: count_task(task, lengths) for task in rates}
    table = Table(title=f'{name}: {drawn:,} examples in the run' if drawn else name)
    for column in COLUMNS:
        table.add_column(column, justify='left' if column == 'task' else 'right')
    for task, rate in rates.items():
        table.add_row(*map(escape, _cells(task, rate, rate / total, drawn, counts[task])))
    console.print(table)
    for why in sorted({count.why for count in counts.values() if count.why}):
        console.print(f'[yellow]?[/]: {escape(why)}')
    if origin:
        console.print(f'Rates: {escape(origin)}')
    return 0


def count_task(task: str, lengths: dict[str, int]) -> TaskCount:
    """Counts the records of a task's train split and the tokens of its first examples."""
    provider = seqio.TaskRegistry.get(task)
    if 'train' not in provider.splits:
        return TaskCount(why=f'{task} has no split train')
    try:
        records = _records(provider.source)
        dataset = provider.get_dataset(lengths, 'train', shuffle=False, num_epochs=1)
        first = list(dataset.take(SAMPLE).as_numpy_iterator())
    except Exception as error:  # absent files come wrapped by TensorFlow; a table is still wanted
        if isinstance(error, UserError) or 'UserError' in str(error):
            return TaskCount(why=str(error).splitlines()[0][:200])
        raise
    if not first:
        return TaskCount(records)
    tokens = np.mean([len(e['inputs']) + len(e['targets']) for e in first])
    # A record of several questions makes several examples of one image.
    images = len(list(itertools.groupby(first, key=lambda e: bytes(e['images'][0]))))
    return TaskCount(records, float(tokens), len(first) / images)


def _records(source: seqio.DataSource) -> int | None:
    if isinstance(source, ShardedSource):
        return sum(1 for file in source.list_shards('train') for _ in source.rows(file))
    return source.num_input_examples('train')


def _cells(task: str, rate: float, share: float, drawn: int | None, count: TaskCount) -> list[str]:
    wanted = None if drawn is None else share * drawn
    epochs = tokens = None
    if wanted is not None and count.records and count.examples_a_record:
        epochs = wanted / (count.records * count.examples_a_record)
    if wanted is not None and count.tokens:
        tokens = wanted * count.tokens
    return [
        task,
        f'{rate:g}',
        f'{share:.1%}',
        _number(count.records),
        _number(wanted),
        '?' if epochs is None else f'{epochs:.2f}',
        '?' if count.tokens is None else f'{count.tokens:.1f}',
        _number(tokens),
    ]


def _number(value: float | int | None) -> str:
    return '?' if value is None else f'{value:,.0f}'
