"""Charts as SVG inside a page; its style sheet colors them, for light and dark.

Lines differ in color, dash and marker, and each ends with its name.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from tenfold.evaluation.calibration import Calibration
from tenfold.reporting.axes import Curve, ticks, value_limits

WIDTH, HEIGHT = 480, 270
"""Of a chart, in the units of its drawing."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 84, 12, 46
"""Margins, for the ticks' labels and the lines' names."""

_LINE_HEIGHT = 14

_MOST_MARKERS = 30
"""With more points, not every one has a marker."""


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: what is written at its end.
        look: its class in the style sheet: `train`, `val`, `test` or `other`.
        points: its values by epoch; those that are not finite are left out.
    """

    name: str
    look: str
    points: Curve


def line_chart(
    title: str, lines: Sequence[Line], *, what: str, x: str = "epoch", percent: bool = False
) -> Markup:
    """A chart of values over epochs.

    Args:
        title: what is seen, for those who do not see it.
        lines: at least one, each with a point.
        what: `loss`, `accuracy` or another name of the values; it decides where the axis ends.
        x: the name of the horizontal axis.
        percent: whether values are shares that are shown in percent.
    """
    shown = [
        Line(line.name, line.look, {k: v for k, v in line.points.items() if math.isfinite(v)})
        for line in lines
    ]
    epochs = [epoch for line in shown for epoch in line.points] or [1]
    low, high = value_limits(what, (line.points for line in shown))
    first, last = float(min(epochs)), float(max(epochs))
    across = (first, last if last > first else first + 1)
    axes = _Axes(across, (low, high if high > low else low + 1))
    parts = [axes.draw(x, f"{what} (%)" if percent else what, percent=percent)]
    parts += [_curve(axes, line) for line in shown if line.points]
    parts.append(_names(axes, [line for line in shown if line.points]))
    return _svg(title, parts)


def reliability_chart(title: str, calibration: Calibration) -> Markup:
    """How often answers are right, by their probability; on the diagonal, as often as they say."""
    axes = _Axes((0.0, 1.0), (0.0, 1.0))
    most = max(each.n for each in calibration.bins)
    parts = [axes.draw("probability of the answer (%)", "right (%)", percent=True)]
    parts.append(
        Markup('<line class="diagonal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            _n(axes.x(0)), _n(axes.y(0)), _n(axes.x(1)), _n(axes.y(1))
        )
    )
    for each in calibration.bins:
        if each.accuracy is None or each.confidence is None:
            continue
        parts.append(
            Markup(
                '<rect class="bar" x="{}" y="{}" width="{}" height="{}" opacity="{}"/>'
                '<circle class="point" cx="{}" cy="{}" r="3.5"/>'
            ).format(
                _n(axes.x(each.low) + 1),
                _n(axes.y(each.accuracy)),
                _n(axes.x(each.high) - axes.x(each.low) - 2),
                _n(axes.y(0) - axes.y(each.accuracy)),
                _n(0.25 + 0.55 * math.sqrt(each.n / most)),
                _n(axes.x(each.confidence)),
                _n(axes.y(each.accuracy)),
            )
        )
    return _svg(title, parts)


class _Axes:
    """From values to places in the drawing.

    Args:
        across: the first and last value of the horizontal axis.
        up: those of the vertical axis.
    """

    def __init__(self, across: tuple[float, float], up: tuple[float, float]) -> None:
        self.across, self.up = across, up

    def x(self, value: float | int) -> float:
        first, last = self.across
        return _LEFT + (value - first) / (last - first) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float | int) -> float:
        first, last = self.up
        return HEIGHT - _BOTTOM - (value - first) / (last - first) * (HEIGHT - _TOP - _BOTTOM)

    def draw(self, across: str, up: str, *, percent: bool) -> Markup:
        """Grid, ticks and names."""
        shares = percent and self.across == (0.0, 1.0)
        levels = ticks(*self.up)
        places = ticks(*self.across, whole=not shares)
        parts = [
            Markup('<line class="grid" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                _n(self.x(self.across[0])),
                _n(self.x(self.across[1])),
                _n(self.y(level)),
                _n(self.y(level)),
            )
            for level in levels
        ]
        parts += [
            _text(self.x(self.across[0]) - 8, self.y(level) + 4, label, "end")
            for level, label in zip(levels, _labels(levels, 100 if percent else 1), strict=True)
        ]
        parts += [
            _text(self.x(place), HEIGHT - _BOTTOM + 17, label, "middle")
            for place, label in zip(places, _labels(places, 100 if shares else 1), strict=True)
        ]
        middle = (self.x(self.across[0]) + self.x(self.across[1])) / 2
        parts.append(_text(middle, HEIGHT - 8, across, "middle"))
        height = (self.y(self.up[0]) + self.y(self.up[1])) / 2
        parts.append(
            Markup(
                '<text text-anchor="middle" transform="translate(14 {}) rotate(-90)">{}</text>'
            ).format(_n(height), up)
        )
        return Markup("").join(parts)


def _curve(axes: _Axes, line: Line) -> Markup:
    points = [(axes.x(x), axes.y(y)) for x, y in sorted(line.points.items())]
    path = " ".join(f"{_n(x)},{_n(y)}" for x, y in points)
    every = math.ceil(len(points) / _MOST_MARKERS)
    places = {*range(0, len(points) - 1, every), len(points) - 1}
    marks = [_marker(line.look, *points[place]) for place in sorted(places)]
    return Markup('<g class="line {}"><polyline points="{}"/>{}</g>').format(
        line.look, path, Markup("").join(marks)
    )


def _marker(look: str, x: float | int, y: float | int) -> Markup:
    """A circle, a square or a diamond, so that lines can be told apart without colors."""
    if look == "val":
        return Markup('<rect x="{}" y="{}" width="6" height="6"/>').format(_n(x - 3), _n(y - 3))
    if look == "test":
        return Markup('<path d="M{} {}l4 4-4 4-4-4z"/>').format(_n(x), _n(y - 4))
    return Markup('<circle cx="{}" cy="{}" r="3"/>').format(_n(x), _n(y))


def _names(axes: _Axes, lines: Sequence[Line]) -> Markup:
    """The lines' names at their ends, moved apart where they would overlap."""
    ends = sorted((axes.y(line.points[max(line.points)]), line.look, line.name) for line in lines)
    places = [max(_TOP + 4.0, end) for end, _, _ in ends]
    for first, second in pairwise(range(len(places))):
        places[second] = max(places[second], places[first] + _LINE_HEIGHT)
    return Markup("").join(
        Markup('<text class="name {}" x="{}" y="{}">{}</text>').format(
            look, WIDTH - _RIGHT + 8, _n(place + 4), name
        )
        for place, (_, look, name) in zip(places, ends, strict=True)
    )


def _text(x: float | int, y: float | int, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(
        _n(x), _n(y), anchor, text
    )


def _labels(values: Sequence[float | int], factor: int) -> list[str]:
    """Numbers with as many digits as tell them apart."""
    texts = [f"{factor * value:.6g}" for value in values]
    decimals = max((len(text.partition(".")[2]) for text in texts if "e" not in text), default=0)
    if any("e" in text for text in texts):
        return texts
    return [f"{factor * value:.{decimals}f}" for value in values]


def _svg(title: str, parts: Iterable[Markup]) -> Markup:
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(WIDTH, HEIGHT, title, Markup("").join(parts))


def _n(value: float | int) -> str:
    """A coordinate, to a hundredth."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def history_lines(history: Mapping[str, Curve], metric: str) -> list[Line]:
    """The lines of a metric, such as `loss` for `train_loss` and `val_loss`."""
    names = {"train": "training", "val": "validation", "test": "test"}
    return [
        Line(name, split, history[f"{split}_{metric}"])
        for split, name in names.items()
        if history.get(f"{split}_{metric}")
    ]
