"""Figures show their data legibly."""

from __future__ import annotations

import io
import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError
from tenfold.evaluation.report import Report
from tenfold.reporting.plots import (
    VERMILLION,
    WRONG_SIGN,
    confusion_figure,
    curves_figure,
    history_figure,
    images_figure,
)
from tenfold.reporting.style import figure_bytes
from tenfold.training.history import EpochMetrics

FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def history(epochs: int, *, validation: bool = True) -> list[EpochMetrics]:
    """Losses that fall like 2/(epoch+1), accuracies that rise like 1 - 1/(epoch+1)."""
    return [
        EpochMetrics(
            epoch=epoch,
            train_loss=2 / (epoch + 1),
            train_acc=1 - 1 / (epoch + 1),
            val_loss=2.2 / (epoch + 1) if validation else None,
            val_acc=0.98 - 1 / (epoch + 1) if validation else None,
            lr=0.1,
            seconds=1.0,
        )
        for epoch in range(1, epochs + 1)
    ]


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_ylabel(): axes for axes in figure.axes}


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def pixels(figure: Figure) -> np.ndarray:
    """The visible pixels: height, width, RGB; the first row is the top."""
    with Image.open(io.BytesIO(figure_bytes(figure, "png"))) as image:
        return np.asarray(image.convert("RGB"))


def shown_texts(figure: Figure) -> list[Text]:
    return [
        text
        for text in figure.findobj(Text)
        if isinstance(text, Text) and text.get_visible() and text.get_text()
    ]


def assert_texts_are_legible(figure: Figure) -> None:
    """No text leaves the picture, and no two horizontal texts overlap."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    undrawn = [label for axes in figure.axes for label in labels_beyond(axes)]
    boxes = []
    for text in shown_texts(figure):
        if any(text is label for label in undrawn):
            continue
        box = text.get_window_extent(canvas.get_renderer())
        assert figure.bbox.x0 - 1 <= box.x0, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert figure.bbox.y0 - 1 <= box.y0, text
        assert box.y1 <= figure.bbox.y1 + 1, text
        if text.get_rotation() == 0:
            boxes.append((box, text.get_text()))
    for (one, name), (other, other_name) in itertools.combinations(boxes, 2):
        assert not one.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9)), (name, other_name)


def labels_beyond(axes: Axes) -> list[Text]:
    """Tick labels outside an axis, which are never drawn."""
    beyond = []
    for axis, place in ((axes.xaxis, 0), (axes.yaxis, 1)):
        low, high = sorted(axis.get_view_interval())
        beyond += [
            label
            for label in axis.get_ticklabels()
            if not low - 1e-9 <= label.get_position()[place] <= high + 1e-9
        ]
    return beyond


class TestHistory:
    @pytest.mark.parametrize("epochs", [1, 2, 10, 1000])
    def test_it_draws_every_figure_of_every_epoch(self, epochs: int) -> None:
        given = history(epochs)
        drawn = panels(history_figure(given))
        assert list(drawn) == ["loss", "accuracy"]
        for axes, names in zip(
            drawn.values(), (("train_loss", "val_loss"), ("train_acc", "val_acc")), strict=True
        ):
            assert axes.get_xlabel() == "epoch"
            assert legend(axes) == ["train", "validation"]
            for line, name in zip(axes.get_lines(), names, strict=True):
                assert list(line.get_xdata()) == [m.epoch for m in given]
                assert list(line.get_ydata()) == [getattr(m, name) for m in given]

    @pytest.mark.parametrize("epochs", [1, 2, 3, 10, 47, 1000])
    def test_it_is_legible(self, epochs: int) -> None:
        figure = history_figure(
            history(epochs), best_epoch=epochs, test_acc={epochs: 0.5}, epochs=epochs
        )
        assert_texts_are_legible(figure)

    @pytest.mark.parametrize("epochs", [1, 3, 1000])
    @pytest.mark.parametrize("is_best_known", [True, False])
    def test_its_own_test_figures_are_marked(self, epochs: int, is_best_known: bool) -> None:
        given = [
            each.model_copy(update={"test_loss": each.val_loss, "test_acc": each.val_acc})
            for each in history(epochs)
        ]
        figure = history_figure(given, best_epoch=epochs if is_best_known else None)
        assert_texts_are_legible(figure)
        for axes in panels(figure).values():
            assert legend(axes)[:3] == ["train", "validation", "test (not used for choosing)"]
        other = history_figure(given, test_acc={epochs: 0.25})
        line = panels(other)["accuracy"].get_lines()[2]
        assert list(line.get_ydata()) == [*(each.val_acc for each in given[:-1]), 0.25]

    @pytest.mark.parametrize("epochs", [1, 2, 10, 1000])
    def test_epochs_are_whole_numbers_and_all_points_are_inside(self, epochs: int) -> None:
        figure = history_figure(history(epochs))
        FigureCanvasAgg(figure).draw()
        for axes in figure.axes:
            low, high = axes.get_xlim()
            assert low < 1 <= epochs < high
            assert all(float(tick).is_integer() for tick in axes.get_xticks())
            bottom, top = axes.get_ylim()
            for line in axes.get_lines():
                assert bottom <= min(line.get_ydata()) <= max(line.get_ydata()) <= top

    def test_losses_start_at_zero_and_accuracies_end_at_one(self) -> None:
        drawn = panels(history_figure(history(500)))
        assert drawn["loss"].get_ylim()[0] == 0
        assert drawn["accuracy"].get_ylim()[1] == 1

    def test_a_loss_that_stays_the_same_looks_flat(self) -> None:
        stuck = [
            EpochMetrics(
                epoch=e,
                train_loss=2.302 + 0.001 * (e % 2),
                train_acc=0.1,
                val_loss=None,
                val_acc=None,
                lr=0.1,
                seconds=1.0,
            )
            for e in (1, 2)
        ]
        bottom, top = panels(history_figure(stuck))["loss"].get_ylim()
        assert 0.001 / (top - bottom) < 0.01

    def test_without_validation_there_is_no_line_for_it(self) -> None:
        for axes in history_figure(history(3, validation=False)).axes:
            assert legend(axes) == ["train"]
            assert len(axes.get_lines()) == 1

    def test_the_test_accuracy_is_drawn_only_on_request(self) -> None:
        drawn = panels(history_figure(history(5), test_acc={4: 0.7}))
        assert legend(drawn["loss"]) == ["train", "validation"]
        assert legend(drawn["accuracy"]) == ["train", "validation", "test"]
        line = drawn["accuracy"].get_lines()[-1]
        assert (list(line.get_xdata()), list(line.get_ydata())) == ([4], [0.7])

    def test_the_best_epoch_is_marked(self) -> None:
        for axes in history_figure(history(5), best_epoch=4).axes:
            assert legend(axes)[-1] == "best: 4"
            assert set(axes.get_lines()[-1].get_xdata()) == {4}

    def test_lines_differ_in_color_marker_and_dash(self) -> None:
        axes = panels(history_figure(history(5), test_acc={5: 0.8}))["accuracy"]
        for what in ("get_color", "get_marker", "get_linestyle"):
            assert len({getattr(line, what)() for line in axes.get_lines()}) == 3

    def test_an_unfinished_run_has_room_for_more_epochs(self) -> None:
        assert 10 < history_figure(history(3), epochs=10).axes[0].get_xlim()[1] < 11
        # with very many epochs, the first few would be squeezed into a corner
        assert 40 <= history_figure(history(20), epochs=1000).axes[0].get_xlim()[1] < 50

    def test_each_line_is_visible(self) -> None:
        seen = pixels(history_figure(history(10), test_acc={10: 0.5}))
        for color in ("#0072B2", "#D55E00", "#009E73"):
            red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
            assert (seen == (red, green, blue)).all(axis=2).sum() > 50, color

    def test_curves_with_gaps_infinities_and_negative_losses_are_drawn(self) -> None:
        curves = {"train_loss": {1: math.inf, 2: -3.0, 3: math.nan, 4: 1.0}, "test_acc": {}}
        figure = curves_figure(curves)
        assert list(panels(figure)) == ["loss"]
        bottom, top = figure.axes[0].get_ylim()
        assert bottom < -3
        assert 1 < top < 2
        figure_bytes(figure, "png")

    def test_an_empty_history_is_refused(self) -> None:
        with pytest.raises(UsageError, match="no epochs yet"):
            history_figure([])


def pictures(names: tuple[str, ...] = FASHION, *, shape: tuple[int, ...] = (1, 8, 8)):
    """One uniform picture per class, each brighter than the one before."""
    n = len(names)
    shades = torch.linspace(20, 220, n).to(torch.uint8).view(n, 1, 1, 1)
    return ImageDataset(shades.expand(n, *shape).clone(), torch.arange(n), names, source="shades")


class TestImages:
    def test_the_true_name_is_above_the_predicted_one(self) -> None:
        figure = images_figure(pictures(), [0, 9], [0, "Sandal"])
        texts = [text for text in shown_texts(figure) if text.axes is None]
        heights = {text.get_text(): text.get_position()[1] for text in texts}
        assert heights.keys() == {"T-shirt/top", "Ankle boot", f"{WRONG_SIGN} Sandal"}
        assert heights["Ankle boot"] > heights[f"{WRONG_SIGN} Sandal"]

    def test_mistakes_have_a_cross_a_color_and_a_frame(self) -> None:
        figure = images_figure(pictures(), range(10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 7])
        wrong = [text for text in shown_texts(figure) if text.get_color() == VERMILLION]
        assert [text.get_text() for text in wrong] == [f"{WRONG_SIGN} Sneaker"]
        framed = [axes for axes in figure.axes if axes.spines["left"].get_visible()]
        assert framed == [figure.axes[9]]

    def test_without_predictions_there_are_only_the_true_names(self) -> None:
        figure = images_figure(pictures(), range(10))
        assert [text.get_text() for text in shown_texts(figure)] == list(FASHION)

    def test_a_picture_is_drawn_pixel_by_pixel(self) -> None:
        dataset = pictures()
        figure = images_figure(dataset, [3, 7], columns=2)
        seen = pixels(figure)
        for axes, place in zip(figure.axes, (3, 7), strict=True):
            box = axes.get_position()
            middle = seen[
                round((1 - (box.y0 + box.y1) / 2) * len(seen)),
                round((box.x0 + box.x1) / 2 * len(seen[0])),
            ]
            assert set(middle.tolist()) == {int(dataset.images[place, 0, 0, 0])}

    def test_colors_are_those_of_the_image(self) -> None:
        image = torch.tensor([200, 100, 50], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 4, 4)
        seen = pixels(images_figure(ImageDataset(image, torch.tensor([0]), ["brown"]), [0]))
        assert (seen == (200, 100, 50)).all(axis=2).mean() > 0.5

    def test_pictures_are_in_rows_of_the_given_number_of_columns(self) -> None:
        figure = images_figure(pictures(), range(10), columns=4)
        tops = [round(axes.get_position().y1, 3) for axes in figure.axes]
        lefts = [round(axes.get_position().x0, 3) for axes in figure.axes]
        assert [len([*row]) for _, row in itertools.groupby(tops)] == [4, 4, 2]
        assert sorted(tops, reverse=True) == tops
        assert lefts[:4] == lefts[4:8]

    def test_the_aspect_ratio_of_a_picture_is_kept(self) -> None:
        (axes,) = images_figure(pictures(("wide",), shape=(1, 10, 20)), [0]).axes
        width, height = axes.get_window_extent().size
        assert width / height == pytest.approx(2, rel=0.01)

    @pytest.mark.parametrize("columns", [1, 3, 8])
    @pytest.mark.parametrize(
        "names",
        [
            FASHION,
            ("automobile", "airplane", "x" * 300),
            ("a b", "mmmmmmmmmmmmmmmm", "iiiiiiiiiiiiii"),
        ],
        ids=["fashion", "long", "widths"],
    )
    def test_names_fit_above_their_pictures(self, names: tuple[str, ...], columns: int) -> None:
        n = len(names)
        figure = images_figure(pictures(names), range(n), [*range(1, n), 0], columns=columns)
        assert_texts_are_legible(figure)

    def test_short_names_are_not_cut(self) -> None:
        figure = images_figure(pictures(), range(10), range(10))
        assert {text.get_text() for text in shown_texts(figure)} == set(FASHION)

    def test_names_are_not_formulas_and_unknown_characters_are_codes(self) -> None:
        names = ("$x^2", r"$\frac", "caf\u00e9", "\U0001f408", "a\nb")
        figure = images_figure(pictures(names), range(5), range(5))
        figure_bytes(figure, "png")  # a warning about a missing glyph would be an error here
        assert {text.get_text() for text in shown_texts(figure)} == {
            "$x^2",
            r"$\frac",
            "café",
            r"\U0001f408",
            r"a\nb",
        }

    @pytest.mark.parametrize(
        ("indices", "predictions", "said"),
        [
            ([], None, "no indices"),
            ([10], None, "index 10 is out of range, wanted 0..9"),
            ([-1], None, "index -1 is out of range"),
            ([0, 1], [1], "2 indices but 1 predictions"),
            ([0], [10], "a prediction is 10, wanted 0..9"),
            ([0], [-1], "a prediction is -1"),
            ([0], ["Sandel"], "did you mean 'Sandal'"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, indices, predictions, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            images_figure(pictures(), indices, predictions)

    def test_no_columns_are_refused(self) -> None:
        with pytest.raises(UsageError, match="columns is 0"):
            images_figure(pictures(), [0], columns=0)


def report(confusion: list[list[int]] | np.ndarray, classes: tuple[str, ...]) -> Report:
    counts = np.asarray(confusion, np.int64)
    return Report("test", int(counts.sum()), 0.5, counts, classes)


class TestConfusion:
    def test_counts_are_in_their_cells_and_zeros_are_left_out(self) -> None:
        figure = confusion_figure(report([[90, 10, 0], [0, 50, 50], [1, 0, 99]], ("a", "b", "c")))
        axes = figure.axes[0]
        cells = {text.get_position(): text.get_text() for text in axes.texts}
        assert cells == {
            (0, 0): "90",
            (1, 0): "10",
            (1, 1): "50",
            (2, 1): "50",
            (0, 2): "1",
            (2, 2): "99",
        }
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
        for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
            assert [label.get_text() for label in labels] == ["a", "b", "c"]

    def test_the_color_is_the_share_of_the_true_class(self) -> None:
        figure = confusion_figure(report([[900, 100], [1, 3]], ("many", "few")))
        shares = figure.axes[0].get_images()[0].get_array()
        assert np.allclose(shares, [[0.9, 0.1], [0.25, 0.75]])

    def test_a_class_without_images_is_an_empty_row(self) -> None:
        figure = confusion_figure(report([[5, 0], [0, 0]], ("seen", "unseen")))
        assert np.allclose(figure.axes[0].get_images()[0].get_array(), [[1, 0], [0, 0]])
        figure_bytes(figure, "png")

    def test_the_headline_has_the_accuracy_its_interval_and_n(self) -> None:
        given = report([[90, 10], [10, 90]], ("a", "b"))
        title = confusion_figure(given).axes[0].get_title(loc="left")
        low, high = given.interval
        assert title == f"test_acc 0.9000\n95 % interval {low:.4f} to {high:.4f}, n = 200"

    @pytest.mark.parametrize("n", [2, 10, 20, 120])
    def test_it_is_legible(self, n: int) -> None:
        counts = np.full((n, n), 1000)
        names = tuple(f"a class of number {i}" for i in range(n)) if n != 10 else FASHION
        assert_texts_are_legible(confusion_figure(report(counts, names)))

    def test_with_many_classes_only_the_colors_are_shown(self) -> None:
        figure = confusion_figure(report(np.eye(100), tuple(map(str, range(100)))))
        assert not figure.axes[0].texts
        assert len(figure.axes[0].get_xticklabels()) == 100


def test_curves_of_one_kind_share_a_plot_and_others_have_their_own():
    figure = curves_figure(
        {
            "train_loss": {1: 1, 2: 0.5},
            "val_loss": {1: 1.1, 2: 0.7},
            "test_acc": {2: 0.9},
            "lr": {1: 0.1, 2: 0.01},
            "train_f1": {1: 0.1, 2: 0.4},
            "val_f1": {1: 0.1, 2: 0.3},
            "grad_norm": {1: -3, 2: 7},
            "empty": {},
        }
    )
    found = {axes.get_ylabel(): len(axes.get_lines()) for axes in figure.axes}
    assert found == {"loss": 2, "accuracy": 1, "f1": 2, "lr": 1, "grad_norm": 1}
    low, high = figure.axes[4].get_ylim()
    assert low < -3 < 7 < high


def test_curves_named_like_a_split_or_alike_are_all_drawn():
    figure = curves_figure(
        {"train": {1: 3}, "acc": {1: 0.5}, "train_acc": {1: 0.6}, "val_accuracy": {1: 0.7}}
    )
    found = [(axes.get_ylabel(), len(axes.get_lines())) for axes in figure.axes]
    assert sorted(found) == [("accuracy", 1), ("accuracy", 2), ("train", 1)]
