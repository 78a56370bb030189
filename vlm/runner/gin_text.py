"""gin's files, the modules they import and their statements, with the mistakes in them."""

import contextlib
import dataclasses
import importlib
import pkgutil
import re
import sys
import tokenize
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gin import config_parser

from vlm.errors import UserError, unknown_name

_PYTHON_CONSTANTS = {'true': 'True', 'false': 'False', 'none': 'None', 'null': 'None'}


def find_file(name: str, folders: list[Path], where: str = '--gin_file') -> Path:
    """Returns the first file called `name` in `folders`; UserError with the nearest names."""
    asked = Path(name).expanduser()
    if asked.is_absolute():
        name, folders = asked.name, [asked.parent]
    for folder in folders:
        if (folder / asked).is_file():
            return folder / asked
    if asked.is_dir():
        raise UserError(f'{where}: {name!r} is a folder, not a gin file.')
    # Two folders down at most: the whole tree of somebody's home would take minutes.
    patterns = ('*.gin', '*/*.gin', '*/*/*.gin')
    known = {str(f.relative_to(d)) for d in folders for p in patterns for f in d.glob(p)}
    raise unknown_name('gin file', name, known, f'{where}, in {", ".join(map(str, folders))}')


def import_module(name: str, where: str) -> None:
    """Imports a module; UserError with the nearest names, or with what failed in it and where."""
    try:
        importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f'{name}.'.startswith(f'{missing}.'):
            raise _no_module(missing, where) from error
        reason = f'{type(error).__name__}: {error}'
        if not isinstance(error, SyntaxError):  # whose own text names the place
            frames = traceback.extract_tb(error.__traceback__)
            frame = [f for f in frames if not f.filename.startswith('<')][-1]
            reason = f'{reason} ({frame.filename}:{frame.lineno})'
        raise UserError(f'{where}: importing {name} failed: {reason}') from error


def _no_module(name: str, where: str) -> UserError:
    parent, _, child = name.rpartition('.')
    owner = sys.modules.get(parent)
    if hasattr(owner, child):
        short = f'{parent.rpartition(".")[2]}.{child}'
        return UserError(
            f'{where}: {name} is no module, and gin imports only modules.'
            f' Import {parent} and write {short}.'
        )
    folders = getattr(owner, '__path__', ()) if parent else None
    known = [f'{parent}.{module.name}'.lstrip('.') for module in pkgutil.iter_modules(folders)]
    return unknown_name('module', name, known or [parent], where)


@dataclasses.dataclass(frozen=True)
class Reference:
    """A reference or macro as written, not resolved yet."""

    name: str  # with its scopes; a macro's begins with %
    evaluate: bool


class _Placeholders(config_parser.ParserDelegate):
    """Notes references without resolving them: `Reader` does that, and explains what fails."""

    def configurable_reference(self, scoped_configurable_name: str, evaluate: bool) -> Reference:
        return Reference(scoped_configurable_name, evaluate)

    def macro(self, macro_name: str) -> Reference:
        return Reference(f'%{macro_name}', True)


class _Unreadable(Exception):
    """Text that is not gin: reason and line, from 1."""


def _statements(text: str) -> Iterator[Any]:
    """Yields gin's statements; raises _Unreadable(reason, line)."""
    line = 1
    try:
        for statement in config_parser.ConfigParser(text, _Placeholders()):
            line = statement.location.line_num
            yield statement
    except (SyntaxError, tokenize.TokenError, TypeError, ValueError, RecursionError) as error:
        reason = str(error.args[0]).strip()
        if isinstance(error, SyntaxError):
            line = error.lineno or line
        elif 'EOF in multi-line' in reason:
            reason = 'a bracket or long string opened here or below is never closed'
        else:
            reason += ', in the statement after'
        unquoted = re.search(r"Failed to parse token '(.*)'", reason)
        if unquoted:
            reason = f'{unquoted[1]} is no value; write {_as_value(unquoted[1])}'
        raise _Unreadable(reason.splitlines()[0].rstrip('.'), line) from error


def _as_value(text: str) -> str:
    return _PYTHON_CONSTANTS.get(text.lower()) or f"'{text}'"


def file_statements(path: Path, shown: str) -> Iterator[tuple[Any, str]]:
    """Yields each statement of a file and its 'file:line'."""
    try:
        text = path.read_text(encoding='utf-8-sig')
        for statement in _statements(text):
            yield statement, f'{shown}:{statement.location.line_num}'
    except _Unreadable as error:
        reason, line = error.args
        source = ''.join(text.splitlines()[line - 1 : line]).strip()
        raise UserError(f'{shown}:{line}: {reason}: {source}') from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{shown}: cannot be read as a gin file: {error}') from error


def flag_statement(binding: str) -> tuple[config_parser.BindingStatement, str]:
    """Returns the statement of a 'NAME = VALUE' binding and the flag as it would be typed."""
    name, _, value = (part.strip() for part in binding.partition('='))
    flag = f'--gin.{name}={value}'.replace('\n', ' ')
    if not re.fullmatch(r'(\w+/)*\w+(\.\w+)*', name):
        raise UserError(f'{flag}: {name!r} is neither MACRO nor scope/configurable.parameter.')
    try:
        (statement,) = _statements(f'{name} = {value}')
    except _Unreadable as error:
        raise _bad_value(name, value, flag, error.args[0]) from error
    except ValueError as error:
        raise UserError(f'{flag}: one flag gives one value; this is more.') from error
    return statement, flag


def _bad_value(name: str, value: str, flag: str, reason: str) -> UserError:
    if value.lower() in _PYTHON_CONSTANTS:
        return UserError(f'{flag}: write --gin.{name}={_as_value(value)}')
    if not re.search(r'[\'"@%\\$`]|^[\[({]', value):
        return UserError(
            f'{flag} is neither a number nor quoted text (the shell takes the outer quotes).'
            f' Write --gin.{name}="{_as_value(value)}"'
        )
    return UserError(
        f'{flag}: {reason}.\nText needs quotes inside those of the shell,'
        f''' e.g. --gin.{name}="['a', 'b']"'''
    )


@contextlib.contextmanager
def gin_says(where: str) -> Iterator[None]:
    """Turns what gin itself objects to into one line."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = str(error.args[0] if isinstance(error, SyntaxError | KeyError) else error)
        raise UserError(f'{where}: {reason.strip().partition(chr(10))[0]}') from error
