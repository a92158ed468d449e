"""A person's own function, called after every epoch: it sees all, and ends no run but by Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from kill import state_of

import tenfold as package
from small_groups import small_recipe
from tenfold.errors import InterruptedRunError
from tenfold.runs import Run, open_run
from tenfold.training.checkpoint import checkpoint_files
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Watcher

OnEpoch = Callable[[EpochMetrics], object]


class Notes(Watcher):
    """Keeps the notes and the epochs."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.epochs: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        self.epochs.append(metrics.epoch)


def train(out: Path, on_epoch: OnEpoch | None, **others: object) -> Run:
    given = {"recipe": small_recipe(epochs=3), "threads": 1, "device": "cpu", "report": False}
    return package.train(out=out, on_epoch=on_epoch, **{**given, **others})


def test_it_is_called_with_every_epoch_beside_a_plot_and_a_watcher(tmp_path: Path) -> None:
    seen: list[EpochMetrics] = []
    watcher = Notes()
    run = train(tmp_path / "run", seen.append, watcher=watcher, plot=True)
    assert seen == list(run.history)
    assert watcher.epochs == [1, 2, 3]
    assert (run.folder / "training.png").exists()
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [each.model_dump() for each in seen] == [json.loads(line) for line in lines]


def test_it_is_called_when_nothing_is_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[EpochMetrics] = []
    train(tmp_path / "run", seen.append, quiet=True, show_test=True)
    assert "epoch 1" not in capsys.readouterr().err
    assert [each.epoch for each in seen] == [1, 2, 3]
    assert all(each.test_acc is not None for each in seen)


def test_it_is_called_before_the_epoch_is_saved(tmp_path: Path) -> None:
    newest: list[int] = []

    def look(metrics: EpochMetrics) -> None:
        lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == metrics.epoch
        name = checkpoint_files(tmp_path / "run" / "checkpoints")[0].stem
        newest.append(int(name.removeprefix("step-")))

    run = train(tmp_path / "run", look)
    last = checkpoint_files(run.folder / "checkpoints")[0].stem
    assert newest[0] == 0
    assert newest[-1] < int(last.removeprefix("step-"))


def fails(metrics: EpochMetrics) -> None:
    if metrics.epoch == 2:
        raise ConnectionError("no route to\nhost")


class WithoutWordsError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_is_noted_once_and_the_run_goes_on(tmp_path: Path) -> None:
    """With the bits of any other run."""
    watcher, calls = Notes(), list[int]()

    def counting(metrics: EpochMetrics) -> None:
        calls.append(metrics.epoch)
        fails(metrics)

    run = train(tmp_path / "run", counting, watcher=watcher)
    assert run.status == "finished"
    assert calls == [1, 2]
    (note,) = [note for note in watcher.notes if "on_epoch" in note]
    assert note == (
        "on_epoch: test_an_exception_is_noted_once_and_the_run_goes_on.<locals>.counting failed "
        "after epoch 2 and is not called again, training continues without it: "
        r"ConnectionError: no route to\nhost"
    )
    train(tmp_path / "plain", None, quiet=True)
    assert state_of(run.folder) == state_of(tmp_path / "plain")


def test_an_exception_that_cannot_be_shown_ends_nothing(tmp_path: Path) -> None:
    def raises(_: EpochMetrics) -> None:
        raise WithoutWordsError

    watcher = Notes()
    assert train(tmp_path / "run", raises, watcher=watcher).status == "finished"
    assert "WithoutWordsError" in next(note for note in watcher.notes if "on_epoch" in note)


def test_objects_that_can_be_called_are_named_by_their_type(tmp_path: Path) -> None:
    class Logger:
        def __call__(self, metrics: EpochMetrics) -> None:
            raise ValueError(metrics.epoch)

    watcher = Notes()
    train(tmp_path / "run", Logger(), watcher=watcher)
    assert any(note.startswith("on_epoch: Logger failed after epoch 1") for note in watcher.notes)


def test_keyboard_interrupt_ends_the_run(tmp_path: Path) -> None:
    def interrupts(metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", interrupts, quiet=True)
    assert open_run(tmp_path / "run").status == "crashed"
    seen: list[EpochMetrics] = []
    run = package.resume(tmp_path / "run", on_epoch=seen.append, report=False, quiet=True)
    assert run.status == "finished"
    assert seen == list(run.history)[-len(seen) :]
    assert seen[0].epoch <= 2 < 3 == seen[-1].epoch


def test_a_signal_while_it_runs_saves_and_stops(tmp_path: Path) -> None:
    def interrupted(metrics: EpochMetrics) -> None:
        if metrics.epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(InterruptedRunError, match="stopped and saved after epoch 2"):
        train(tmp_path / "run", interrupted, quiet=True)
    seen: list[EpochMetrics] = []
    package.resume(tmp_path / "run", on_epoch=seen.append, report=False, quiet=True)
    assert [each.epoch for each in seen] == [3]


def test_it_follows_all_runs_of_a_group(tmp_path: Path) -> None:
    seen: list[EpochMetrics] = []
    given = {"report": False, "quiet": True, "on_epoch": seen.append}
    others = {"recipe": small_recipe(), "out": tmp_path / "group", "threads": 1}
    group = package.train_seeds(seeds=2, **others, **given)
    assert seen == [metrics for run in group.runs for metrics in run.history]
    for file in sorted((tmp_path / "group" / "seed-1").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    seen.clear()
    again = package.resume_seeds(group, **given)
    assert seen == list(again.runs[1].history)


def test_anything_but_a_function_is_refused_before_training(tmp_path: Path) -> None:
    """In a process of its own, where types are not checked while it runs."""
    code = "import tenfold; tenfold.train('digits', out='run', on_epoch='print')"
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert answer.stderr.splitlines()[-1] == (
        "tenfold.errors.UsageError: on_epoch is of type str, wanted a function that takes the "
        "metrics of an epoch; give one, such as on_epoch=print"
    )
    assert not (tmp_path / "run").exists()
    assert train(tmp_path / "run", print, quiet=True).status == "finished"
