"""User mistakes and how they are told: what was wrong, the value, the nearest right names."""

import difflib
from collections.abc import Iterable

# What an evaluation writes as the prediction for an example whose image could not be decoded: no
# reference equals it, so every metric counts the example as wrong instead of dropping it.
UNANSWERED = '<no answer: image could not be decoded>'


class UserError(Exception):
    """A mistake of the user's; the command line prints it without a traceback and exits with 2."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Returns up to `count` names of `known` that look like `name`, best first."""
    known = sorted(set(known))
    lowered = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=count, cutoff=0.5)
    return [lowered[c] for c in close]


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = '') -> UserError:
    """Builds the error for a name nobody knows: `kind` is e.g. 'task', `where` says who asked."""
    known = list(known)
    close = nearest(name, known)
    asked = f' ({where})' if where else ''
    if close:
        hint = 'Nearest: ' + ', '.join(close) + '.'
    elif known:
        shown = ', '.join(sorted(known)[:8]) + (', ...' if len(known) > 8 else '')
        hint = f'Known: {shown}.'
    else:
        hint = 'None are known.'
    return UserError(f'unknown {kind} {name!r}{asked}. {hint}')
