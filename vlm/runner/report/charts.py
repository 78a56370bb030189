"""Curves as inline SVG: the raw values faint, their moving average over them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from vlm.runner.report import markup
from vlm.runner.report.files import Points

# One user unit is about one CSS pixel on a desktop page of two columns; on a phone, where a chart
# is 340 pixels wide, letters of 13 units are still 10 pixels high.
WIDTH, HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 54, 10, 10, 30
# A curve of more points than this is drawn by the extremes of as many stretches.
STRETCHES = 220
# Stretches of a chart that tell their value under the pointer.
READOUTS = 44
FEWEST_SMOOTHED = 25
SERIES = 8  # colours of the style sheet


@dataclass(frozen=True)
class Axis:
    """Maps values in [low, high] to [0, 1], linearly or by logarithm; `ticks` lie within."""

    low: float
    high: float
    ticks: list[float]
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies, values outside at the nearer end."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)


def chart(title: str, points: Points, smoothed: bool) -> str:
    """A figure of one curve; `smoothed` draws a moving average over many enough points."""
    smoothed = smoothed and len(points) >= FEWEST_SMOOTHED
    line = moving_average(points) if smoothed else points
    x_axis = step_axis(points)
    y_axis = value_axis(points, line)
    last_step, last = line[-1]
    label = (
        f'{title}: {markup.compact(line[0][1])} at step {line[0][0]:,.0f}, '
        f'{markup.compact(last)} at step {last_step:,.0f}'
    )
    body = _grid(x_axis, y_axis)
    if smoothed:
        body += _path(extremes(points), x_axis, y_axis, 'raw')
    body += _path(extremes(line), x_axis, y_axis, 'line') + _dots(line, x_axis, y_axis)
    body += _readouts(line, x_axis, y_axis)
    scale = ' <small>log scale</small>' if y_axis.log else ''
    return (
        f'<figure class="chart"><figcaption><span>{markup.escape(title)}{scale}</span>'
        f'<b>{markup.compact(last)}</b></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{markup.escape(label)}">'
        f'{body}</svg></figure>'
    )


def overlay(title: str, series: Sequence[Points], smoothed: bool) -> str:
    """A figure of several curves over each other in the colours of `legend`; some may be empty.

    Curves of many points are drawn by their moving averages alone.
    """
    lines = [
        moving_average(points) if smoothed and len(points) >= FEWEST_SMOOTHED else points
        for points in series
    ]
    together = sorted(point for points in series for point in points)
    x_axis = step_axis(together)
    y_axis = value_axis(together, sorted(point for line in lines for point in line))
    drawn = ''.join(
        f'<g class="series{i % SERIES}">{_path(extremes(line), x_axis, y_axis, "line")}'
        f'{_dots(line, x_axis, y_axis)}{_readouts(line, x_axis, y_axis)}</g>'
        for i, line in enumerate(lines)
        if line
    )
    ends = ', '.join(markup.compact(line[-1][1]) for line in lines if line)
    scale = ' <small>log scale</small>' if y_axis.log else ''
    return (
        f'<figure class="chart"><figcaption><span>{markup.escape(title)}{scale}</span></figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{markup.escape(title)}, at the end {ends}">'
        f'{_grid(x_axis, y_axis)}{drawn}</svg></figure>'
    )


def legend(names: Sequence[str]) -> str:
    """Names of the curves of an `overlay` beside their colours."""
    entries = ''.join(
        f'<span>{swatch(i)}{markup.inline(name)}</span>' for i, name in enumerate(names)
    )
    return f'<p class="legend">{entries}</p>'


def swatch(index: int) -> str:
    """The colour of a curve."""
    return f'<i class="swatch series{index % SERIES}" aria-hidden="true"></i>'


def moving_average(points: Points) -> Points:
    """Mean over a window of about a 25th of the curve, centred so that it does not lag."""
    reach = max(2, len(points) // 50)
    sums = [0.0]
    for _, value in points:
        sums.append(sums[-1] + value)
    smooth = []
    for i, (step, _) in enumerate(points):
        # At the start, where curves are steep, the window shrinks on both sides to stay centred. At
        # the end it keeps its left side, so that the last value is a mean and not one batch.
        first, last = i - min(reach, i), i + min(reach, i, len(points) - 1 - i)
        smooth.append((step, (sums[last + 1] - sums[first]) / (last + 1 - first)))
    return smooth


def extremes(points: Points) -> Points:
    """At most 2 x STRETCHES points that look the same: lowest and highest of each stretch."""
    if len(points) <= 2 * STRETCHES:
        return points
    kept = []
    for i in range(STRETCHES):
        stretch = points[i * len(points) // STRETCHES : (i + 1) * len(points) // STRETCHES]
        kept += sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    return kept


def nice_ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten that cover [low, high], about so many."""
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    unit = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    # The tolerance keeps 0.30000000000000004 / 0.1 from asking for one tick more.
    first, last = math.floor(low / unit + 1e-9), math.ceil(high / unit - 1e-9)
    return [i * unit for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten (or the powers alone over many decades) within the range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    heads = (1, 2, 5) if len(powers) <= 4 else (1,)
    return [h * 10.0**p for p in powers for h in heads if low <= h * 10.0**p <= high]


def step_axis(points: Points) -> Axis:
    """From the first to the last step; from 0 where the curve starts near it."""
    first, last = points[0][0], points[-1][0]
    low = 0.0 if first <= 0.5 * last else first
    if first == last:
        low, last = (0.0, last) if last > 0 else (last, last + 1)
    return Axis(low, last, [t for t in nice_ticks(low, last) if low <= t <= last])


def value_axis(points: Points, line: Points) -> Axis:
    """Covers the line and all but the wildest hundredth of the raw points at either end."""
    raw = sorted(value for _, value in points)
    cut = len(raw) // 100
    low = min(raw[cut], min(v for _, v in line))
    high = max(raw[-1 - cut], max(v for _, v in line))
    if low > 0 and high / low >= 12 and len(points) > 2 and _falls(line):
        return Axis(low, high, log_ticks(low, high), log=True)
    if 0 < low <= 0.4 * high:
        low = 0.0
    if high - low <= 1e-9 * max(abs(high), abs(low), 1e-30):
        low, high = (low - abs(low) * 0.5, high + abs(high) * 0.5) if high else (0.0, 1.0)
    ticks = nice_ticks(low, high, about=4)
    return Axis(ticks[0], ticks[-1], ticks)


def _falls(line: Points) -> bool:
    """A curve that falls by an order of magnitude says more on a logarithmic scale."""
    return line[-1][1] * 10 <= line[0][1]


def _spot(step: float, value: float, x_axis: Axis, y_axis: Axis) -> tuple[float, float]:
    x = LEFT + x_axis.place(step) * (WIDTH - LEFT - RIGHT)
    y = HEIGHT - BOTTOM - y_axis.place(value) * (HEIGHT - TOP - BOTTOM)
    return x, y


def _path(points: Points, x_axis: Axis, y_axis: Axis, name: str) -> str:
    spots = (_spot(s, v, x_axis, y_axis) for s, v in points)
    return f'<polyline class="{name}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in spots)}"/>'


def _dots(line: Points, x_axis: Axis, y_axis: Axis) -> str:
    """Marks each point of a short curve, the last point of a long one."""
    marked = line if len(line) <= 20 else line[-1:]
    spots = (_spot(s, v, x_axis, y_axis) for s, v in marked)
    return ''.join(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in spots)


def _grid(x_axis: Axis, y_axis: Axis) -> str:
    """Horizontal lines at the values, short ticks at the steps, and what they stand for."""
    parts = []
    for tick in y_axis.ticks:
        y = _spot(x_axis.low, tick, x_axis, y_axis)[1]
        parts.append(f'<path class="grid" d="M{LEFT},{y:.1f}H{WIDTH - RIGHT}"/>')
        text = markup.compact(tick)
        parts.append(f'<text x="{LEFT - 7}" y="{y + 4.5:.1f}" text-anchor="end">{text}</text>')
    floor = HEIGHT - BOTTOM
    parts.append(f'<path class="axis" d="M{LEFT},{floor}H{WIDTH - RIGHT}"/>')
    for tick in x_axis.ticks:
        x = _spot(tick, y_axis.low, x_axis, y_axis)[0]
        parts.append(f'<path class="axis" d="M{x:.1f},{floor}v4"/>')
        # A number at the right edge would be cut in half; there it ends at the edge.
        anchor = 'end' if x > WIDTH - 30 else 'middle'
        at = min(x, WIDTH - 2)
        text = markup.compact(tick)
        parts.append(f'<text x="{at:.1f}" y="{floor + 18}" text-anchor="{anchor}">{text}</text>')
    parts.append(f'<text x="0" y="{floor + 18}">step</text>')
    return ''.join(parts)


def _readouts(line: Points, x_axis: Axis, y_axis: Axis) -> str:
    """Invisible columns whose title tells step and value: a read-out without a script."""
    stride = max(1, math.ceil(len(line) / READOUTS))
    chosen = line[stride // 2 :: stride]
    spots = [_spot(s, v, x_axis, y_axis) for s, v in chosen]
    middles = [(a[0] + b[0]) / 2 for a, b in pairwise(spots)]
    edges = [float(LEFT), *middles, float(WIDTH - RIGHT)]
    parts = []
    for i, ((step, value), (x, y)) in enumerate(zip(chosen, spots, strict=True)):
        left, width = edges[i], max(0.0, edges[i + 1] - edges[i])
        parts.append(
            f'<g class="read"><title>step {step:,.0f}: {markup.compact(value)}</title>'
            f'<rect x="{left:.1f}" y="{TOP}" width="{width:.1f}" height="{HEIGHT - TOP - BOTTOM}"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"/></g>'
        )
    return ''.join(parts)
