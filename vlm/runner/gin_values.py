"""What a configuration sets, and which values it asks for and lacks."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from gin import config as gin_config

from vlm.errors import UserError, nearest

# Scope, full name of the configurable, parameter; a macro's is (its name, 'gin.macro', 'value').
Key = tuple[str, str, str]


@dataclasses.dataclass(frozen=True)
class Setting:
    """One binding: its name, its value with gin's references in it, and 'file:line' or the flag."""

    name: str  # as written: 'MODEL_DIR', 'train/utils.DatasetConfig.split'
    value: Any
    where: str


def leaves(value: Any, kind: type) -> Iterator[Any]:
    """Yields what is of a type in nested dictionaries (keys too), lists and tuples."""
    if isinstance(value, dict):
        value = list(value.items())
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item, kind)
    elif isinstance(value, kind):
        yield value


def macros_in(value: Any) -> list[str]:
    """Returns the macros that a value refers to itself, not through others."""
    references = leaves(value, gin_config.ConfigurableReference)
    return ['/'.join(r.scopes) for r in references if r.configurable.wrapped is gin_config.macro]


def _is_required(value: Any) -> bool:
    references = leaves(value, gin_config.ConfigurableReference)
    return any(repr(reference) == '%gin.REQUIRED' for reference in references)


def is_macro(key: Key) -> bool:
    """Returns whether a key is a macro's and not a parameter's."""
    return key[1] == 'gin.macro'


def _follow(
    askers: dict[str, str], settings: dict[Key, Setting]
) -> tuple[set[str], dict[str, str]]:
    """Returns the macros that those of `askers` lead to and, of them, the valueless: who asks."""
    queue, seen, valueless = dict(askers), set(), {}
    while queue:
        name = next(iter(queue))
        asker = queue.pop(name)
        seen.add(name)
        setting = settings.get((name, 'gin.macro', 'value'))
        if setting is None or _is_required(setting.value):
            valueless[name] = setting.where if setting else asker
        else:
            used = macros_in(setting.value)
            queue |= {macro: setting.where for macro in used if macro not in seen}
    return seen, valueless


def check_values(settings: dict[Key, Setting], needed: list[str]) -> set[str]:
    """Returns the macros in use; UserError for one without a value, by name, asker and flag.

    gin raises for each `%gin.REQUIRED`, even of a macro that nothing uses, and lets one in a list
    pass as a value; this counts what bindings and `needed` lead to, at any depth.
    """
    bindings = [setting for key, setting in settings.items() if not is_macro(key)]
    askers = dict.fromkeys(needed, 'this command')
    askers |= {name: setting.where for setting in bindings for name in macros_in(setting.value)}
    used, valueless = _follow(askers, settings)
    valueless |= {s.name: s.where for s in bindings if _is_required(s.value)}
    if not valueless:
        _check_circles(used, settings)
        return used
    given = [key[0] for key in settings if is_macro(key) and key[0] not in valueless]
    asked = ', '.join(
        f'{name} ({where} asks for it{_close(name, given)})' for name, where in valueless.items()
    )
    flags = ' '.join(map(flag_for, valueless))
    raise UserError(f'no value for {asked}.\nGive it in a gin file or on the command line: {flags}')


def _check_circles(macros: set[str], settings: dict[Key, Setting]) -> None:
    for name in sorted(macros):
        setting = settings[(name, 'gin.macro', 'value')]
        if name in _follow(dict.fromkeys(macros_in(setting.value), ''), settings)[0]:
            raise UserError(f'{setting.where}: the macro {name} refers to itself.')


def _close(name: str, given: list[str]) -> str:
    close = nearest(name, given, count=1)
    return f'; nearest with a value: {close[0]}' if close else ''


def flag_for(name: str) -> str:
    """Returns the flag that gives a value, with the quotes where a text is meant."""
    text = name.endswith(('_DIR', '_PATH', '_NAME', '_FILE', '_MODULE'))
    return f"""--gin.{name}="'...'" """.strip() if text else f'--gin.{name}=...'


def drop_valueless(settings: dict[Key, Setting]) -> None:
    """Takes back unused macros without a value, which gin.finalize would refuse."""
    for key in [k for k in settings if is_macro(k) and _follow({k[0]: ''}, settings)[1]]:
        del settings[key]
        del gin_config._CONFIG[key[:2]]
