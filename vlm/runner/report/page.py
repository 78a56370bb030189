"""Puts the page together: what was trained, scores, curves, predictions, configuration."""

import os
import re
import time
from itertools import groupby
from pathlib import Path
from typing import Any

from vlm.runner.report import charts, files, markup, samples
from vlm.runner.report.files import Number, Run, as_number, as_text
from vlm.runner.report.style import STYLE

# Nothing in the page runs or loads, whatever a caption may hold; escaping is the first guard.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
FIRST_CURVES = ('loss', 'accuracy', 'learning_rate', 'examples_per_second')
# Curves of scores that are shown unfolded, and the most that a fold holds.
SCORE_CURVES = 6
MOST_CURVES = 48
NAMED_IDS = 20
TASK_LOSS = 'task_loss/'
LOWER_IS_BETTER = {'error', 'cer', 'wer', 'loss', 'perplexity', 'unreadable'}


def write_report(run_dir: Path, output: Path | None = None) -> Path:
    """Writes the report of a run as one HTML file, by default `run_dir`/report.html.

    Reads metrics.jsonl, scores.json, inference/, summary.json and config.gin; what is missing is
    not shown, and lines that cannot be read are skipped and counted on the page.

    Returns:
      Where the page was written.

    Raises:
      UserError: `run_dir` has neither metrics.jsonl nor scores.json.
    """
    run = files.read_run(Path(run_dir))
    output = Path(output) if output is not None else run.path / 'report.html'
    output.parent.mkdir(parents=True, exist_ok=True)
    # Through a second file, so that a page being read in a browser is never half a page.
    partial = output.with_name(f'{output.name}.{os.getpid()}.partial')
    partial.write_text(render(run), encoding='utf-8', newline='\n')
    partial.replace(output)
    return output


def render(run: Run) -> str:
    """The page as HTML."""
    parts = {
        'Scores': _scores(run),
        'Training': _curves(run),
        'Predictions': samples.section(run, _main_scores(run)),
        'Configuration': _config(run),
    }
    shown = {name: part for name, part in parts.items() if part}
    main = _header(run, list(shown)) + ''.join(shown.values()) + _notes(run)
    return document(f'{run.name} – run report', main)


def document(title: str, main: str) -> str:
    """A whole page around its main part."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">'
        f'<title>{markup.escape(title)}</title><style>{STYLE}</style></head>\n'
        f'<body><main>{main}</main></body></html>\n'
    )


def _header(run: Run, contents: list[str]) -> str:
    # A line may break between arguments; within one only where it alone is longer than a line.
    words = as_text(run.summary.get('command')).split(' ')
    command = ' '.join(f'<span>{markup.escape(word)}</span>' for word in words if word)
    return (
        f'<header>{heading(contents, run.name)}'
        f'<p class="story">{_story(run)}</p>{_facts(run)}'
        + (f'<pre class="command"><code>{command}</code></pre>' if command else '')
        + f'{_versions(run)}</header>'
    )


def heading(contents: list[str], title: str) -> str:
    """Links to the sections, and the title."""
    links = ''.join(f'<a href="#{name.lower()}">{name}</a>' for name in contents)
    return (
        f'<div class="top"><b>Run report</b><nav>{links}</nav></div><h1>{markup.inline(title)}</h1>'
    )


def _story(run: Run) -> str:
    """One sentence of what was trained, from the parts that are known."""
    summary = run.summary
    story = 'A vision-language model'
    parameters, seconds = as_number(summary.get('parameters')), as_number(summary.get('seconds'))
    if parameters:
        story += f' of {markup.many(parameters)} parameters'
    steps = last_step(run)
    if steps:
        story += f', trained for {steps:,.0f} steps'
    if seconds:
        unbroken = markup.duration(seconds).replace(' ', '\xa0')
        story += f' in {unbroken}'
    if summary.get('device'):
        story += f' on {markup.inline(as_text(summary["device"]))}'
    tasks = len({as_text(row['task']) for row in files.score_rows(run)})
    if tasks:
        story += f', scored on {tasks} {"task" if tasks == 1 else "tasks"}'
    return story + '.'


def last_step(run: Run) -> Number:
    """The last step that was logged."""
    trained = run.curves.get('train', {}).values()
    return max((points[-1][0] for points in trained), default=0)


def _facts(run: Run) -> str:
    """The numbers of the run in a row."""
    summary = run.summary
    share, seconds = (
        as_number(summary.get('share_of_train_step')),
        as_number(summary.get('seconds')),
    )
    parameters = as_number(summary.get('parameters'))
    speed = run.curves.get('train', {}).get('examples_per_second')
    facts = (
        ('Parameters', f'{parameters:,.0f}' if parameters else ''),
        ('Steps', f'{last_step(run):,.0f}' if last_step(run) else ''),
        ('Whole run', markup.duration(seconds) if seconds else ''),
        ('In the train step', f'{share:.0%}' if share is not None else ''),
        ('Examples a second', markup.compact(_median(speed)) if speed else ''),
        ('Started', _when(summary.get('started'))),
    )
    cells = ''.join(f'<div><dt>{n}</dt><dd>{v}</dd></div>' for n, v in facts if v)
    return f'<dl class="facts">{cells}</dl>' if cells else ''


def _median(points: files.Points) -> float:
    values = sorted(value for _, value in points)
    return values[len(values) // 2]


def _when(started: object) -> str:
    """'2024-05-17T09:30:12Z' as 17 May 2024, the whole in its title; anything else as it is."""
    text = as_text(started)
    try:
        parsed = time.strptime(text[:16], '%Y-%m-%dT%H:%M')
    except ValueError:
        return markup.inline(text) if text else ''
    day = f'{parsed.tm_mday} {time.strftime("%b %Y", parsed)}'
    return f'<span title="{markup.escape(text)}">{day}</span>'


def _versions(run: Run) -> str:
    versions = run.summary.get('versions')
    if not isinstance(versions, dict) or not versions:
        return ''
    shown = (
        f'{markup.inline(as_text(k))} {markup.inline(as_text(v))}' for k, v in versions.items()
    )
    return f'<p class="versions">{" · ".join(shown)}</p>'


def _scores(run: Run) -> str:
    rows = files.score_rows(run)
    if not rows:
        why = 'there is no scores.json' if run.scores is None else 'scores.json holds no scores'
        body = f'<p class="lead">This run has not been evaluated: {why}.</p>'
        return f'<section id="scores"><h2>Scores</h2>{body}{_undecodable(run)}</section>'
    groups = groupby(
        rows, key=lambda r: (as_text(r['task']), as_text(r.get('prompt')), _step(r, run))
    )
    same_step = len({_step(row, run) for row in rows}) == 1
    bodies = ''.join(_score_group(*key, list(group), same_step) for key, group in groups)
    lead = f'<p class="lead">{_evaluation(run, rows, same_step)}</p>'
    return (
        f'<section id="scores"><h2>Scores</h2>{lead}'
        '<table><thead><tr><th scope="col">Metric</th><th scope="col">Score</th>'
        f'<th scope="col">Examples</th></tr></thead>{bodies}</table>{_undecodable(run)}</section>'
    )


def _step(row: dict[str, Any], run: Run) -> Number | None:
    """The step that a score is of: the row's own, else the file's."""
    own = as_number(row.get('step'))
    return own if own is not None else as_number((run.scores or {}).get('step'))


def _evaluation(run: Run, rows: list[dict[str, Any]], same_step: bool) -> str:
    scores = run.scores or {}
    step, count = _step(rows[0], run), as_number(scores.get('examples'))
    seconds = as_number(scores.get('seconds'))
    told = f'{count:,.0f} held-out examples' if count else 'Held-out examples'
    if step is not None and same_step:
        told += f' at step {step:,.0f}'
    return told + (f', scored in {markup.duration(seconds)}.' if seconds else '.')


def _score_group(
    task: str, prompt: str, step: Number | None, rows: list[dict[str, Any]], same_step: bool
) -> str:
    """The scores of one task under one prompt, its name and prompt above them."""
    asked = f'<span class="asked">{markup.inline(prompt)}</span>' if prompt else ''
    at = f'<span class="at">step {step:,.0f}</span>' if step is not None and not same_step else ''
    return (
        f'<tbody><tr class="of"><th colspan="3" scope="rowgroup">{markup.inline(task)}{asked}{at}'
        f'</th></tr>{"".join(map(_score_row, rows))}</tbody>'
    )


def _score_row(row: dict[str, Any]) -> str:
    metric, definition = as_text(row['metric']), as_text(row.get('definition'))
    version, count = as_text(row.get('version')), as_number(row.get('n'))
    lower = lower_is_better(metric)
    small = f' <small class="version">v{markup.escape(version)}</small>' if version else ''
    small += ' <small class="lower">lower is better</small>' if lower else ''
    small += f'<small class="definition">{markup.inline(definition)}</small>' if definition else ''
    tip = markup.escape(definition)
    return (
        f'<tr><th scope="row" title="{tip}">{markup.inline(metric)}{small}</th>'
        f'<td class="value">{_value(row.get("value"), bar=not lower)}</td>'
        f'<td class="count">{f"{count:,.0f}" if count is not None else "–"}</td></tr>'
    )


def lower_is_better(metric: str) -> bool:
    """Whether a metric of this name counts mistakes."""
    return not LOWER_IS_BETTER.isdisjoint(re.split('[^a-z]+', metric.lower()))


def _value(value: object, bar: bool) -> str:
    number = as_number(value)
    if number is None:
        return '<b title="not a finite number">n/a</b>'
    text = f'<b>{markup.score(number)}</b>'
    if bar and isinstance(number, float) and 0 <= number <= 1:
        text += f'<i class="bar" aria-hidden="true"><i style="width:{number:.1%}"></i></i>'
    return text


def _main_scores(run: Run) -> dict[str, str]:
    """The first score of each task, for the heading of its samples."""
    found: dict[str, str] = {}
    for row in files.score_rows(run):
        number = as_number(row.get('value'))
        if number is not None:
            told = f'{markup.inline(as_text(row["metric"]))} {markup.score(number)}'
            found.setdefault(as_text(row['task']), f'<span class="score">{told}</span>')
    return found


def _undecodable(run: Run) -> str:
    """Names the images that could not be decoded, in evaluation and (their number) in training."""
    named = (run.scores or {}).get('undecodable')
    parts = []
    for task, ids in named.items() if isinstance(named, dict) else ():
        if isinstance(ids, list) and ids:
            shown = ', '.join(f'<code>{markup.inline(as_text(i))}</code>' for i in ids[:NAMED_IDS])
            left = f' and {len(ids) - NAMED_IDS:,} others' if len(ids) > NAMED_IDS else ''
            what = 'image' if len(ids) == 1 else 'images'
            parts.append(
                f'<p class="warning"><b>{len(ids):,} undecodable {what}</b> in '
                f'{markup.inline(as_text(task))}, counted as wrong: {shown}{left}.</p>'
            )
    skipped = max((v for _, v in _training_undecodable(run)), default=0)
    if skipped:
        parts.append(
            f'<p class="warning"><b>{skipped:,.0f} undecodable images</b> skipped in training.</p>'
        )
    return ''.join(parts)


def _training_undecodable(run: Run) -> files.Points:
    kinds = run.curves.values()
    return next(
        (points for keys in kinds for key, points in keys.items() if 'undecodable' in key), []
    )


def _curves(run: Run) -> str:
    """The main curves, the scores over time where there are several, the rest folded away."""
    train = run.curves.get('train', {})
    first = [_chart(key, train[key]) for key in FIRST_CURVES if key in train]
    scores = [_chart(k, p) for k, p in run.curves.get('eval', {}).items() if len(p) > 1]
    rest = [
        _chart(key, points)
        for kind, keys in run.curves.items()
        for key, points in keys.items()
        if kind != 'eval' and not (kind == 'train' and key in FIRST_CURVES)
        if not key.startswith(TASK_LOSS)
    ]
    if not first and not scores and not rest:
        return ''
    parts = [charts_of(first)] if first else []
    by_task = {k.removeprefix(TASK_LOSS): p for k, p in train.items() if k.startswith(TASK_LOSS)}
    if by_task:
        figure = charts.overlay('Loss of a token', list(by_task.values()), smoothed=True)
        parts.append(f'<h3>Loss by task</h3>{charts.legend(list(by_task))}{charts_of([figure])}')
    if len(scores) > SCORE_CURVES:
        parts.append(folded(scores, 'scores as training went on'))
    elif scores:
        parts.append(f'<h3>Scores as training went on</h3>{charts_of(scores)}')
    if rest:
        parts.append(folded(rest, 'more curve' if len(rest) == 1 else 'more curves'))
    return f'<section id="training"><h2>Training</h2>{"".join(parts)}</section>'


def folded(figures: list[str], name: str) -> str:
    """Figures that are shown when asked for."""
    left = len(figures) - MOST_CURVES
    more = f', {left:,} of them not shown' if left > 0 else ''
    return (
        f'<details class="more"><summary>{len(figures):,} {name}{more}</summary>'
        f'{charts_of(figures[:MOST_CURVES])}</details>'
    )


def charts_of(figures: list[str]) -> str:
    """Figures in columns."""
    return f'<div class="charts">{"".join(figures)}</div>'


def _chart(key: str, points: files.Points) -> str:
    """A curve under a readable name; a schedule is exact, and smoothing would only blunt it."""
    return charts.chart(curve_title(key), points, smoothed='learning_rate' not in key)


def curve_title(key: str) -> str:
    """'Learning rate' of learning_rate; a task and its metric stay as they are."""
    if '/' in key:
        return key
    words = key.replace('_', ' ')
    return words[:1].upper() + words[1:]


def _config(run: Run) -> str:
    if not run.config or not run.config.strip():
        return ''
    lines = (markup.escape(line) for line in run.config.strip().split('\n'))
    body = '\n'.join(f'<i>{ln}</i>' if ln.lstrip().startswith('#') else ln for ln in lines)
    return (
        '<section id="configuration"><h2>Configuration</h2><details><summary>config.gin, '
        f'{len(run.config.strip().splitlines()):,} lines</summary>'
        f'<pre class="gin"><code>{body}</code></pre></details></section>'
    )


def _notes(run: Run) -> str:
    if not run.notes:
        return ''
    items = ''.join(f'<li>{markup.inline(note)}</li>' for note in run.notes)
    return f'<section id="notes"><h3>Notes on the files</h3><ul>{items}</ul></section>'
