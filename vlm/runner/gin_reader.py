"""Hands gin its statements one by one, resolving and explaining every name."""

import contextlib
import inspect
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gin
from gin import config as gin_config
from gin import config_parser

from vlm.errors import UserError, unknown_name
from vlm.runner.gin_text import (
    Reference,
    file_statements,
    find_file,
    flag_statement,
    gin_says,
    import_module,
)
from vlm.runner.gin_values import Key, Setting, is_macro, leaves, macros_in

_Contexts = list[gin_config.ParseContext]


class Reader:
    """Hands statements to gin one by one, keeping what each set and where it stood."""

    def __init__(self, folders: list[Path]):
        self.files: list[Path] = []
        self.settings: dict[Key, Setting] = {}
        self._folders = folders
        self._contexts: list[gin_config.ParseContext] = []

    def read_file(self, path: Path, above: tuple[Path, ...] = ()) -> None:
        shown = str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
        if path in above:
            raise UserError(f'{shown} includes itself, by way of {above[-1]}.')
        self.files.append(path)
        context = gin_config.ParseContext()
        self._contexts.append(context)
        for statement, where in file_statements(path, shown):
            match statement:
                case config_parser.IncludeStatement(filename=name):
                    self.read_file(find_file(name, self._folders, where), (*above, path))
                case config_parser.ImportStatement(module=name):
                    if not name.startswith('__gin__.'):
                        import_module(name, where)
                    with gin_says(where):
                        context.process_import(statement)
                case config_parser.BlockDeclaration(selector=name):
                    self._configurable(name, [context], where)
                case _:
                    self._bind(statement, [context], where)
        gin_config._IMPORTS.update(context.imports)

    def read_bindings(self, bindings: list[str], readable: set[str]) -> None:
        """Reads the command line's bindings; `readable`: macros known beside those of the files."""
        parsed = [flag_statement(binding) for binding in bindings]
        names = [r.name for statement, _ in parsed for r in leaves(statement.value, Reference)]
        macros = self._macros() | readable | {name[1:] for name in names if name[0] == '%'}
        scopes = self._scopes() | {scope for name in names for scope in name.split('/')[:-1]}
        for statement, flag in parsed:
            where = flag if self.files else f'{flag}; no --gin_file is given'
            scope = statement.scope.split('/') if statement.scope else []
            if not statement.arg_name:
                _check_known('macro', ['/'.join([*scope, statement.selector])], macros, where)
            else:
                _check_known('scope', scope, scopes, where)
            # Short names of what is registered serve too, as in T5X: `ViT.depth`, not `vit.ViT`.
            self._bind(statement, [*self._contexts, gin_config.ParseContext()], flag)

    def _macros(self) -> set[str]:
        values = [setting.value for setting in self.settings.values()]
        set_here = {key[0] for key in self.settings if is_macro(key)}
        return set_here | {name for value in values for name in macros_in(value)}

    def _scopes(self) -> set[str]:
        values = [setting.value for setting in self.settings.values()]
        references = [r for v in values for r in leaves(v, gin_config.ConfigurableReference)]
        scopes = [scope.split('/') for scope, _, _ in self.settings if scope]
        return set(itertools.chain(*scopes, *(reference.scopes for reference in references)))

    def _bind(self, statement: Any, contexts: _Contexts, where: str) -> None:
        scope, selector, parameter, value, _ = statement
        value = self._resolved(value, contexts, where)
        name = '/'.join(filter(None, (scope, selector)))
        key = (name, 'gin.macro', 'value')
        if parameter:
            found = self._configurable(selector, contexts, where)
            name, key = f'{name}.{parameter}', (scope, found.selector, parameter)
        with gin_says(where):
            try:
                gin.bind_parameter(key, value)
            except ValueError as error:
                known = _parameters(found.wrapped)
                if parameter in known:  # it is there, and not to be bound
                    raise
                raise unknown_name(f'parameter of {selector}:', parameter, known, where) from error
        self.settings[key] = Setting(name, value, where)

    def _resolved(self, value: Any, contexts: _Contexts, where: str) -> Any:
        """Returns `value` with gin's references in the place of the placeholders."""
        if isinstance(value, dict):
            return dict(self._resolved(list(value.items()), contexts, where))
        if isinstance(value, list | tuple):
            return type(value)(self._resolved(item, contexts, where) for item in value)
        if not isinstance(value, Reference):
            return value
        if value.name.startswith('%'):
            with gin_says(where):
                return gin_config.ParserDelegate().macro(value.name[1:])
        *scopes, selector = value.name.split('/')
        full = self._configurable(selector, contexts, where).selector
        return gin_config.ConfigurableReference('/'.join([*scopes, full]), value.evaluate)

    def _configurable(
        self, selector: str, contexts: _Contexts, where: str
    ) -> gin_config.Configurable:
        """Returns what `selector` is in the imports of `contexts` or, failing that, to gin."""
        for group in (filter(_is_dynamic, contexts), itertools.filterfalse(_is_dynamic, contexts)):
            with gin_says(where):
                found = {hit.selector: hit for hit in (_lookup(c, selector) for c in group) if hit}
            if len(found) > 1:
                raise UserError(f'{where}: {selector} may be {" or ".join(found)}: say which.')
            if found:
                return found.popitem()[1]
        raise _unknown_configurable(selector, contexts, where)


def _check_known(kind: str, names: list[str], known: set[str], where: str) -> None:
    for name in names:
        if name not in known:
            raise unknown_name(kind, name, known, where)


def _is_dynamic(context: gin_config.ParseContext) -> bool:
    return any(s.module == '__gin__.dynamic_registration' for s in context.imports)


def _lookup(context: gin_config.ParseContext, selector: str) -> gin_config.Configurable | None:
    """Returns, registering it, what `selector` is in a file with these imports, or None."""
    if _is_dynamic(context) and '.' not in selector:
        return None  # a module by itself, at best
    with contextlib.suppress(NameError, AttributeError, TypeError):
        return context.get_configurable(selector)
    return None


def _unknown_configurable(selector: str, contexts: _Contexts, where: str) -> UserError:
    symbols = {k: v for context in contexts for k, v in context._symbol_table.items()}
    if not symbols:
        where = f'{where}; the file lacks `from __gin__ import dynamic_registration`'
    elif '.' in selector and selector.partition('.')[0] not in symbols:
        where = f'{where}; no import there gives {selector.partition(".")[0]!r}'
    known = {name for k, v in symbols.items() for name in _callables(k, v, selector)}
    return unknown_name('configurable', selector, known, where)


def _callables(prefix: str, owner: Any, wanted: str) -> Iterator[str]:
    """Yields the public callables of a module or class, going deeper only towards `wanted`."""
    for name, value in getattr(owner, '__dict__', {}).items():
        path = f'{prefix}.{name}'
        if callable(value) and not name.startswith('_'):
            yield path
        if wanted.startswith(f'{path}.'):
            yield from _callables(path, value, wanted)


def _parameters(target: Any) -> list[str]:
    try:
        return list(inspect.signature(target).parameters)
    except (TypeError, ValueError):
        return []
