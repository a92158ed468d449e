"""Charts as SVG, whose colors come from the page that they are in.

Lines differ in color, dashes and markers, so that they can be told apart without colors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from tenfold.evaluation.calibration import Calibration

STYLES = 8
"""Number of colors, `--c0` to `--c7` of the page's style sheet."""

_DASHES = ("", "7 3", "2 3", "9 3 2 3", "14 4", "5 5", "2 6", "14 3 2 3")
_MARKERS = (
    "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0z",  # a circle
    "M-3.5 -3.5h7v7h-7z",
    "M0 -4.5L4.5 3.5H-4.5z",
    "M0 -5L4.5 0L0 5L-4.5 0z",
    "M0 4.5L4.5 -3.5H-4.5z",
    "M-4 -1.5h2.5v-2.5h3v2.5h2.5v3h-2.5v2.5h-3v-2.5h-2.5z",  # a plus sign
    "M-5 0L0 -3L5 0L0 3z",
    "M0 -4.5L4.3 -1.4L2.6 3.6H-2.6L-4.3 -1.4z",
)

_WIDTH, _HEIGHT = 520, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 44, 50, 46
_ROW = 34
_MOST_MARKERS = 8
_MOST_DIGITS = 5
_LABEL_HEIGHT = 15
_LETTER = 9
"""Width of a letter, at most on average."""


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: shown at its end.
        style: 0, 1, ...; lines of one candidate have the same.
        points: from left to right.
    """

    name: str
    style: int
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Spread:
    """One row of a chart of intervals.

    Attributes:
        name: shown before it.
        style: see `Line`.
        value: the middle.
        interval: around it.
        values: of single runs, that the middle is the mean of.
    """

    name: str
    style: int
    value: float
    interval: tuple[float, float]
    values: Sequence[float] = ()


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    name: str,
    among: Sequence[Line] = (),
    from_zero: bool = False,
) -> Markup:
    """An SVG element with lines over epochs.

    Args:
        lines: at least one, each with a point or more.
        title: says what is seen.
        x_label: of the horizontal axis.
        y_label: of the vertical axis, with its unit.
        name: unique on the page.
        among: the lines of charts with the same vertical axis, if there are several.
        from_zero: whether that axis starts at 0.
    """
    right = _WIDTH - max(_RIGHT, 20 + _LETTER * max(len(line.name) for line in lines))
    xs = _Scale([x for line in lines for x, _ in line.points], (_LEFT, right), whole=True)
    levels = [y for line in among or lines for _, y in line.points]
    ys = _Scale([*levels, 0.0] if from_zero else levels, (_HEIGHT - _BOTTOM, _TOP))
    parts = [_horizontal(ys, right), _vertical(xs, _TOP, _HEIGHT - _BOTTOM)]
    parts += [*(_drawn(line, xs, ys) for line in lines), _end_labels(lines, xs, ys)]
    parts += [_text(_LEFT, 16, title, "title"), _text(_LEFT, 35, y_label, "label")]
    parts.append(_text((_LEFT + right) / 2, _HEIGHT - 8, x_label, "label", "middle"))
    said = "; ".join(
        f"{line.name} ends at {line.points[-1][1]:.4f} after {line.points[-1][0]:.0f}"
        for line in lines
    )
    return _svg(name, title, f"{y_label} by {x_label}. {said}.", _HEIGHT, parts)


def spread_chart(rows: Sequence[Spread], *, title: str, x_label: str, name: str) -> Markup:
    """An SVG element with a point and an interval on each row.

    Args:
        rows: at least one.
        title: says what is seen.
        x_label: of the axis, with its unit.
        name: unique on the page.
    """
    top = _TOP - 20  # there is no unit above this one
    bottom = top + _ROW * len(rows)
    ends = [x for row in rows for x in (*row.interval, *row.values)]
    xs = _Scale(ends, (_LEFT, _WIDTH - _RIGHT))
    parts = [_vertical(xs, top, bottom)]
    for number, row in enumerate(rows):
        y = top + _ROW * (number + 0.5)
        low, high = map(xs, row.interval)
        style = row.style % STYLES
        parts.append(f'<path class="line c{style}" d="M{low:.1f} {y}H{high:.1f}"/>')
        parts += [
            f'<circle class="dot c{style}" cx="{xs(value):.1f}" cy="{y}" r="2.5"/>'
            for value in row.values
        ]
        parts.append(_marker(row.style, xs(row.value), y))
        parts.append(_text(_LEFT - 14, y + 5, row.name, "name", "end"))
    parts.append(_text(_LEFT, 16, title, "title"))
    parts.append(_text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 38, x_label, "label", "middle"))
    said = "; ".join(
        f"{row.name} {row.value:.4f}, interval {row.interval[0]:.4f} to {row.interval[1]:.4f}"
        for row in rows
    )
    return _svg(name, title, f"{said}.", bottom + _BOTTOM, parts)


def reliability_chart(calibration: Calibration, *, title: str, name: str) -> Markup:
    """An SVG element that shows how often answers of some probability are right.

    On the dashed line, as often as they say. The stronger a bar's color, the more answers it stands
    for.

    Args:
        calibration: what is shown.
        title: says what is seen.
        name: unique on the page.
    """
    xs = _Scale([0.0, 100.0], (_LEFT, _WIDTH - _RIGHT))
    ys = _Scale([0.0, 100.0], (_HEIGHT - _BOTTOM, _TOP))
    parts = [_horizontal(ys, _WIDTH - _RIGHT), _vertical(xs, _TOP, _HEIGHT - _BOTTOM)]
    parts.append(f'<path class="diagonal" d="M{xs(0)} {ys(0)}L{xs(100)} {ys(100)}"/>')
    said, most = [], max(each.n for each in calibration.bins)
    for each in calibration.bins:
        if each.accuracy is None or each.confidence is None:
            continue
        left, right, top = xs(100 * each.low) + 1, xs(100 * each.high) - 1, ys(100 * each.accuracy)
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
            f'height="{ys(0) - top:.1f}" opacity="{0.25 + 0.55 * math.sqrt(each.n / most):.2f}"/>'
            f'<circle class="point" cx="{xs(100 * each.confidence):.1f}" cy="{top:.1f}" r="3.5"/>'
        )
        said.append(
            f"{100 * each.low:.0f} to {100 * each.high:.0f} %: {each.n:,} answers, "
            f"{100 * each.accuracy:.0f} % right"
        )
    parts += [_text(_LEFT, 16, title, "title"), _text(_LEFT, 35, "right answers (%)", "label")]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 8, "probability of the answer (%)", "label", "middle"))
    return _svg(name, title, f"{'; '.join(said)}.", _HEIGHT, parts)


def sample(style: int) -> Markup:
    """A short piece of a line, for a legend; it says nothing to a screen reader."""
    dash = f' stroke-dasharray="{found}"' if (found := _DASHES[style % STYLES]) else ""
    return Markup(  # noqa: S704 - made of numbers
        '<svg class="sample" viewBox="0 0 44 12" width="44" height="12" aria-hidden="true">'
        f'<path class="line c{style % STYLES}" d="M1 6H43"{dash}/>{_marker(style, 22, 6)}</svg>'
    )


class _Scale:
    """From numbers to places on an axis, with round numbers for its ticks."""

    def __init__(
        self,
        numbers: Sequence[float],
        place: tuple[float | int, float | int],
        *,
        whole: bool = False,
    ) -> None:
        low, high = min(numbers), max(numbers)
        if low == high:
            room = 0.5 if whole else abs(low) / 10 or 0.1
            low, high = low - room, high + room
        self.step = _round_step((high - low) / 5)
        if whole:
            self.step = max(1.0, math.ceil(self.step))
        else:
            low, high = (math.floor(low / self.step), math.ceil(high / self.step))
            low, high = low * self.step, high * self.step
        self._low, self._high, self._place = low, high, place

    def __call__(self, number: float | int) -> float:
        start, end = self._place
        return start + (end - start) * (number - self._low) / (self._high - self._low)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Places and texts of the ticks."""
        first = math.ceil(self._low / self.step - 1e-9)
        last = math.floor(self._high / self.step + 1e-9)
        digits = max(0, -math.floor(math.log10(self.step) + 1e-9))
        numbers = [number * self.step for number in range(first, last + 1)]
        is_tiny = max(abs(self._low), abs(self._high)) < 10.0**-_MOST_DIGITS
        form = "g" if is_tiny else f".{digits}f"
        return [(self(number), format(number, form)) for number in numbers]


def _round_step(step: float) -> float:
    power = 10.0 ** math.floor(math.log10(step))
    return power * next(each for each in (1, 2, 5, 10) if each >= step / power - 1e-9)


def _horizontal(ys: _Scale, right: int) -> str:
    """Lines across the chart, with their numbers."""
    return "".join(
        f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>'
        + _text(_LEFT - 8, y + 4, text, "tick", "end")
        for y, text in ys.ticks
    )


def _vertical(xs: _Scale, top: float | int, bottom: float | int) -> str:
    """Lines from top to bottom, with their numbers."""
    return "".join(
        f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>'
        + _text(x, bottom + 17, text, "tick", "middle")
        for x, text in xs.ticks
    )


def _drawn(line: Line, xs: _Scale, ys: _Scale) -> str:
    places = [(xs(x), ys(y)) for x, y in line.points]
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
    dash = f' stroke-dasharray="{found}"' if (found := _DASHES[line.style % STYLES]) else ""
    every = max(1, math.ceil(len(places) / _MOST_MARKERS))
    markers = "".join(_marker(line.style, x, y) for x, y in places[::-1][::every])
    return f'<path class="line c{line.style % STYLES}" d="M{path}"{dash}/>{markers}'


def _marker(style: int, x: float | int, y: float | int) -> str:
    # After all colors have been used, their markers move on by one.
    shape = _MARKERS[(style + style // STYLES) % STYLES]
    return (
        f'<path class="marker c{style % STYLES}" transform="translate({x:.1f} {y:.1f})" '
        f'd="{shape}"/>'
    )


def _end_labels(lines: Sequence[Line], xs: _Scale, ys: _Scale) -> str:
    """The name of each candidate beside the ends of its lines, none over another."""
    ends: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for line in lines:
        x, y = line.points[-1]
        ends.setdefault((line.name, line.style), []).append((xs(x), ys(y)))
    wanted = sorted(
        (sum(y for _, y in found) / len(found), max(x for x, _ in found), *key)
        for key, found in ends.items()
    )
    texts, floor = [], float(_TOP)
    room = _HEIGHT - _BOTTOM + _LABEL_HEIGHT
    for number, (y, x, name, style) in enumerate(wanted):
        highest = room - _LABEL_HEIGHT * (len(wanted) - number)
        y = max(floor, min(y, max(floor, highest)))
        floor = y + _LABEL_HEIGHT
        texts.append(_text(x + 10, y + 5, name, f"name f{style % STYLES}"))
    return "".join(texts)


def _text(x: float | int, y: float | int, text: str, kind: str, anchor: str = "start") -> str:
    return (
        f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
    )


def _svg(
    name: str, title: str, description: str, height: float | int, parts: Sequence[str]
) -> Markup:
    return Markup(  # noqa: S704 - `_text` escapes what is not a number
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-labelledby="{name}-title {name}-desc">'
        f'<title id="{name}-title">{escape(title)}</title>'
        f'<desc id="{name}-desc">{escape(description)}</desc>{"".join(parts)}</svg>'
    )
