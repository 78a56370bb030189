"""The `vlm` command. Each subcommand imports what it needs when it runs, so `--help` is instant."""

import argparse
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import NoReturn

from vlm.errors import UserError, nearest

DESCRIPTION = 'Declarative multi-task vision-language models: image(s) + prompt -> text.'
GIN_HELP = """\
configuration (T5X's flags, all repeatable):
  --gin_file FILE           a gin file: in the current folder, on the search paths or shipped
  --gin_search_paths A,B    more folders to look in
  --gin.NAME=VALUE          set a macro or a binding, e.g. --gin.TRAIN_STEPS=500
                            text needs quotes of its own: --gin.MODEL_DIR="'my_run'"
"""


# Commands that run many steps on a device.
RUN_STEPS = ('train', 'eval', 'infer')


def console_script() -> NoReturn:
    """The console command: `main` in a process with fitting memory, then the end of it.

    Python would wait for a thread that is compiling, which nothing interrupts and nobody needs.
    """
    if sys.argv[1:] and sys.argv[1] in RUN_STEPS:
        from vlm.runner.host_memory import use_huge_pages

        use_huge_pages()
    status = main()
    own = threading.main_thread()
    busy = any(not thread.daemon for thread in threading.enumerate() if thread is not own)
    if status in (2, 130) and busy:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status (2 for a mistake of the user's)."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # TensorFlow reports its build at import; the user asked for none of it.
    os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
    os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
    try:
        return _dispatch(argv)
    except UserError as error:
        print(f'vlm: {_without_gin_trace(str(error))}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('vlm: interrupted.', file=sys.stderr)
        return 130


def _without_gin_trace(message: str) -> str:
    """Removes the lines that gin adds to every error on its way through a configurable."""
    lines = message.splitlines()
    return '\n'.join(x for x in lines if not x.lstrip().startswith('In call to configurable'))


def _dispatch(argv: list[str]) -> int:
    from vlm.runner.config import split_gin_flags

    flags, rest = split_gin_flags(argv)
    parser = _parser()
    args, unknown = parser.parse_known_args(rest)
    if unknown:
        known = [option for action in args.parser._actions for option in action.option_strings]
        close = nearest(unknown[0].split('=')[0], [*known, '--gin_file', '--gin_search_paths'])
        hint = f' Nearest: {", ".join(close)}.' if close else ''
        raise UserError(f'unknown argument {unknown[0]!r} of `vlm {args.command}`.{hint}')
    run: Callable[..., int] = args.run
    return run(args, flags)


class _Parser(argparse.ArgumentParser):
    """Tells a wrong command line as one line, like every other mistake."""

    def error(self, message: str) -> None:
        raise UserError(f'{message}. See `{self.prog} --help`.')


def _parser() -> _Parser:
    parser = _Parser('vlm', description=DESCRIPTION)
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)

    def command(name: str, run: Callable, text: str, gin: bool = True) -> _Parser:
        added = commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=GIN_HELP if gin else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        added.set_defaults(run=run, parser=added)
        return added

    train = command('train', _train, 'Train a model, evaluate it and write a report.')
    train.add_argument(
        '--dry_run',
        action='store_true',
        help='check everything, print what a step takes on every device, train nothing',
    )
    train.add_argument(
        '--fake_devices',
        type=int,
        metavar='N',
        help='as if this machine had N devices: with --dry_run, for any mesh on a laptop',
    )
    _add_processes(train)
    evaluate = command('eval', _eval, 'Evaluate a checkpoint of a run.')
    evaluate.add_argument('run_dir', help='what `vlm train` wrote')
    evaluate.add_argument(
        '--checkpoint', default='latest', help="'latest', 'best' or a step (default: latest)"
    )
    _add_processes(evaluate)
    infer = command('infer', _infer, 'Write the answers of a run for every example of a task.')
    infer.add_argument('run_dir', help='what `vlm train` wrote')
    infer.add_argument('--task', required=True, help='a registered task')
    infer.add_argument('--split', default='test', help='its split (default: test)')
    infer.add_argument('--output', help='JSON lines (default: RUN_DIR/inference/TASK-SPLIT.jsonl)')
    ask = command('ask', _ask, 'Ask a trained model about an image.', gin=False)
    ask.add_argument('run_dir', help='what `vlm train` wrote')
    ask.add_argument('image', help='a JPEG, PNG, GIF, BMP or WebP file')
    ask.add_argument('question', help='a question, or a prompt such as "ocr" or "detect 7"')
    ask.add_argument('--output', help='where a picture with boxes goes (default: IMAGE.boxes.png)')
    tasks = command('tasks', _tasks, 'List tasks and mixtures, show examples of one, or check it.')
    tasks.add_argument('name', nargs='?', help='show examples of this task or mixture')
    tasks.add_argument('checked', nargs='?', help='after the word "check": look for bad data in it')
    tasks.add_argument('--module', default=[], action='append', help='import this module first')
    tasks.add_argument('--split', default='train', help='(default: train)')
    tasks.add_argument('--examples', type=int, default=2, help='how many (default: 2)')
    tasks.add_argument('--mixture', metavar='NAME', help='rates, epochs and tokens of its tasks')
    tasks.add_argument('--images', help='a folder to save the pictures in')
    tasks.add_argument('--write_clean', metavar='FILE', help='with check: good rows as JSON lines')
    vocab = command('vocab', _vocab, "Train a vocabulary on tasks' prompts and answers.")
    vocab.add_argument('tasks', nargs='+', help='registered tasks')
    vocab.add_argument('--output', required=True, help='the model file to write')
    vocab.add_argument('--size', type=int, default=8192, help='tokens beside locations (8192)')
    vocab.add_argument('--records', type=int, default=20_000, help='records read a task (20000)')
    vocab.add_argument('--module', default=[], action='append', help='import this module first')
    export = command('export', _export, 'Write the weights of a run for other programs.', gin=False)
    export.add_argument('run_dir', help='what `vlm train` wrote')
    export.add_argument(
        '--format',
        default='safetensors',
        help='safetensors (default), hf for transformers, stablehlo for jax.export, or t5x',
    )
    export.add_argument('--output', help='a folder (default: RUN_DIR/export/FORMAT)')
    imported = command('import', _import, 'Make a run of a checkpoint that T5X trained.')
    imported.add_argument('checkpoint', help="a folder checkpoint_STEP, or T5X's MODEL_DIR")
    report = command('report', _report, 'Report on a run, or compare several.', gin=False)
    report.add_argument('run_dirs', nargs='+', metavar='RUN', help='what `vlm train` wrote')
    report.add_argument(
        '--output', help='the page (default: RUN/report.html; of several runs comparison.html)'
    )
    return parser


def _add_processes(parser: _Parser) -> None:
    group = parser.add_argument_group('many processes (found by themselves on TPU and in SLURM)')
    group.add_argument('--coordinator', metavar='HOST:PORT', help='of process 0, reached by all')
    group.add_argument('--num_processes', type=int, metavar='N', help='of all machines')
    group.add_argument('--process_id', type=int, metavar='I', help='of this one, from 0')


def _start_devices(args: argparse.Namespace, fake_devices: int | None = None) -> None:
    from vlm.runner.processes import Cluster, fake, join

    if fake_devices:
        fake(fake_devices)
    join(Cluster(args.coordinator, args.num_processes, args.process_id))


def _train(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    _load_tensorflow()
    _start_devices(args, args.fake_devices)
    from vlm.runner.commands import train

    return train(flags, args.dry_run)


def _eval(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    _load_tensorflow()
    _start_devices(args)
    from vlm.runner.commands import evaluate

    return evaluate(flags, args.run_dir, args.checkpoint)


def _infer(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    _load_tensorflow()
    from vlm.runner.commands import infer

    return infer(flags, args.run_dir, args.task, args.split, args.output)


def _ask(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    _no_gin(flags, 'ask')
    from vlm.runner.ask_command import ask

    return ask(args.run_dir, args.image, args.question, args.output)


def _tasks(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    asked = args.name, args.mixture, args.write_clean, args.module, flags.files, flags.bindings
    if not any(asked) and _print_remembered_tasks():
        return 0
    _load_tensorflow()
    from vlm.runner.show_tasks import list_tasks, show_examples

    if args.name == 'check':
        from vlm.runner.check_command import check

        return check(flags, args.module, args.checked, args.split, args.write_clean)
    if args.checked or args.write_clean:
        raise UserError('`vlm tasks check NAME` checks a task, `vlm tasks NAME` shows examples.')
    if args.mixture:
        from vlm.runner.show_mixture import show_mixture

        return show_mixture(flags, args.module, args.mixture)
    if args.name is None:
        return list_tasks(flags, args.module)
    return show_examples(flags, args.module, args.name, args.split, args.examples, args.images)


def _print_remembered_tasks() -> bool:
    from vlm.runner.task_list import print_lists, remembered

    rows = remembered()
    if rows is not None:
        print_lists(rows)
    return rows is not None


def _vocab(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    _load_tensorflow()
    from vlm.runner.vocab_command import train_vocabulary_of_tasks

    return train_vocabulary_of_tasks(
        flags, args.tasks, args.module, args.output, args.size, args.records
    )


def _export(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    _no_gin(flags, 'export')
    from vlm.runner.export_command import export

    return export(args.run_dir, args.format, args.output)


def _import(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    _load_tensorflow()
    from vlm.runner.t5x_command import import_checkpoint

    return import_checkpoint(flags, args.checkpoint)


def _report(args: argparse.Namespace, flags: 'GinFlags') -> int:  # noqa: F821
    _no_gin(flags, 'report')
    from pathlib import Path

    from vlm.runner.report import write_comparison, write_report

    runs = [Path(path) for path in args.run_dirs]
    output = Path(args.output) if args.output else None
    if len(runs) == 1:
        print(write_report(runs[0], output))
    else:
        print(write_comparison(runs, output or Path('comparison.html')))
    return 0


def _load_tensorflow() -> None:
    from vlm.runner.quiet_import import import_tensorflow_quietly

    import_tensorflow_quietly()


def _no_gin(flags: 'GinFlags', command: str) -> None:  # noqa: F821
    if flags.files or flags.bindings or flags.search_paths:
        raise UserError(f'`vlm {command}` takes no gin flags: a run keeps its own configuration.')


if __name__ == '__main__':
    console_script()
