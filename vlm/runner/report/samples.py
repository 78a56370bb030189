"""Sample answers as cards: picture with boxes, prompt, prediction, references, right or wrong."""

import base64
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vlm.errors import UNANSWERED, UserError
from vlm.runner.drawing import clean_box, open_picture
from vlm.runner.report import markup
from vlm.runner.report.files import Run, Sample, TaskSamples, is_right

# Pictures are stored in the page with at most this many pixels a side, so that a page stays of a
# size that can be mailed; boxes are fractions and do not care.
LONGEST_SIDE = 720
# Up to this size a picture is enlarged with hard pixel edges: it is a drawing, not a photograph.
CRISP_SIDE = 256
SHOWN_AT_ONCE = 8
REFERENCES_SHOWN = 6
BOXES_DRAWN = 100


@dataclass(frozen=True)
class Picture:
    """A picture as a data URI, and its size in pixels."""

    uri: str
    width: int
    height: int


def load_picture(run_dir: Path, name: str) -> Picture | None:
    """Reads a picture that a sample names; None if it is not inside the run or not readable."""
    # A sample file may come from anywhere; it must not pull other files into a page that is shared.
    if Path(name).is_absolute() or '..' in Path(name).parts or '\0' in name:
        return None
    try:
        image = open_picture((run_dir / name).read_bytes())
    except (OSError, UserError):
        return None
    if max(image.size) > LONGEST_SIDE:
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    kind = 'png' if max(image.size) <= CRISP_SIDE else 'jpeg'
    out = io.BytesIO()
    image.save(out, kind, **({'optimize': True} if kind == 'png' else {'quality': 86}))
    data = base64.b64encode(out.getvalue()).decode('ascii')
    return Picture(f'data:image/{kind};base64,{data}', *image.size)


def section(run: Run, metrics: dict[str, str]) -> str:
    """All tasks' samples; `metrics` has a task's main score as HTML. Empty without samples."""
    if not run.samples:
        return ''
    tasks = ''.join(_task(run, task, metrics.get(task.task, '')) for task in run.samples)
    return f'<section id="predictions"><h2>Predictions</h2>{_tools(run)}{tasks}</section>'


def _tools(run: Run) -> str:
    """The choice of what is shown, and the legend of the boxes; each only where it is of use."""
    parts = []
    if any(sample.score is not None for task in run.samples for sample in task.samples):
        choices = ''.join(
            f'<input type="radio" name="show" id="show-{key}"{checked}>'
            f'<label for="show-{key}">{text}</label>'
            for key, text, checked in (
                ('all', 'All', ' checked'),
                ('right', 'Right', ''),
                ('wrong', 'Wrong', ''),
            )
        )
        parts.append(f'<fieldset><legend>Show</legend>{choices}</fieldset>')
    if any(s.boxes or s.reference_boxes for task in run.samples for s in task.samples):
        parts.append(f'<p class="legend">{_swatch("predicted")}{_swatch("reference")}</p>')
    return f'<div class="tools">{"".join(parts)}</div>' if parts else ''


def _swatch(name: str) -> str:
    lines = ''.join(
        f'<rect class="{layer}" x="3" y="3" width="28" height="14"/>' for layer in ('under', name)
    )
    return f'<span><svg width="34" height="20" aria-hidden="true">{lines}</svg>{name} box</span>'


def _task(run: Run, task: TaskSamples, metric: str) -> str:
    cards = [card(run.path, sample) for sample in task.samples]
    more = ''
    if len(cards) > SHOWN_AT_ONCE:
        more = (
            f'<details class="more"><summary>{len(cards) - SHOWN_AT_ONCE} more</summary>'
            f'<div class="cards">{"".join(cards[SHOWN_AT_ONCE:])}</div></details>'
        )
    return (
        f'<div class="task"><h3>{markup.inline(task.task)} {metric}</h3>'
        f'<p class="lead">{_counts(task)}</p>'
        f'<div class="cards">{"".join(cards[:SHOWN_AT_ONCE])}</div>{more}</div>'
    )


def _counts(task: TaskSamples) -> str:
    shown = f'{len(task.samples)} shown' if len(task.samples) < task.total else 'all shown'
    right = f', {task.right:,} right' if task.scored else ''
    examples = 'example' if task.total == 1 else 'examples'
    return f'{task.total:,} {examples} at step {task.step:,}{right}; {shown}.'


def card(run_dir: Path, sample: Sample) -> str:
    """One answer: the picture with its boxes, what was asked, said and expected."""
    picture = load_picture(run_dir, sample.image) if sample.image else None
    state = 'unscored' if sample.score is None else 'right' if is_right(sample) else 'wrong'
    shape = ' wide' if picture and picture.width > 1.7 * picture.height else ''
    shape += ' bare' if sample.image is None else ''
    frame = _frame(picture, sample) if sample.image else ''
    return (
        f'<article class="card {state}{shape}">{frame}<div class="words">'
        f'{_row("Prompt", markup.block(sample.prompt)) if sample.prompt else ""}'
        f'{_row("Prediction", _prediction(sample), _mark(sample))}'
        f'{_row("Reference", _references(sample)) if sample.references else ""}</div></article>'
    )


def _row(name: str, content: str, beside: str = '') -> str:
    return f'<div class="{name.lower()}"><h4>{name}{beside}</h4>{content}</div>'


def _prediction(sample: Sample) -> str:
    if sample.prediction == UNANSWERED:
        return '<p class="none">none: the image could not be decoded</p>'
    return markup.block(sample.prediction) if sample.prediction else '<p class="none">empty</p>'


def _references(sample: Sample) -> str:
    """Different references, each once, with how often it was given."""
    counts = Counter(sample.references).most_common()
    shown = ''.join(
        f'<li>{markup.block(text)}{f"<small>× {n}</small>" if n > 1 else ""}</li>'
        for text, n in counts[:REFERENCES_SHOWN]
    )
    left = len(counts) - REFERENCES_SHOWN
    return f'<ul>{shown}</ul>' + (f'<p class="none">and {left:,} others</p>' if left > 0 else '')


def _mark(sample: Sample) -> str:
    """A sign and a word, so that right and wrong do not differ by colour alone."""
    if sample.score is None:
        return ''
    stroke = 'M3,8.5l3.2,3.5L13,4.5' if is_right(sample) else 'M4,4l8,8M12,4l-8,8'
    word = 'right' if is_right(sample) else 'wrong'
    value = '' if sample.score in (0, 1) else f' {markup.score(sample.score)}'
    return (
        f'<span class="mark"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="{stroke}"/></svg>'
        f'{word}{value}</span>'
    )


def _frame(picture: Picture | None, sample: Sample) -> str:
    if picture is None:
        return '<div class="frame missing"><p>picture not readable</p></div>'
    # Beyond these ratios a picture would be a line; it is shown whole, with room around it.
    ratio = min(max(picture.width / picture.height, 0.6), 8.0)
    crisp = ' class="crisp"' if max(picture.width, picture.height) <= CRISP_SIDE else ''
    alt = markup.escape(f'picture, {picture.width} by {picture.height} pixels')
    return (
        f'<div class="frame" style="aspect-ratio:{ratio:.3f}">'
        f'<img{crisp} src="{picture.uri}" alt="{alt}">{_overlay(picture, sample)}</div>'
    )


def _overlay(picture: Picture, sample: Sample) -> str:
    """Draws the boxes in pixels of the picture; empty where none can be drawn.

    References come last: where both lie on one line, the prediction shows between their dashes.
    """
    width, height = picture.width, picture.height
    predicted, references = sample.boxes[:BOXES_DRAWN], sample.reference_boxes[:BOXES_DRAWN]
    layers = (
        ('under', predicted + references),
        ('predicted', predicted),
        ('reference', references),
    )
    drawn = [
        _rect(box, width, height, name)
        for name, boxes in layers
        for box in map(clean_box, boxes)
        if box is not None
    ]
    if not drawn:
        return ''
    label = f'{len(sample.boxes)} predicted and {len(sample.reference_boxes)} reference boxes'
    view = f'viewBox="0 0 {width} {height}" role="img" aria-label="{label}"'
    return f'<svg {view}>{"".join(drawn)}</svg>'


def _rect(box: tuple[float, float, float, float], width: int, height: int, name: str) -> str:
    y0, x0, y1, x1 = box
    # SVG does not draw a rectangle without an extent; a point is shown as a fifth of a pixel.
    across, down = max((x1 - x0) * width, 0.2), max((y1 - y0) * height, 0.2)
    place = f'x="{x0 * width:.2f}" y="{y0 * height:.2f}" width="{across:.2f}" height="{down:.2f}"'
    return f'<rect class="{name}" {place}/>'
