"""Figures of a run: its history, pictures with predictions, the confusion of its classes.

They are drawn without a window and without pyplot's global state. Colors are those of Okabe and
Ito, which people with any kind of color vision can tell apart; lines differ in marker and dash
as well, and mistakes have a sign.
"""

from __future__ import annotations

import io
import math
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, SupportsIndex

import matplotlib as mpl
import numpy as np
import torch
from jaxtyping import UInt8
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError, did_you_mean, printable
from tenfold.evaluation.report import Report
from tenfold.storage import make_folder, write_bytes
from tenfold.training.history import EpochMetrics

Curves = Mapping[str, Mapping[Any, float | int]]
"""Figures under their usual names, such as `train_loss`: from the epoch, a number, to the value."""

PictureFormat = Literal["png", "svg"]

PIXELS_PER_INCH = 100
"""On the screen; a PNG has `PNG_SCALE` times as many, for screens with fine pixels."""

PNG_SCALE = 2

LARGEST_COUNTED_CONFUSION = 20
"""With more classes than this, the counts would not be readable."""

LARGEST_MARKED_HISTORY = 40
"""Epochs; of more of them not every point has a marker."""

SMALLEST_RANGE = 0.04
"""Of an axis of accuracies; the noise of a narrower one would look like a trend."""

BLACK, GRAY, LIGHT = "#222222", "#6b6b6b", "#e2e2e2"
BLUE, ORANGE, GREEN, VERMILLION = "#0072B2", "#E69F00", "#009E73", "#D55E00"

WRONG_SIGN = "✗"


class _Look(NamedTuple):
    label: str
    color: str
    marker: str
    dash: str


LOOKS = {
    "train_loss": _Look("train", BLUE, "o", "-"),
    "val_loss": _Look("validation", VERMILLION, "s", "--"),
    "test_loss": _Look("test", GREEN, "D", "-."),
    "train_acc": _Look("train", BLUE, "o", "-"),
    "val_acc": _Look("validation", VERMILLION, "s", "--"),
    "test_acc": _Look("test", GREEN, "D", "-."),
}

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "Helvetica"],
    "text.color": BLACK,
    "text.usetex": False,
    "text.parse_math": False,  # a class may be called $x$
    "axes.edgecolor": GRAY,
    "axes.labelcolor": BLACK,
    "axes.facecolor": "white",
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.use_mathtext": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "auto",
    "savefig.bbox": None,
    "xtick.color": GRAY,
    "ytick.color": GRAY,
    "xtick.labelcolor": BLACK,
    "ytick.labelcolor": BLACK,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: it can be searched, and read aloud
    "svg.hashsalt": "tenfold",
}
"""What the user's own settings of matplotlib do not change."""

FALLBACK_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "PingFang HK",
    "Hiragino Sans",
    "Arial Unicode MS",
)
"""Where the letters are looked for that the first font lacks."""


@contextmanager
def _house_style() -> Iterator[None]:
    with mpl.rc_context({**STYLE, "font.family": [*_families(), "sans-serif"]}):
        yield


@cache
def _families() -> tuple[str, ...]:
    """DejaVu Sans, which comes with matplotlib, and those of the fallbacks that are installed."""
    installed = set(font_manager.get_font_names())
    return ("DejaVu Sans", *(family for family in FALLBACK_FONTS if family in installed))


# ---- The history -------------------------------------------------------------------------------


def history_figure(
    history: Sequence[EpochMetrics],
    *,
    test_acc: Mapping[int, float] | None = None,
    best_epoch: int | None = None,
    epochs: int | None = None,
) -> Figure:
    """Losses on the left, accuracies on the right, over the epochs.

    Args:
        history: one entry or more.
        test_acc: shares, 0..1, by the epoch whose weights they were measured with.
        best_epoch: marked as the one whose weights were kept.
        epochs: how many are wanted in all, for a picture of a run that goes on.

    Raises:
        UsageError: the history is empty.
    """
    if not history:
        raise UsageError("history: it has no epoch yet", remedy="train for one epoch at least")
    curves: dict[str, Mapping[Any, float]] = dict(history_curves(history))
    if test_acc is not None:
        curves["test_acc"] = test_acc
    return curves_figure(curves, best_epoch=best_epoch, epochs=epochs)


def history_curves(history: Sequence[EpochMetrics]) -> dict[str, dict[int, float]]:
    """The figures of a history that can be drawn, by name and epoch."""
    curves = {
        name: {m.epoch: value for m in history if (value := getattr(m, name)) is not None}
        for name in ("train_loss", "val_loss", "train_acc", "val_acc")
    }
    return {name: points for name, points in curves.items() if points}


@_house_style()
def curves_figure(
    curves: Curves, *, best_epoch: int | None = None, epochs: float | int | None = None
) -> Figure:
    """Any of the figures in `LOOKS` over the epochs: losses on the left, accuracies on the right.

    Args:
        curves: see `Curves`.
        best_epoch: see `history_figure`.
        epochs: see `history_figure`.
    """
    groups = {
        "loss": {name: points for name, points in curves.items() if name.endswith("_loss")},
        "accuracy": {name: points for name, points in curves.items() if name.endswith("_acc")},
    }
    shown = {what: group for what, group in groups.items() if any(group.values())}
    figure = Figure(figsize=(4.4 * len(shown) or 4.4, 3.0), dpi=PIXELS_PER_INCH)
    # Fixed margins: with fitted ones a growing plot would twitch.
    inches = figure.get_size_inches()
    figure.subplots_adjust(
        left=0.62 / inches[0],
        right=1 - 0.15 / inches[0],
        bottom=0.48 / inches[1],
        top=1 - 0.36 / inches[1],
        wspace=0.24,
    )
    limits = _epoch_limits(curves, epochs)
    for place, (what, group) in enumerate(shown.items(), start=1):
        axes = figure.add_subplot(1, len(shown), place)
        _draw_curves(axes, group)
        if best_epoch is not None:
            axes.axvline(
                best_epoch, color=GRAY, lw=1, ls=":", zorder=1, label=f"best: {best_epoch}"
            )
        axes.set(xlabel="epoch", ylabel=what, xlim=limits, ylim=_value_limits(what, group))
        axes.xaxis.set_major_locator(
            MaxNLocator("auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
        )
        axes.grid(color=LIGHT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=len(group) + (best_epoch is not None),
            borderaxespad=0.2,
            columnspacing=1.2,
            handlelength=2.2,
            handletextpad=0.5,
            fontsize=8,
        )
    return figure


def _draw_curves(axes: Axes, group: Curves) -> None:
    for name, look in LOOKS.items():
        points = sorted(group.get(name, {}).items())
        if not points:
            continue
        axes.plot(
            [epoch for epoch, _ in points],
            [value for _, value in points],
            label=look.label,
            color=look.color,
            marker=look.marker,
            linestyle=look.dash,
            markersize=4.5,
            linewidth=1.6 if len(points) <= 100 else 1.0,
            markevery=_evenly(len(points), LARGEST_MARKED_HISTORY),
            clip_on=False,
        )


def _evenly(n: int, most: int) -> list[int]:
    """About so many of n places, the first and the last among them."""
    return sorted({*range(0, n, math.ceil(n / most)), n - 1})


def _epoch_limits(curves: Curves, epochs: float | int | None) -> tuple[float, float]:
    """From the first epoch to the last; while a run goes on, room for those to come."""
    drawn = [epoch for points in curves.values() for epoch in points] or [1]
    first, last = min(*drawn, 1), max(drawn)
    if epochs is not None and epochs > last:
        last = min(epochs, max(10, 2 * last))
    margin = max(0.5 if last == first else 0.0, 0.02 * (last - first))
    return first - margin, last + margin


def _value_limits(what: str, group: Curves) -> tuple[float, float]:
    """Losses from 0, so that one that does not fall looks flat; accuracies up to 1 at the most."""
    values = [v for points in group.values() for v in points.values() if math.isfinite(v)] or [1.0]
    low, high = min(values), max(values)
    if what == "loss":
        low, high = min(low, 0.0), max(high, 0.0)
        margin = 0.05 * (high - low) or 0.05
        return low - margin * (low < 0), high + margin
    margin = max(0.06 * (high - low), (SMALLEST_RANGE - (high - low)) / 2)
    return max(0.0, low - margin), min(1.0, high + margin)


# ---- Pictures ----------------------------------------------------------------------------------


@_house_style()
def images_figure(
    dataset: ImageDataset,
    indices: Sequence[SupportsIndex],
    predictions: Sequence[SupportsIndex | str] | None = None,
    *,
    columns: int = 8,
) -> Figure:
    """Rows of pictures, each under its true label's name, and that over the predicted one's.

    A mistake has its name and frame in another color, and a cross.

    Args:
        dataset: where the pictures are.
        indices: which ones, in the order in which they are shown.
        predictions: for every index a class's index or name.
        columns: pictures in a row.

    Raises:
        UsageError: there are no indices, one is out of range, their count and that of the
            predictions differ, or a prediction is none of the classes.
    """
    places = checked_indices(dataset, indices)
    labels = None if predictions is None else _predicted(dataset, predictions)
    if labels is not None and len(labels) != len(places):
        raise UsageError(f"images: {len(places)} indices but {len(labels)} predictions")
    if columns < 1:
        raise UsageError(f"images: columns is {columns}, wanted at least 1")
    columns = min(columns, len(places))
    rows = math.ceil(len(places) / columns)
    picture, gap, header = 1.0, 0.2, 0.24 if labels is None else 0.40
    shape = dataset.image_shape
    tall = picture * min(4.0, shape.height / shape.width)
    width, height = columns * (picture + gap), rows * (tall + header + 0.06)
    figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH)
    images, truths = dataset.batch(torch.tensor(places))
    for number, (image, truth) in enumerate(zip(images, truths.tolist(), strict=True)):
        row, column = divmod(number, columns)
        left = column * (picture + gap) + gap / 2
        bottom = height - (row + 1) * (tall + header + 0.06) + 0.06
        axes = figure.add_axes((left / width, bottom / height, picture / width, tall / height))
        _draw_image(axes, image)
        top, line = bottom + tall + 0.05, 0.155
        names = [(dataset.classes[truth], BLACK)]
        if labels is not None:
            wrong = labels[number] != truth
            name = dataset.classes[labels[number]]
            names.append((f"{WRONG_SIGN} {name}", VERMILLION) if wrong else (name, GRAY))
            if wrong:
                axes.spines[:].set(visible=True, color=VERMILLION, linewidth=2)
        for lines_below, (name, color) in enumerate(reversed(names)):
            text = figure.text(
                (left + picture / 2) / width,
                (top + lines_below * line) / height,
                legible(name),
                color=color,
                fontsize=8,
                ha="center",
                va="bottom",
            )
            _shorten(text, (picture + gap - 0.06) * PIXELS_PER_INCH)
    return figure


def checked_indices(dataset: ImageDataset, indices: Iterable[SupportsIndex]) -> list[int]:
    """The places of images in a data set as plain numbers.

    Raises:
        UsageError: there are none, or one is out of range.
    """
    places = [operator.index(index) for index in indices]
    if not places:
        raise UsageError("images: there are no indices", remedy="name one image at least")
    for place in places:
        if not 0 <= place < len(dataset):
            raise UsageError(
                f"images: index {place} is out of range, wanted 0..{len(dataset) - 1} "
                f"for the {len(dataset):,} images of {dataset.source}"
            )
    return places


def _predicted(dataset: ImageDataset, predictions: Sequence[SupportsIndex | str]) -> list[int]:
    """Predictions as indices of classes."""
    known = {name: label for label, name in enumerate(dataset.classes)}
    labels = []
    for prediction in predictions:
        if isinstance(prediction, str):
            if prediction not in known:
                raise UsageError(
                    f"images: a prediction is {prediction!r}, which is no class of "
                    f"{dataset.source}",
                    remedy=did_you_mean(prediction, map(printable, known)),
                )
            labels.append(known[prediction])
            continue
        label = operator.index(prediction)
        if not 0 <= label < len(known):
            raise UsageError(
                f"images: a prediction is {label}, wanted 0..{len(known) - 1} "
                f"for {len(known)} classes"
            )
        labels.append(label)
    return labels


def _draw_image(axes: Axes, image: UInt8[Tensor, "channels height width"]) -> None:
    pixels = image.cpu().permute(1, 2, 0).numpy()
    gray = pixels.shape[2] == 1
    axes.imshow(
        pixels[:, :, 0] if gray else pixels,
        cmap="gray" if gray else None,
        vmin=0,
        vmax=255,
        interpolation="nearest",
        aspect="auto",
    )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


# ---- The confusion of classes ------------------------------------------------------------------


@_house_style()
def confusion_figure(report: Report) -> Figure:
    """How often each true class, a row, was taken for each class, a column.

    The color is the share of the row; the number is a count, left out where it is 0, and in all
    cells with more than `LARGEST_COUNTED_CONFUSION` classes.
    """
    counts = report.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(counts)
    side = max(3.2, min(0.44 * n, 9.0))
    figure = Figure(figsize=(side + 1.9, side + 1.2), dpi=PIXELS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    # The square root makes rare mistakes visible beside a diagonal near 1.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    names = [_cut(legible(name), 18) for name in report.classes]
    every = math.ceil(n / 100)  # more names than a hundred would run into each other
    size = min(8.0, 72 * 0.8 * side / math.ceil(n / every))
    axes.set_xticks(
        range(0, n, every),
        names[::every],
        rotation=45 if n <= LARGEST_COUNTED_CONFUSION else 90,
        ha="right",
        va="top" if n <= LARGEST_COUNTED_CONFUSION else "center",
        rotation_mode="anchor",
        fontsize=size,
    )
    axes.set_yticks(range(0, n, every), names[::every], fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(_headline(report), loc="left")
    if n <= LARGEST_COUNTED_CONFUSION:
        for row, column in zip(*counts.nonzero(), strict=True):
            axes.text(
                column,
                row,
                f"{counts[row, column]}",
                ha="center",
                va="center",
                fontsize=7,
                color="white" if shares[row, column] > 0.35 else BLACK,
            )
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, ticks=[0, 0.01, 0.1, 0.5, 1])
    bar.ax.set_yticklabels(["0", "1 %", "10 %", "50 %", "100 %"], fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.tick_params(length=0)
    bar.set_label("share of the true class")
    return figure


def _headline(report: Report) -> str:
    low, high = report.interval
    return (
        f"{report.split}_acc {report.accuracy:.4f}\n"
        f"95 % interval {low:.4f} to {high:.4f}, n = {report.n:,}"
    )


# ---- Text --------------------------------------------------------------------------------------


def legible(name: str) -> str:
    """A name from outside as it can be drawn: what no font here has stands as its code."""
    return "".join(
        character if _has_glyph(character) else f"\\u{ord(character):04x}"
        for character in printable(name)
    )


@cache
def _has_glyph(character: str) -> bool:
    return any(font.get_char_index(ord(character)) for font in _fonts())


@cache
def _fonts() -> tuple[FT2Font, ...]:
    return tuple(font_manager.get_font(font_manager.findfont(family)) for family in _families())


def _shorten(text: Text, width: float) -> None:
    """Cut a text so that it is at most so many pixels wide."""
    figure = text.get_figure(root=True)
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    whole = text.get_text()
    for length in range(len(whole), 1, -1):
        if text.get_window_extent(renderer).width <= width:
            return
        text.set_text(_cut(whole, length - 1))


def _cut(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


# ---- Files -------------------------------------------------------------------------------------


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG or SVG, whichever the path ends in; the folder is made if need be.

    The same figure gives the same bytes.

    Raises:
        UsageError: the path ends in something else.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    form = picture_format(path)
    make_folder(path.parent)
    write_bytes(path, figure_bytes(figure, form))


def picture_format(path: Path) -> PictureFormat:
    """The format that a path's end names.

    Raises:
        UsageError: it names neither PNG nor SVG.
    """
    form = path.suffix.lower().removeprefix(".")
    if form == "png":
        return "png"
    if form == "svg":
        return "svg"
    raise UsageError(
        f"{path}: a picture cannot be written as {path.suffix or 'that'!r}",
        remedy="let the name end in .png or .svg",
    )


@_house_style()
def figure_bytes(figure: Figure, form: PictureFormat) -> bytes:
    """A figure as a PNG or SVG file."""
    buffer = io.BytesIO()
    metadata = {"Software": None} if form == "png" else {"Date": None, "Creator": None}
    scale = PNG_SCALE if form == "png" else 1
    figure.savefig(buffer, format=form, dpi=scale * PIXELS_PER_INCH, metadata=metadata)
    return buffer.getvalue()
