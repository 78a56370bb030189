"""Stages of a training: consecutive runs, each beginning with the parameters of the one before.

A stage list is a gin file that sets MODEL_DIR and STAGES, the gin files of its runs:

    STAGES = ['stages/demo_32.gin', 'stages/demo_64.gin']

The runs are written to MODEL_DIR/1-demo_32 and so on. All other bindings of the command line go to
every stage.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from gin import config_parser

from vlm.errors import UserError
from vlm.runner import config
from vlm.runner.checkpoints import latest_step
from vlm.runner.gin_text import file_statements, find_file
from vlm.runner.run_dir import RunDir

_OWN = ('MODEL_DIR', 'STAGES')


@dataclasses.dataclass(frozen=True)
class Stage:
    """One run: its name, its folder, and the flags that it would be started with by itself."""

    name: str
    folder: Path
    flags: config.GinFlags


def stages_of(flags: config.GinFlags) -> list[Stage]:
    """The stages that a stage list names; none for any other configuration.

    Raises `UserError` for a list that sets anything else, or STAGES that are no files.
    """
    if not any(_is_list(name, flags) for name in flags.files):
        return []
    own = [each for each in flags.bindings if each.split(' = ')[0] in _OWN]
    loaded = config.load(dataclasses.replace(flags, bindings=own), needed=_OWN)
    if others := sorted(set(loaded.macros) - set(_OWN)):
        raise UserError(
            f'{loaded.macros[others[0]]}: a stage list sets MODEL_DIR and STAGES only; '
            f'{", ".join(others)} belongs in the files of the stages.'
        )
    files, folder = config.macro('STAGES'), Path(config.macro('MODEL_DIR'))
    if not isinstance(files, list | tuple) or not all(isinstance(name, str) for name in files):
        raise UserError(f'{loaded.macros["STAGES"]}: STAGES = {files!r} is no list of gin files.')
    names = [f'{i}-{Path(file).stem}' for i, file in enumerate(files, start=1)]
    rest = [each for each in flags.bindings if each not in own]
    return [
        Stage(name, folder / name, _flags(flags, file, rest, [folder / n for n in names[: i + 1]]))
        for i, (name, file) in enumerate(zip(names, files, strict=True))
    ]


def is_finished(stage: Stage) -> bool:
    """Whether the stage has come to its end; one that was given more steps since has not."""
    run = RunDir(stage.folder)
    if not run.summary.exists():
        return False
    config.load(stage.flags, needed=['MODEL_DIR'], optional=['MIXTURE_OR_TASK_MODULE'])
    return (latest_step(run) or 0) >= config.macro('TRAIN_STEPS')


def _is_list(name: str, flags: config.GinFlags) -> bool:
    path = find_file(name, config.search_folders(flags.search_paths))
    return any(
        isinstance(statement, config_parser.BindingStatement) and statement.selector == 'STAGES'
        for statement, _ in file_statements(path, str(path))
    )


def _flags(
    flags: config.GinFlags, file: str, bindings: Sequence[str], folders: Sequence[Path]
) -> config.GinFlags:
    """Flags of the stage that writes to the last of `folders`."""
    own = [f'MODEL_DIR = {str(folders[-1])!r}']
    if len(folders) > 1:
        own.append(f'INITIAL_CHECKPOINT_PATH = {str(folders[-2])!r}')
    return dataclasses.replace(flags, files=[file], bindings=[*bindings, *own])
