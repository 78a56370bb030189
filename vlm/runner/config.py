"""Gin flags in T5X's manner, with every mistake told before anything is compiled.

gin itself takes a misspelt macro or scope on the command line without a word and tells other
mistakes in tracebacks. So its statements are read here one by one, each with its file and line (or
its flag), and then handed to gin. What else differs from gin's own reading: a name on the command
line is resolved through the imports of every file that was read, so no file need mention it first;
references keep full names, so the import alias of another file never breaks them.

Later settings win: files in their order, an `include` where it stands, then the command line.
"""

import collections
import dataclasses
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import gin
from gin import config as gin_config

from vlm.errors import UserError, unknown_name
from vlm.paths import gin_dir
from vlm.runner.gin_reader import Reader
from vlm.runner.gin_text import find_file, gin_says, import_module
from vlm.runner.gin_values import check_values, drop_valueless, flag_for, is_macro

_FLAGS = ('--gin_file', '--gin_search_paths', '--gin_bindings', '--gin.NAME')
_USAGE = {'--gin_file': 'demo.gin', '--gin_bindings': 'NAME=VALUE'}
_MODULE_MACRO = 'MIXTURE_OR_TASK_MODULE'
_REGISTER_MACRO = 'REGISTER'
_registered: list[str] = []  # tasks that REGISTER of the last configuration made


@dataclasses.dataclass(frozen=True)
class GinFlags:
    """The gin flags of a command line: files, folders to look in, and 'NAME = VALUE' bindings."""

    files: list[str] = dataclasses.field(default_factory=list)
    search_paths: list[str] = dataclasses.field(default_factory=list)
    bindings: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class LoadedConfig:
    """What `load` read; the values themselves are in gin's global configuration.

    files: every file read, those included too, in the order of reading.
    macros: macro -> where it was last set ('demo.gin:12' or the flag).
    unused: those of `macros` that nothing refers to: often a misspelling in a file.
    """

    files: tuple[Path, ...]
    macros: dict[str, str]
    unused: dict[str, str]


def split_gin_flags(argv: list[str]) -> tuple[GinFlags, list[str]]:
    """Takes the gin flags out of `argv`; returns them and the other arguments, in order.

    Flags: --gin_file=X, --gin_search_paths=A,B, --gin.NAME=VALUE, --gin_bindings='NAME=VALUE', all
    repeatable, each also as two arguments. Arguments after '--' are not looked at. UserError for
    another flag that begins with --gin, and for one without a value.
    """
    flags, rest, queue = GinFlags(), [], collections.deque(argv)
    while queue:
        arg = queue.popleft()
        if arg == '--':
            return flags, [*rest, arg, *queue]
        if arg.startswith('--gin'):
            name, equals, value = arg.partition('=')
            _keep_flag(flags, name, value if equals else _next_value(name, queue))
        else:
            rest.append(arg)
    return flags, rest


def _next_value(name: str, queue: collections.deque[str]) -> str:
    if not queue or queue[0].startswith(('--', '=')):
        raise UserError(f'{name} has no value: write {name}=VALUE, without spaces around the "=".')
    return queue.popleft()


def _keep_flag(flags: GinFlags, name: str, value: str) -> None:
    if name == '--gin_file' and value:
        flags.files.append(value)
    elif name == '--gin_search_paths':
        flags.search_paths.extend(path for path in value.split(',') if path)
    elif name == '--gin_bindings' and '=' in value:
        flags.bindings.append(' = '.join(part.strip() for part in value.split('=', 1)))
    elif name.startswith('--gin.'):
        flags.bindings.append(f'{name.removeprefix("--gin.")} = {value}')
    elif name in _FLAGS:
        raise UserError(f"{name}={value}: write {name}='{_USAGE[name]}'.")
    else:
        raise unknown_name('flag', name, _FLAGS)


def load(
    flags: GinFlags,
    default_files: Iterable[str | Path] = (),
    needed: Iterable[str] = (),
    optional: Iterable[str] = (),
) -> LoadedConfig:
    """Replaces gin's configuration by the given files and bindings, checks it and locks it.

    Files are looked for in the current folder, the search paths and the package's gin folder.
    `default_files` are read before those of `flags`. `needed` and `optional` are macros that the
    caller reads through `macro`: the former must have a value, both may be set on the command line
    though no file mentions them. The current folder becomes importable. UserError for every mistake
    that shows without calling a configurable; gin's configuration is then left empty.
    """
    needed = list(needed)
    read_by_caller = {*needed, *optional, _MODULE_MACRO, _REGISTER_MACRO}
    folders = search_folders(flags.search_paths)
    paths = [find_file(str(name), folders) for name in (*default_files, *flags.files)]
    make_cwd_importable()
    gin.clear_config()
    reader = Reader(folders)
    try:
        for path in paths:
            reader.read_file(path)
        reader.read_bindings(flags.bindings, read_by_caller)
        used = check_values(reader.settings, needed) | read_by_caller
        drop_valueless(reader.settings)
        with gin_says('gin'):
            gin.finalize()
    except BaseException:
        gin.clear_config()
        raise
    macros = {key[0]: s.where for key, s in reader.settings.items() if is_macro(key)}
    unused = {name: where for name, where in macros.items() if name not in used}
    return LoadedConfig(tuple(reader.files), macros, unused)


def macro(name: str, default: Any = ...) -> Any:
    """Returns the value of a macro (references evaluated), or `default` where it has none.

    UserError where it has none and no default is given.
    """
    if (name, 'gin.macro') in gin_config._CONFIG:
        return gin.get_configurable(f'{name}/gin.macro')()
    if default is ...:
        raise UserError(f'no value for {name}. Give it on the command line: {flag_for(name)}')
    return default


def config_str() -> str:
    """Returns all bindings as a gin text that loads on its own; dictionaries come out sorted."""
    return gin.config_str()


def operative_config() -> str:
    """Returns as a gin text the bindings and defaults of what has been called so far, no others."""
    return gin.operative_config_str()


def import_modules(loaded: LoadedConfig) -> list[str]:
    """Imports what MIXTURE_OR_TASK_MODULE names (one module or several); returns the names."""
    names = macro(_MODULE_MACRO, None) or []
    where = f'{_MODULE_MACRO}, {loaded.macros.get(_MODULE_MACRO)}'
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UserError(f'{where}: {names!r} is neither a module name nor a list of them.')
    make_cwd_importable()
    with gin.unlock_config():  # a module may register configurables of its own
        for name in names:
            import_module(name, where)
    return list(names)


def register_tasks(loaded: LoadedConfig) -> None:
    """Makes the calls that REGISTER lists, e.g. `[@my_captions/captioning.add_captioning_task()]`.

    So a task over a source of `vlm.data.sources` needs no module. Once for each `load`; what was
    registered for the one before is taken back first.
    """
    import seqio  # slow, and `split_gin_flags` is asked for by every command

    from vlm.data.tasks import forget

    while _registered:
        forget(_registered.pop())
    before = set(seqio.TaskRegistry.names())
    where = f'{_REGISTER_MACRO}, {loaded.macros.get(_REGISTER_MACRO)}'
    try:
        made = macro(_REGISTER_MACRO, None) or []
    except (TypeError, ValueError) as error:  # a required parameter, a name that is taken
        raise UserError(f'{where}: {str(error).strip().partition(chr(10))[0]}') from error
    for call in made if isinstance(made, list | tuple) else [made]:
        if callable(call) or isinstance(call, str):
            raise UserError(f'{where}: {call!r} is no call: write [@scope/module.add_...()].')
    _registered.extend(sorted(set(seqio.TaskRegistry.names()) - before))


def search_folders(given: list[str]) -> list[Path]:
    """Where gin files are looked for, in this order."""
    for path in given:
        if not Path(path).expanduser().is_dir():
            raise UserError(f'--gin_search_paths: there is no folder {path!r}.')
    return [Path.cwd(), *(Path(path).expanduser() for path in given), gin_dir()]


def make_cwd_importable() -> None:
    """Lets modules of the current folder be imported by name."""
    # Last, so that a folder of the user's never hides an installed package of the same name.
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
