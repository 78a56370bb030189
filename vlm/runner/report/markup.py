"""Text and numbers as HTML; whatever comes from a run goes through here."""

import html
import math
import re

Number = float | int

# Control characters that HTML forbids, and lone surrogates, which UTF-8 cannot encode.
_FORBIDDEN = re.compile('[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]')
_LOCATION = re.compile(r'&lt;loc\d{4}&gt;')
SHORT_TEXT = 200
LONGEST_TEXT = 5000


def escape(text: str) -> str:
    """Text for an HTML body or a quoted attribute; what HTML cannot hold becomes U+FFFD."""
    return html.escape(_FORBIDDEN.sub('\ufffd', text.replace('\r\n', '\n')), quote=True)


def inline(text: str) -> str:
    """Escaped text that keeps its own writing direction and cannot turn its neighbours'."""
    return f'<bdi>{escape(text)}</bdi>'


def block(text: str) -> str:
    """A model's or a person's text: location tokens set small, a long rest folded away."""
    if len(text) <= SHORT_TEXT:
        return f'<p class="said" dir="auto">{_locations(escape(text))}</p>'
    start, rest = text[:SHORT_TEXT], text[SHORT_TEXT:LONGEST_TEXT]
    # Where the fold would cut a location token, the token goes to the rest.
    cut = re.search(r'<(l(o(c\d{0,4})?)?)?$', start)
    if cut:
        start, rest = start[: cut.start()], start[cut.start() :] + rest
    more = f'all {len(text):,} characters'
    if len(text) > LONGEST_TEXT:
        more = f'the first {LONGEST_TEXT:,} of {len(text):,} characters'
    return (
        f'<p class="said" dir="auto">{_locations(escape(start))}…</p>'
        f'<details class="rest"><summary>Show {more}</summary>'
        f'<p class="said" dir="auto">…{_locations(escape(rest))}</p></details>'
    )


def _locations(escaped: str) -> str:
    return _LOCATION.sub(lambda m: f'<span class="loc">{m[0]}</span>', escaped)


def score(value: Number) -> str:
    """0.912 for measures, 9,673 for counts (whole numbers of two and more count as counts)."""
    if isinstance(value, int) or (value.is_integer() and abs(value) >= 2):
        return f'{int(value):,}'
    return f'{value:,.1f}' if abs(value) >= 1000 else f'{value:.3f}'


def compact(value: Number) -> str:
    """A number as short as a chart wants it: 0.25, 1,500, 12k, 2.5M, 3e-5."""
    size = abs(value)
    if size >= 1e15 or 0 < size < 1e-3:
        return re.sub(r'e([+-])0*', lambda m: 'e' + m[1].strip('+'), f'{value:.3g}')
    for limit, unit, letter in ((1e9, 1e9, 'G'), (1e6, 1e6, 'M'), (1e4, 1e3, 'k')):
        if size >= limit:
            return f'{float(f"{value / unit:.3g}"):g}{letter}'
    if size >= 1000:
        return f'{value:,.0f}'
    return f'{float(f"{value:.3g}"):g}'


def many(count: Number) -> str:
    """A count of things in words: 950, 48,200, 1.42 million, 2.9 billion."""
    for limit, word in ((1e9, 'billion'), (1e6, 'million')):
        if count >= limit:
            return f'{float(f"{count / limit:.3g}"):g} {word}'
    return f'{count:,.0f}'


def duration(seconds: Number) -> str:
    """Seconds as 42 s, 8 min 20 s or 3 h 05 min."""
    whole = max(0, math.floor(seconds + 0.5))
    if whole < 60:
        return f'{whole} s' if seconds >= 10 or seconds == whole else f'{seconds:.1f} s'
    minutes, left = divmod(whole, 60)
    if minutes < 60:
        return f'{minutes} min {left:02d} s'
    return f'{minutes // 60:,} h {minutes % 60:02d} min'
