"""Several runs side by side: scores, curves over each other, the same examples, what was set."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vlm.runner.report import charts, files, markup, page, samples
from vlm.runner.report.files import Run, Sample, as_number, as_text

EXAMPLES_OF_A_TASK = 6
FACTS: dict[str, Callable[[Run], str]] = {
    'Parameters': lambda run: _number(run.summary.get('parameters')),
    'Steps': lambda run: _number(page.last_step(run)),
    'Whole run': lambda run: _told(run.summary.get('seconds'), markup.duration),
    'Device': lambda run: markup.inline(as_text(run.summary.get('device'))),
    'Started': lambda run: markup.inline(as_text(run.summary.get('started'))),
}


def write_comparison(run_dirs: Sequence[Path], output: Path) -> Path:
    """Writes one HTML file about several runs; what one of them lacks is left empty.

    Returns:
      `output`.

    Raises:
      UserError: a directory has neither metrics.jsonl nor scores.json.
    """
    runs = [files.read_run(Path(path)) for path in run_dirs]
    for run, name in zip(runs, _names(runs), strict=True):
        run.name = name
    output = Path(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f'{output.name}.{os.getpid()}.partial')
    partial.write_text(render(runs), encoding='utf-8', newline='\n')
    partial.replace(output)
    return output


def render(runs: Sequence[Run]) -> str:
    """The page as HTML; runs are told apart by their names."""
    parts = {
        'Scores': _scores(runs),
        'Training': _training(runs),
        'Predictions': _predictions(runs),
        'Configuration': _configuration(runs),
    }
    shown = {name: part for name, part in parts.items() if part}
    title = f'{len(runs)} runs compared'
    header = page.heading(list(shown), title) + charts.legend([run.name for run in runs])
    facts = _table(runs, [(name, [fact(run) for run in runs]) for name, fact in FACTS.items()])
    return page.document(title, f'<header>{header}{facts}</header>{"".join(shown.values())}')


def _names(runs: Sequence[Run]) -> list[str]:
    """Directory names, with as much of their paths in front as it takes to tell them apart."""
    parts = [run.path.resolve().parts for run in runs]
    depth = 1
    while depth < max(map(len, parts)) and len({each[-depth:] for each in parts}) < len(
        {tuple(each) for each in parts}
    ):
        depth += 1
    return ['/'.join(each[-depth:]) for each in parts]


def _table(runs: Sequence[Run], rows: Sequence[tuple[str, Sequence[str]]], lead: str = '') -> str:
    """A table with a column a run; cells are HTML, rows without any are left out."""
    head = ''.join(f'<th scope="col">{markup.inline(run.name)}</th>' for run in runs)
    body = ''.join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        for name, cells in rows
        if any(cells)
    )
    return (
        f'<div class="compared"><table><thead><tr><th scope="col">{lead}</th>{head}</tr></thead>'
        f'<tbody>{body}</tbody></table></div>'
    )


def _number(value: object) -> str:
    return _told(value, '{:,.0f}'.format)


def _told(value: object, tell: Callable[[Any], str]) -> str:
    number = as_number(value)
    return tell(number) if number else ''


def _scores(runs: Sequence[Run]) -> str:
    found = [
        {(as_text(r['task']), as_text(r['metric'])): r for r in files.score_rows(run)}
        for run in runs
    ]
    keys = list(dict.fromkeys(key for rows in found for key in rows))
    if not keys:
        return ''
    table = _table(
        runs, [(_score_name(key, found), _score_cells(key, found)) for key in keys], 'Metric'
    )
    return f'<section id="scores"><h2>Scores</h2>{table}</section>'


def _score_name(key: tuple[str, str], found: Sequence[dict]) -> str:
    """Task and metric, with a warning where the runs were asked or scored differently."""
    task, metric = key
    rows = [rows[key] for rows in found if key in rows]
    differ = [
        what
        for what in ('version', 'prompt', 'n')
        if len({as_text(row.get(what)) for row in rows}) > 1
    ]
    told = {'version': 'versions of the metric', 'prompt': 'prompts', 'n': 'numbers of examples'}
    warning = ', '.join(told[what] for what in differ)
    small = '<small class="lower">lower is better</small>' if page.lower_is_better(metric) else ''
    warned = f'<small class="differ">different {warning}</small>' if warning else ''
    return f'{markup.inline(task)} <b>{markup.inline(metric)}</b> {small} {warned}'


def _score_cells(key: tuple[str, str], found: Sequence[dict]) -> list[str]:
    values = [as_number(rows[key].get('value')) if key in rows else None for rows in found]
    known = [value for value in values if value is not None]
    best = min(known, default=None) if page.lower_is_better(key[1]) else max(known, default=None)
    return [
        ''
        if value is None
        else f'<b class="best">{markup.score(value)}</b>'
        if value == best and len(set(known)) > 1
        else markup.score(value)
        for value in values
    ]


def _training(runs: Sequence[Run]) -> str:
    """Every curve that at least one run has, those of the single report first."""
    keys = dict.fromkeys((k, key) for run in runs for k, keys in run.curves.items() for key in keys)
    first = [('train', key) for key in page.FIRST_CURVES if ('train', key) in keys]
    scores = [key for key in keys if key[0] == 'eval']
    rest = [key for key in keys if key not in first and key[0] != 'eval']

    def figures(wanted: Sequence[tuple[str, str]]) -> list[str]:
        series = ([run.curves.get(kind, {}).get(key, []) for run in runs] for kind, key in wanted)
        return [
            charts.overlay(page.curve_title(key), each, 'learning_rate' not in key)
            for (_, key), each in zip(wanted, series, strict=True)
        ]

    parts = [page.charts_of(figures(first))] if first else []
    parts += [page.folded(figures(scores), 'scores as training went on')] if scores else []
    parts += [page.folded(figures(rest), 'more curves')] if rest else []
    if not parts:
        return ''
    return f'<section id="training"><h2>Training</h2>{"".join(parts)}</section>'


def _predictions(runs: Sequence[Run]) -> str:
    """Answers of all runs to the same examples, those on which they disagree first."""
    tasks = dict.fromkeys(task.task for run in runs for task in run.samples)
    shown = ''.join(_task(task, runs) for task in tasks)
    return f'<section id="predictions"><h2>Predictions</h2>{shown}</section>' if shown else ''


def _task(task: str, runs: Sequence[Run]) -> str:
    found = [
        {sample.id: sample for each in run.samples if each.task == task for sample in each.samples}
        for run in runs
    ]
    common = [name for name in found[0] if name and all(name in answers for answers in found)]
    common.sort(key=lambda name: len({answers[name].prediction for answers in found}) == 1)
    rows = ''.join(
        _example([answers[name] for answers in found], runs) for name in common[:EXAMPLES_OF_A_TASK]
    )
    if not rows:
        return ''
    return f'<div class="task"><h3>{markup.inline(task)}</h3>{rows}</div>'


def _example(answers: Sequence[Sample], runs: Sequence[Run]) -> str:
    cards = ''.join(
        f'<div><h4>{charts.swatch(i)}{markup.inline(run.name)}</h4>'
        f'{samples.card(run.path, sample)}</div>'
        for i, (run, sample) in enumerate(zip(runs, answers, strict=True))
    )
    return f'<div class="cards beside">{cards}</div>'


def _configuration(runs: Sequence[Run]) -> str:
    """The settings in which the runs differ."""
    found = [settings(run.config or '') for run in runs]
    names = sorted({name for each in found for name in each})
    rows = [
        (f'<code>{markup.inline(name)}</code>', [_setting(each.get(name)) for each in found])
        for name in names
        if len({each.get(name) for each in found}) > 1
    ]
    if not any(found):
        return ''
    same = f'<p class="lead">{len(names) - len(rows):,} other settings are the same.</p>'
    table = _table(runs, rows, 'Setting') if rows else ''
    return f'<section id="configuration"><h2>Configuration</h2>{same}{table}</section>'


def _setting(value: str | None) -> str:
    return '–' if value is None else f'<code>{markup.inline(value)}</code>'


def settings(config: str) -> dict[str, str]:
    """The bindings of a gin text as `vlm train` writes it: name to value, both as text."""
    joined = config.replace('\\\n', ' ')
    found: dict[str, str] = {}
    name = ''
    for line in joined.splitlines():
        if not line.strip() or line.startswith(('#', 'import ', 'from ')):
            continue
        if line[:1].isspace() or ' = ' not in line:  # a value of several lines goes on
            found[name] = f'{found.get(name, "")} {line.strip()}'.strip()
        else:
            name, _, value = line.partition(' = ')
            found[name] = ' '.join(value.split())
    found.pop('', None)
    return found
