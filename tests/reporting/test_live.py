"""The live plot: the contents of its file, its cost, and its failures."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.figure import Figure
from typer.testing import CliRunner

import tenfold
from tenfold import scratch
from tenfold.cli import app
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.errors import UsageError
from tenfold.reporting import live
from tenfold.reporting.live import LivePlot, in_notebook, show_figure
from tenfold.reporting.plots import Curves, curves_figure, history_curves
from tenfold.reporting.style import figure_bytes
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Watcher


def stripes(n: int, split: str) -> ImageDataset:
    """Pictures of vertical and horizontal stripes, with noise."""
    draw = torch.Generator().manual_seed(len(split))
    labels = torch.arange(n) % 2
    images = torch.randint(0, 100, (n, 1, 8, 8), generator=draw, dtype=torch.uint8)
    images[labels == 0, :, ::2] += 120
    images[labels == 1, :, :, ::2] += 120
    return ImageDataset(images, labels, ("lying", "upright"), split=split, source="stripes")


@pytest.fixture
def data() -> Splits:
    return Splits(stripes(64, "train"), stripes(32, "val"), stripes(32, "test"))


class Notes(Watcher):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def train(data: Splits, out: Path, **arguments: object) -> tenfold.Run:
    given = {"model": "softmax", "epochs": 3, "batch_size": 32, "threads": 1, "device": "cpu"}
    return tenfold.train(data, out=out, **{**given, "watcher": Watcher(), **arguments})


def png(curves: Curves, epochs: int | None = None) -> bytes:
    return figure_bytes(curves_figure(curves, epochs=epochs), "png")


def metrics(epoch: int) -> EpochMetrics:
    return EpochMetrics(
        epoch=epoch,
        train_loss=1 / epoch,
        train_acc=0.5,
        val_loss=None,
        val_acc=None,
        lr=0.1,
        seconds=1.0,
    )


class TestByHand:
    def test_the_last_of_the_epochs_is_in_the_file(self, tmp_path: Path) -> None:
        plot = LivePlot(tmp_path / "new" / "a.png", epochs=3)
        for epoch in (1, 2, 3):
            plot.add(epoch, train_loss=1 / epoch, train_acc=epoch / 4, test_acc=0.5)
        assert (tmp_path / "new" / "a.png").read_bytes() == png(
            {
                "train_loss": {1: 1, 2: 1 / 2, 3: 1 / 3},
                "train_acc": {1: 0.25, 2: 0.5, 3: 0.75},
                "test_acc": {1: 0.5, 2: 0.5, 3: 0.5},
            }
        )

    def test_draw_brings_the_file_up_to_date(self, tmp_path: Path) -> None:
        plot = LivePlot(tmp_path / "a.png")
        plot.add(1, train_loss=2)
        plot.add(2, train_loss=1)
        plot.draw()
        assert (tmp_path / "a.png").read_bytes() == png({"train_loss": {1: 2, 2: 1}})

    def test_figures_of_one_epoch_may_come_one_by_one_and_between_epochs(
        self, tmp_path: Path
    ) -> None:
        plot = LivePlot(tmp_path / "a.png")
        plot.add(0.5, train_loss=2)
        plot.add(1, train_loss=1)
        plot.add(1, test_acc=0.5)
        plot.draw()
        assert (tmp_path / "a.png").read_bytes() == png(
            {"train_loss": {0.5: 2, 1: 1}, "test_acc": {1: 0.5}}
        )

    def test_any_curve_is_drawn(self, tmp_path: Path) -> None:
        plot = LivePlot(tmp_path / "a.png")
        for epoch in (1, 2):
            plot.add(epoch, train_loss=1 / epoch, lr=0.1 / epoch, val_f1=0.2 * epoch, train_f1=None)
        plot.draw()
        assert (tmp_path / "a.png").read_bytes() == png(
            {"train_loss": {1: 1, 2: 0.5}, "lr": {1: 0.1, 2: 0.05}, "val_f1": {1: 0.2, 2: 0.4}}
        )

    def test_tensors_are_numbers_even_with_gradients(self, tmp_path: Path) -> None:
        plot = LivePlot(tmp_path / "a.png")
        plot.add(
            1, train_loss=torch.tensor(0.5, requires_grad=True), train_acc=torch.tensor([[0.25]])
        )
        assert (tmp_path / "a.png").read_bytes() == png(
            {"train_loss": {1: 0.5}, "train_acc": {1: 0.25}}
        )

    def test_an_earlier_epoch_starts_a_new_plot(self, tmp_path: Path) -> None:
        plot = LivePlot(tmp_path / "a.png")
        for epoch, loss in ((1, 5), (2, 4), (1, 3)):
            plot.add(epoch, train_loss=loss)
        plot.draw()
        assert (tmp_path / "a.png").read_bytes() == png({"train_loss": {1: 3}})

    @pytest.mark.parametrize(
        ("figures", "said"),
        [
            ({"test_acc": 87.2}, "test_acc is 87.2, wanted a number in 0..1"),
            ({"train_acc": float("nan")}, "train_acc is nan"),
            ({"train_loss": torch.ones(2)}, "train_loss is tensor.* wanted one number"),
        ],
    )
    def test_wrong_figures_are_refused(self, figures: dict, said: str) -> None:
        with pytest.raises(UsageError, match=said):
            LivePlot().add(1, **figures)

    def test_an_epoch_that_is_not_a_number_is_refused(self) -> None:
        with pytest.raises(UsageError, match="the epoch is nan"):
            LivePlot().add(float("nan"), train_loss=1)

    def test_other_formats_are_refused_before_anything_is_trained(self) -> None:
        with pytest.raises(UsageError, match=r"\.png or \.svg"):
            LivePlot("plot.jpeg")

    def test_without_a_path_it_says_once_where_the_plot_is(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.chdir(tmp_path)
        plot = LivePlot()
        plot.add(1, train_loss=1)
        plot.draw()
        assert (tmp_path / "training.png").is_file()
        captured = capsys.readouterr()
        assert captured.err == f"note: plotting to {Path.cwd() / 'training.png'}\n"
        assert captured.out == ""

    def test_a_postponed_plot_is_drawn_when_the_program_ends(self, tmp_path: Path) -> None:
        code = (
            "from tenfold.notebook import LivePlot\n"
            "plot = LivePlot('a.png')\n"
            "for epoch in range(1, 6): plot.add(epoch, train_loss=epoch)\n"
            "raise SystemExit(7)\n"
        )
        answer = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (answer.returncode, answer.stdout, answer.stderr) == (7, "", "")
        assert (tmp_path / "a.png").read_bytes() == png({"train_loss": {e: e for e in range(1, 6)}})

    def test_it_watches_training_from_scratch(self, tmp_path: Path, data: Splits) -> None:
        weights, bias = scratch.new_parameters(64, 2)
        plot = LivePlot(tmp_path / "a.png", epochs=3)
        history = scratch.train(
            lambda images: scratch.linear(images, weights, bias),
            [(data.train.images, data.train.labels)],
            [(data.test.images, data.test.labels)],
            scratch.cross_entropy,
            3,
            lambda batch_size: scratch.sgd([weights, bias], 0.1, batch_size),
            watch=plot,
        )
        assert (tmp_path / "a.png").read_bytes() == png(
            {
                name: {epoch.epoch: getattr(epoch, name) for epoch in history}
                for name in ("train_loss", "train_acc", "test_acc")
            }
        )


class TestRuns:
    def test_the_plot_is_in_the_runs_folder(self, tmp_path: Path, data: Splits) -> None:
        run = train(data, tmp_path / "run", plot=True)
        drawn = (tmp_path / "run" / "training.png").read_bytes()
        assert drawn == png(history_curves(run.history))

    def test_the_plot_is_where_it_was_requested(self, tmp_path: Path, data: Splits) -> None:
        train(data, tmp_path / "run", plot=tmp_path / "elsewhere.svg")
        assert (tmp_path / "elsewhere.svg").read_bytes().startswith(b"<?xml")
        assert not (tmp_path / "run" / "training.png").exists()

    def test_there_is_no_plot_by_default(self, tmp_path: Path, data: Splits) -> None:
        train(data, tmp_path / "run")
        assert not [*tmp_path.rglob("*.png")]

    def test_another_format_is_refused_before_the_run_starts(
        self, tmp_path: Path, data: Splits
    ) -> None:
        with pytest.raises(UsageError, match=r"\.png or \.svg"):
            train(data, tmp_path / "run", plot="plot.pdf")
        assert not (tmp_path / "run").exists()

    def test_a_resumed_run_also_shows_its_first_epochs(self, tmp_path: Path, data: Splits) -> None:
        train(data, tmp_path / "run", epochs=2)
        run = tenfold.resume(
            tmp_path / "run", epochs=4, data=data, plot=True, watcher=Watcher(), threads=1
        )
        drawn = (tmp_path / "run" / "training.png").read_bytes()
        assert [m.epoch for m in run.history] == [1, 2, 3, 4]
        assert drawn == png(history_curves(run.history))

    def test_the_command_line_also_draws_it(self, tmp_path: Path) -> None:
        out = tmp_path / "run"
        answer = CliRunner().invoke(
            app, ["train", "digits", "--epochs", "1", "--threads", "1", "--plot", "--out", str(out)]
        )
        assert answer.exit_code == 0
        drawn = (out / "training.png").read_bytes()
        assert drawn == png(history_curves(tenfold.open_run(out).history))

    def test_a_run_that_stops_early_is_drawn_to_its_last_epoch(
        self, tmp_path: Path, data: Splits
    ) -> None:
        run = train(data, tmp_path / "run", epochs=50, patience=1, lr=1e-30, plot=True)
        assert run.status == "stopped early"
        assert len(run.history) < 50
        drawn = (tmp_path / "run" / "training.png").read_bytes()
        assert drawn == png(history_curves(run.history))

    def test_the_plot_does_not_change_the_training(self, tmp_path: Path, data: Splits) -> None:
        runs = [train(data, tmp_path / str(plot), plot=plot) for plot in (True, False)]
        with_plot, without = (run.model.bundle.weights for run in runs)
        assert with_plot.keys() == without.keys()
        assert all(with_plot[name].data == without[name].data for name in without)

    def test_one_plot_can_be_used_for_several_runs(self, tmp_path: Path, data: Splits) -> None:
        plot = LivePlot()
        for name in ("one", "two"):
            run = train(data, tmp_path / name, watcher=plot)
            drawn = (tmp_path / name / "training.png").read_bytes()
            assert drawn == png(history_curves(run.history))


class TestCost:
    def test_it_is_drawn_at_most_twice_a_second(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        drawn = []
        monkeypatch.setattr(live, "save_figure", lambda figure, path: drawn.append(path))
        plot = LivePlot(tmp_path / "a.png")
        started = time.perf_counter()
        for epoch in range(1, 301):
            plot.epoch_done(metrics(epoch), 300)
        seconds = time.perf_counter() - started
        assert 2 <= len(drawn) <= 2 + seconds / live.SECONDS_BETWEEN_REDRAWS

    def test_slow_drawing_takes_a_small_share_of_the_time(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [0.0]

        def slowly(figure: object, path: object) -> None:
            clock[0] += 2

        monkeypatch.setattr(live, "save_figure", slowly)
        monkeypatch.setattr(live, "curves_figure", lambda *_, **__: None)
        monkeypatch.setattr(live.time, "perf_counter", lambda: clock[0])
        plot = LivePlot(tmp_path / "a.png")
        for epoch in range(1, 1001):
            clock[0] += 1
            plot.epoch_done(metrics(epoch), 2000)
        drawing = (clock[0] - 1000) / clock[0]
        assert 0.5 * live.SHARE_OF_TIME < drawing < 1.1 * live.SHARE_OF_TIME

    def test_after_a_batch_nothing_is_done(self) -> None:
        assert LivePlot.advanced is Watcher.advanced
        assert LivePlot.every_batches == 0  # it does not make stretches shorter


def test_the_test_curves_of_a_run_are_marked(
    tmp_path: Path, data: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that a person adds are not: nothing is known of what they are used for."""

    def recorded(*arguments: Any, **named: Any) -> Figure:
        labels.append(named["test_label"])
        return curves_figure(*arguments, **named)

    labels: list[str] = []
    monkeypatch.setattr(live, "curves_figure", recorded)
    run = train(data, tmp_path / "run", plot=True, show_test=True)
    assert set(labels) == {"test (not used for choosing)"}
    drawn = (run.folder / "training.png").read_bytes()
    assert drawn == figure_bytes(
        curves_figure(history_curves(run.history), test_label=labels[0]), "png"
    )
    assert {"test_loss", "test_acc"} <= history_curves(run.history).keys()
    labels.clear()
    LivePlot(tmp_path / "a.png").add(1, test_acc=0.5)
    assert labels == ["test"]


class TestFailures:
    def test_an_unwritable_file_is_reported_once_and_the_run_continues(
        self, tmp_path: Path, data: Splits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setattr(live, "SECONDS_BETWEEN_REDRAWS", 0.0)
        notes = Notes()
        run = train(data, tmp_path / "run", plot=tmp_path / "file" / "a.png", watcher=notes)
        assert run.status == "finished"
        said = [note for note in notes.notes if "plot" in note]
        assert len(said) == 1
        assert "training continues without it" in said[0]
        assert str(tmp_path / "file") in said[0]

    def test_any_drawing_failure_is_reported_and_the_run_continues(
        self, tmp_path: Path, data: Splits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("no fonts")

        monkeypatch.setattr(live, "curves_figure", broken)
        notes = Notes()
        run = train(data, tmp_path / "run", plot=True, watcher=notes)
        assert run.status == "finished"
        assert [note for note in notes.notes if "plot" in note] == [
            "the plot could not be drawn, training continues without it: RuntimeError('no fonts')"
        ]

    def test_it_is_drawn_again_once_that_works(self, tmp_path: Path) -> None:
        (tmp_path / "folder").touch()
        told: list[str] = []
        plot = LivePlot(tmp_path / "folder" / "a.png", tell=told.append)
        plot.add(1, train_loss=1)
        assert len(told) == 1
        (tmp_path / "folder").unlink()
        plot.add(2, train_loss=1)
        plot.draw()
        assert (tmp_path / "folder" / "a.png").is_file()


def test_outside_a_notebook_a_figure_needs_a_path(tmp_path: Path) -> None:
    figure = curves_figure({"train_loss": {1: 1}})
    assert not in_notebook()
    with pytest.raises(UsageError, match="not in a notebook"):
        show_figure(figure)
    show_figure(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes() == png({"train_loss": {1: 1}})
