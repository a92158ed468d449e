"""Figures of a run: its history, images with predictions, and the confusion matrix.

Colors are those of Okabe and Ito, which are distinguishable with any kind of color vision. Lines
also differ in marker and dash, and mistakes are marked with a cross.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.text import Text

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError, did_you_mean, printable
from tenfold.evaluation.report import Report
from tenfold.reporting.style import PIXELS_PER_INCH, house_style, legible
from tenfold.reporting.terminal import DECIDES_NOTHING
from tenfold.training.history import EpochMetrics

Curve = Mapping[Any, float | int]
"""A metric's values by epoch number."""

Curves = Mapping[str, Curve]
"""Curves by metric name, such as `train_loss`."""

MAX_CLASSES_WITH_COUNTS = 20
"""With more classes, the counts would be unreadable."""

MIN_ACCURACY_RANGE = 0.04
"""On a narrower accuracy axis, noise would look like a trend."""

MOST_BESIDE = 3
"""Plots of curves side by side."""

MAX_MARKERS = 40
"""With more epochs, not every point has a marker."""

BLACK, GRAY, LIGHT = "#222222", "#6b6b6b", "#e2e2e2"
BLUE, GREEN, VERMILLION = "#0072B2", "#009E73", "#D55E00"

WRONG_SIGN = "✗"


LOOKS: Mapping[str, Mapping[str, Any]] = {
    "train": {"label": "train", "color": BLUE, "marker": "o", "linestyle": "-"},
    "val": {"label": "validation", "color": VERMILLION, "marker": "s", "linestyle": "--"},
    "test": {"label": "test", "color": GREEN, "marker": "D", "linestyle": "-."},
}
"""How the line of each split is drawn."""

SHOWN_TEST = f"test ({DECIDES_NOTHING})"
"""The label of a run's own test figures, which were measured after every epoch."""

MOST_LETTERS_IN_ROW = 45
"""With more, a legend has two rows; there is room for both over a plot."""


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
        history: at least one entry.
        test_acc: test accuracies, 0..1, by the epoch whose weights they were measured with, besides
            those in the history.
        best_epoch: the epoch whose weights were kept, to be marked.
        epochs: total number of epochs, for a plot of an unfinished run.

    Raises:
        UsageError: the history is empty.
    """
    if not history:
        raise UsageError("history: no epochs yet", remedy="train for at least one epoch")
    curves: dict[str, Curve] = {**history_curves(history)}
    label = SHOWN_TEST if "test_acc" in curves else "test"
    curves["test_acc"] = {**curves.get("test_acc", {}), **(test_acc or {})}
    return curves_figure(curves, best_epoch=best_epoch, epochs=epochs, test_label=label)


def history_curves(history: Sequence[EpochMetrics]) -> dict[str, dict[float | int, float]]:
    """The curves in a history, by name and epoch."""
    curves: dict[str, dict[float | int, float]] = {
        name: {m.epoch: value for m in history if (value := getattr(m, name)) is not None}
        for name in (
            *("train_loss", "val_loss", "test_loss"),
            *("train_acc", "val_acc", "test_acc"),
        )
    }
    return {name: points for name, points in curves.items() if points}


@house_style()
def curves_figure(
    curves: Curves,
    *,
    best_epoch: int | None = None,
    epochs: float | int | None = None,
    test_label: str = "test",
) -> Figure:
    """Losses, accuracies and whatever else there is over the epochs, each in a plot of its own.

    Curves that differ only in the split, such as `train_loss` and `val_loss`, are in one plot.

    Args:
        curves: see `Curves`.
        best_epoch: see `history_figure`.
        epochs: see `history_figure`.
        test_label: what the legend calls the test images.
    """
    looks = {**LOOKS, "test": {**LOOKS["test"], "label": test_label}}
    shown = _grouped(curves)
    columns = min(max(len(shown), 1), MOST_BESIDE)
    rows = max(1, math.ceil(len(shown) / columns))
    width, height = 4.4 * columns, 3.0 * rows
    figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH)
    # Fixed margins: with fitted ones, a growing plot would jump around.
    figure.subplots_adjust(
        left=0.62 / width,
        right=1 - 0.15 / width,
        bottom=0.48 / height,
        top=1 - 0.36 / height,
        wspace=0.24,
        hspace=0.38,
    )
    limits = _epoch_limits(curves, epochs)
    for place, (metric, group) in enumerate(shown.items(), start=1):
        what = "accuracy" if metric == "acc" else metric
        axes = figure.add_subplot(rows, columns, place)
        for split, points in group.items():
            _draw_curve(axes, points, looks.get(split) or {**LOOKS["train"], "label": what})
        if best_epoch is not None:
            axes.axvline(
                best_epoch, color=GRAY, lw=1, ls=":", zorder=1, label=f"best: {best_epoch}"
            )
        axes.set(
            xlabel="epoch",
            ylabel=legible(what),
            xlim=limits,
            ylim=_value_limits(what, group.values()),
        )
        axes.locator_params(axis="x", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1)
        axes.grid(color=LIGHT, lw=0.6)
        axes.set_axisbelow(True)
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(-0.02, 1.0),
            ncols=_columns_of_legend(axes),
            labelspacing=0.2,
        )
    return figure


def _grouped(curves: Curves) -> dict[str, dict[str, Curve]]:
    """The curves of each plot, by split; those of no split by an empty name."""
    groups: dict[str, dict[str, Curve]] = {"loss": {}, "acc": {}}
    for name in sorted(curves, key=_place_of_split):
        split, _, metric = name.partition("_")
        if not (split in LOOKS and metric):
            split, metric = "", name
        if curves[name]:
            groups.setdefault(metric, {})[split] = curves[name]
    return {metric: group for metric, group in groups.items() if group}


def _place_of_split(name: str) -> int:
    """Lines are drawn in the order of the splits in `LOOKS`, and after them all others."""
    splits = list(LOOKS)
    split = name.partition("_")[0]
    return splits.index(split) if split in splits else len(splits)


def _draw_curve(axes: Axes, points: Curve, look: Mapping[str, Any]) -> None:
    epochs, values = zip(*sorted(points.items()), strict=True)
    last = len(points) - 1
    every = math.ceil(len(points) / MAX_MARKERS)
    axes.plot(
        epochs,
        values,
        **look,
        markersize=4.5,
        linewidth=1.6 if len(points) <= 100 else 1.0,
        markevery=sorted({*range(0, last, every), last}),
        clip_on=False,
    )


def _columns_of_legend(axes: Axes) -> int:
    labels = [str(line.get_label()) for line in axes.get_lines()]
    rows = 1 if sum(map(len, labels)) <= MOST_LETTERS_IN_ROW else 2
    return math.ceil(len(labels) / rows)


def _epoch_limits(curves: Curves, epochs: float | int | None) -> tuple[float, float]:
    """The first and last epoch, with room for more if the run is not finished."""
    drawn = [epoch for points in curves.values() for epoch in points] or [1]
    first, last = min(*drawn, 1), max(drawn)
    if epochs is not None and epochs > last:
        last = min(epochs, max(10, 2 * last))
    margin = max(0.5 if last == first else 0.0, 0.02 * (last - first))
    return first - margin, last + margin


def _value_limits(what: str, lines: Iterable[Curve]) -> tuple[float, float]:
    """Where a vertical axis begins and ends.

    Losses start at 0, so that one that does not fall looks flat; accuracies lie in 0..1; whatever
    else there is gets the range of its values.

    Args:
        what: `loss`, `accuracy`, or another name.
        lines: the lines along this axis.
    """
    values = [v for points in lines for v in points.values() if math.isfinite(v)] or [1.0]
    low, high = min(values), max(values)
    if what != "accuracy":
        starts_at_0 = what == "loss"
        if starts_at_0:
            low, high = min(low, 0.0), max(high, 0.0)
        margin = 0.05 * (high - low) or 0.05
        return low - margin * (low < 0 or not starts_at_0), high + margin
    margin = max(0.06 * (high - low), (MIN_ACCURACY_RANGE - (high - low)) / 2)
    return max(0.0, low - margin), min(1.0, high + margin)


# ---- Images ------------------------------------------------------------------------------------


@house_style()
def images_figure(
    dataset: ImageDataset,
    indices: Sequence[SupportsIndex],
    predictions: Sequence[SupportsIndex | str] | None = None,
    *,
    columns: int = 8,
) -> Figure:
    """Rows of images, each titled with its true class and below that the predicted one.

    Mistakes have a colored prediction and frame, and a cross.

    Args:
        dataset: the images.
        indices: which images, in display order.
        predictions: a class index or name for each of these images.
        columns: images per row.

    Raises:
        UsageError: there are no indices, one is out of range, the number of predictions differs
            from that of indices, or a prediction is not one of the classes.
    """
    places = checked_indices(dataset, indices)
    labels = None if predictions is None else [_label(dataset, given) for given in predictions]
    if labels is not None and len(labels) != len(places):
        raise UsageError(f"images: {len(places)} indices but {len(labels)} predictions")
    if columns < 1:
        raise UsageError(f"images: columns is {columns}, wanted at least 1")
    columns = min(columns, len(places))
    rows = math.ceil(len(places) / columns)
    side, gap, header = 1.0, 0.2, 0.24 if labels is None else 0.40
    shape = dataset.image_shape
    tall = side * min(4.0, shape.height / shape.width)
    width, height = columns * (side + gap), rows * (tall + header + 0.06)
    figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH)
    for number, place in enumerate(places):
        row, column = divmod(number, columns)
        left = column * (side + gap) + gap / 2
        bottom = height - (row + 1) * (tall + header + 0.06) + 0.06
        axes = figure.add_axes((left / width, bottom / height, side / width, tall / height))
        draw_image(axes, dataset.image_array[place])
        top, line = bottom + tall + 0.05, 0.155
        truth = int(dataset.label_array[place])
        names = [(dataset.classes[truth], BLACK)]
        if labels is not None:
            wrong = labels[number] != truth
            name = dataset.classes[labels[number]]
            names.append((f"{WRONG_SIGN} {name}", VERMILLION) if wrong else (name, GRAY))
            if wrong:
                axes.spines[:].set(visible=True, color=VERMILLION, linewidth=2)
        for lines_below, (name, color) in enumerate(reversed(names)):
            text = figure.text(
                (left + side / 2) / width,
                (top + lines_below * line) / height,
                legible(name),
                color=color,
                fontsize=8,
                ha="center",
                va="bottom",
            )
            _shorten(text, (side + gap - 0.06) * PIXELS_PER_INCH)
    return figure


def checked_indices(dataset: ImageDataset, indices: Iterable[SupportsIndex]) -> list[int]:
    """Indices of images in a data set as plain integers.

    Raises:
        UsageError: there are no indices, or one is out of range.
    """
    places = [operator.index(index) for index in indices]
    if not places:
        raise UsageError("images: no indices", remedy="name at least one image")
    for place in places:
        if not 0 <= place < len(dataset):
            raise UsageError(
                f"images: index {place} is out of range, wanted 0..{len(dataset) - 1} "
                f"for the {len(dataset):,} images of {dataset.source}"
            )
    return places


def _label(dataset: ImageDataset, prediction: SupportsIndex | str) -> int:
    """A prediction as the index of its class."""
    classes = dataset.classes
    if isinstance(prediction, str):
        if prediction not in classes:
            raise UsageError(
                f"images: a prediction is {prediction!r}, which is not a class of {dataset.source}",
                remedy=did_you_mean(prediction, map(printable, classes)),
            )
        return classes.index(prediction)
    label = operator.index(prediction)
    if not 0 <= label < len(classes):
        raise UsageError(
            f"images: a prediction is {label}, wanted 0..{len(classes) - 1} "
            f"for {len(classes)} classes"
        )
    return label


def draw_image(axes: Axes, image: UInt8[np.ndarray, "channels height width"]) -> None:
    """Draw one image so that it fills its axes, each pixel a square of one color."""
    axes.imshow(
        image.transpose(1, 2, 0),
        cmap="gray",  # for single-channel images
        vmin=0,
        vmax=255,
        interpolation="nearest",
        aspect="auto",
    )
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _shorten(text: Text, width: float) -> None:
    """Shorten a text to at most `width` pixels."""
    whole = text.get_text()
    for length in range(len(whole), 1, -1):
        if text.get_window_extent().width <= width:
            return
        text.set_text(printable(whole, length - 1))


# ---- The confusion matrix ----------------------------------------------------------------------


@house_style()
def confusion_figure(report: Report) -> Figure:
    """The confusion matrix: true classes as rows, predicted classes as columns.

    Colors show the share of the row, numbers the counts. Zeros are left out, and so are all
    numbers with more than `MAX_CLASSES_WITH_COUNTS` classes.
    """
    counts = report.confusion
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    n = len(counts)
    side = max(3.2, min(0.44 * n, 9.0))
    figure = Figure(figsize=(side + 1.9, side + 1.2), dpi=PIXELS_PER_INCH, layout="constrained")
    axes = figure.add_subplot()
    # The square root makes rare mistakes visible beside a diagonal near 1.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1))
    names = [printable(legible(name), 18) for name in report.classes]
    every = math.ceil(n / 100)  # more than a hundred names would overlap
    size = min(8.0, 72 * 0.8 * side / math.ceil(n / every))
    axes.set_xticks(
        range(0, n, every),
        names[::every],
        rotation=45 if n <= MAX_CLASSES_WITH_COUNTS else 90,
        ha="right",
        va="top" if n <= MAX_CLASSES_WITH_COUNTS else "center",
        rotation_mode="anchor",
        fontsize=size,
    )
    axes.set_yticks(range(0, n, every), names[::every], fontsize=size)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title(_headline(report), loc="left")
    if n <= MAX_CLASSES_WITH_COUNTS:
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
