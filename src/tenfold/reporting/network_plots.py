"""Figures of an answer and its reasons, and of the inside of a network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

from tenfold.deployment.classifier import Guess
from tenfold.errors import percent, printable
from tenfold.reporting.plots import BLACK, BLUE, GRAY, VERMILLION, draw_image
from tenfold.reporting.style import PIXELS_PER_INCH, house_style, legible
from tenfold.types import PixelArray

_SIDE, _GAP, _TITLE = 1.9, 0.25, 0.42
"""Of the pictures in an explanation, in inches."""

SPEAKS = LinearSegmentedColormap.from_list("speaks", [VERMILLION, "#f4f4f4", BLUE])
"""From what speaks against a class to what speaks for it."""

MOST_FILTERS = 64


@house_style()
def explanation_figure(
    picture: PixelArray,
    evidence: Float32[np.ndarray, "height width"],
    label: str,
    guesses: Sequence[Guess],
    neighbors: Sequence[tuple[PixelArray, str]] = (),
) -> Figure:
    """What the network saw, what spoke for the answer, the probabilities, and similar images.

    Args:
        picture: one image as the network saw it, n = 1.
        evidence: see `occlusion_map`.
        label: the class that it is about.
        guesses: the most probable classes.
        neighbors: training images that are like it, n = 1 each, with their titles.
    """
    columns, rows = 4, 1 + math.ceil(len(neighbors) / 8)
    width = columns * (_SIDE + _GAP) + _GAP
    height = (_SIDE + _TITLE + 0.2) + (rows - 1) * 1.35 + (0.25 if neighbors else 0)
    figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH)

    def place(column: float | int, bottom: float, side: float) -> Axes:
        left = _GAP + column
        return figure.add_axes((left / width, bottom / height, side / width, side / height))

    bottom = height - _SIDE - _TITLE
    seen = place(0, bottom, _SIDE)
    draw_image(seen, picture[0])
    seen.set_title("as the network sees it", loc="left")
    over = place(_SIDE + _GAP, bottom, _SIDE)
    draw_image(over, picture[0])
    _overlay(over, evidence)
    over.set_title(f"speaks for {_short(label, 10)}", loc="left", color=BLUE)
    over.set_title("against", loc="right", color=VERMILLION)
    bars = figure.add_axes(
        ((3 * _GAP + 2 * _SIDE + 1.1) / width, bottom / height, 1.9 / width, _SIDE / height)
    )
    _bars(bars, guesses)
    for number, (image, title) in enumerate(neighbors):
        row, column = divmod(number, 8)
        axes = place(column * 1.07, bottom - 0.45 - (row + 1) * 1.3, 0.95)
        draw_image(axes, image[0])
        axes.set_title(_short(title), fontsize=8)
    if neighbors:
        figure.text(
            _GAP / width,
            (bottom - 0.36) / height,
            "the training images most like it to the network: class, and cosine of their features",
        )
    return figure


def _overlay(axes: Axes, evidence: Float32[np.ndarray, "height width"]) -> None:
    """Blue over what speaks for a class, orange over what speaks against it."""
    strength = float(np.abs(evidence).max()) or 1.0
    shares = evidence / strength
    colors = np.where(shares[..., None] > 0, to_rgba(BLUE), to_rgba(VERMILLION))
    colors[..., 3] = 0.75 * np.abs(shares)
    height, width = evidence.shape
    axes.imshow(
        colors,
        interpolation="nearest",
        aspect="auto",
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )


def _bars(axes: Axes, guesses: Sequence[Guess]) -> None:
    names = [_short(guess.name) for guess in guesses]
    values = [guess.probability for guess in guesses]
    places = range(len(guesses))
    axes.barh(places, values, color=[BLUE, *[GRAY] * (len(guesses) - 1)], height=0.65)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.28), xticks=[])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for number, value in enumerate(values):
        axes.text(value + 0.03, number, percent(value), va="center", color=BLACK)
    axes.set_title("probabilities", loc="left")


def _short(name: str, most: int = 18) -> str:
    return printable(legible(name), most)


@house_style()
def filters_figure(weights: Float32[np.ndarray, "filters channels height width"]) -> Figure:
    """The filters of a network's first layer: in color if it takes color, else their weights.

    Of gray ones, blue is positive and orange negative; of colored ones, gray is 0.
    """
    filters = weights[:MOST_FILTERS]
    in_color = filters.shape[1] == 3
    figure, places = _grid(len(filters), 8)
    for axes, each in zip(places, filters, strict=True):
        most = float(np.abs(each).max()) or 1.0
        if in_color:
            axes.imshow((0.5 + each.transpose(1, 2, 0) / (2 * most)).clip(0, 1))
        else:
            axes.imshow(each.mean(0), cmap=SPEAKS, vmin=-most, vmax=most)
    return figure


@house_style()
def feature_maps_figure(picture: PixelArray, maps: Mapping[str, np.ndarray]) -> Figure:
    """An image, and what the channels of some layers make of it; brighter is more.

    Args:
        picture: one image as the network sees it, n = 1.
        maps: the first channels of the outputs of each layer, channels x height x width.
    """
    columns = max(len(each) for each in maps.values()) + 1
    rows = len(maps)
    side, title = 0.85, 0.3
    width, height = columns * side + 0.2, rows * (side + title) + 0.1
    figure = Figure(figsize=(width, height), dpi=PIXELS_PER_INCH)
    for row, (name, channels) in enumerate(maps.items()):
        bottom = height - (row + 1) * (side + title)
        pictures: list[np.ndarray | None] = [None, *channels]
        for column, each in enumerate(pictures):
            axes = figure.add_axes(
                (
                    (0.1 + column * side) / width,
                    bottom / height,
                    (side - 0.06) / width,
                    (side - 0.06) / height,
                )
            )
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if each is None:
                if row == 0:
                    draw_image(axes, picture[0])
                    axes.set_title("image", loc="left", fontsize=8)
                continue
            axes.imshow(each, cmap="gray", interpolation="nearest", aspect="auto")
            if column == 1:
                axes.set_title(legible(name), loc="left", fontsize=8)
    return figure


def _grid(n: int, columns: int) -> tuple[Figure, list[Axes]]:
    """A figure with places for n small pictures."""
    columns = min(columns, n)
    rows = math.ceil(n / columns)
    figure = Figure(figsize=(columns * 0.8, rows * 0.8), dpi=PIXELS_PER_INCH)
    places = []
    for number in range(n):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        places.append(axes)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.01, top=0.99, wspace=0.08, hspace=0.08)
    return figure, places
