"""Every file that a run writes, at every call of its write, with every error of the system."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kill import state_of
from PIL import Image

from tenfold.data.load import load_splits
from tenfold.errors import StorageError
from tenfold.recipes import Recipe
from tenfold.reporting.live import LivePlot
from tenfold.runs import open_run, resume_run, train_run
from tenfold.runs.resources import Resources
from tenfold.training.watching import Watcher, Watchers
from thoroughness import IS_THOROUGH

ERRORS = [
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EMFILE")
    if hasattr(errno, name)
]
CALLS = ("open", "write", "fsync", "close", "replace")

FILES = {
    "recipe.toml": "recipe",
    "run.json": "facts",
    "metrics.jsonl": "metrics",
    "step-": "checkpoint",
    "best.safetensors": "best weights",
    "model.safetensors": "bundle",
}
"""Files that a run cannot do without, by what their names begin with."""

ONE_WRITE = ["open", "write", "fsync", "close", "replace", "open", "fsync", "close"]
"""The calls of a write: of a file, and then of its folder."""


class Faults:
    """Makes calls on a file fail.

    Attributes:
        name: what the file's name begins with, or with a slash, what is in its path.
        fails: whether a call does, by its place among the calls on the file.
        error: what it fails with.
        calls: those on the file so far.
    """

    def __init__(self, name: str, fails: Callable[[int], bool], error: int) -> None:
        self.name, self.fails, self.error = name, fails, error
        self.calls: list[str] = []
        self._real: dict[str, Callable[..., Any]] = {each: getattr(os, each) for each in CALLS}
        self._open: set[int] = set()
        self._is_written = False  # the file, and its folder after that

    @contextmanager
    def active(self) -> Iterator[None]:
        """Intercept the calls inside the block."""
        try:
            for each in CALLS:
                setattr(os, each, self._wrapped(each))
            yield
        finally:
            for each, function in self._real.items():
                setattr(os, each, function)

    def _wrapped(self, call: str) -> Callable[..., Any]:
        def intercepted(first: Any, *rest: Any, **kwargs: Any) -> Any:
            real = self._real[call]
            if not self._concerns(call, first, rest):
                return real(first, *rest, **kwargs)
            self.calls.append(call)
            if self.fails(len(self.calls) - 1):
                if call == "close":  # as on a network disk: it is closed, and a loss reported
                    self._open.discard(first)
                    real(first)
                raise OSError(self.error, os.strerror(self.error))
            result = real(first, *rest, **kwargs)
            if call == "open":
                self._open.add(result)
            if call == "close":
                self._open.discard(first)
            return result

        return intercepted

    def _concerns(self, call: str, first: Any, rest: tuple[Any, ...]) -> bool:
        if call in ("write", "fsync", "close"):
            return first in self._open
        if call == "open" and rest[0] & (os.O_WRONLY | os.O_RDWR):
            file = Path(first).name.lstrip(".")
            self._is_written = file.startswith(self.name) or (
                "/" in self.name and self.name in str(first) and file != "lock"
            )
        elif call == "open" and not Path(first).is_dir():
            return False
        return self._is_written


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in which the images of a class are alike."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    labels = np.arange(40) % 2
    images = np.random.default_rng(0).integers(0, 100, (40, 4, 4)) + 100 * labels[:, None, None]
    np.savez(path, images=images.astype(np.uint8), labels=labels)
    return path


def pairs(places: list[int]) -> list[tuple[int, int]]:
    """Calls and the errors that they fail with: one each, or with TENFOLD_SOAK=1 all of them."""
    if IS_THOROUGH:
        return list(itertools.product(places, ERRORS))
    return list(zip(places, itertools.cycle(ERRORS)))


def small(data: Path) -> Recipe:
    return Recipe(data=str(data), model="softmax", val=0.25, epochs=2, batch_size=8, lr=0.1)


def trained(data: Path, run: Path, watcher: Watcher | None = None) -> None:
    resources = Resources(threads=1, engine="torch")
    train_run(small(data), out=run, resources=resources, checkpoint_every="2", watcher=watcher)


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    run = tmp_path_factory.mktemp("whole") / "run"
    trained(data, run)
    return state_of(run)


@pytest.mark.parametrize("name", FILES, ids=FILES.get)
def test_each_call_of_a_write_may_fail(
    name: str, data: Path, whole: dict[str, object], tmp_path: Path
) -> None:
    counting = Faults(name, lambda _: False, 0)
    with counting.active():
        trained(data, tmp_path / "counted")
    assert set(counting.calls) >= {"open", "write", "close"}
    places = [*range(len(counting.calls))]
    if len(places) > 2 * len(ONE_WRITE):  # the first write and the last are enough
        last = places[-len(ONE_WRITE) :: 1 if IS_THOROUGH else 2]
        places = [*places[: len(ONE_WRITE)], *last]
    for number, (place, error) in enumerate(pairs(places)):
        run = tmp_path / str(number)
        faults = Faults(name, place.__eq__, error)
        with faults.active(), pytest.raises(StorageError) as caught:
            trained(data, run)
        what = f"{faults.calls[-1]} number {place} with {errno.errorcode[error]}"
        assert os.strerror(error) in str(caught.value), what
        assert str(run) in str(caught.value), what
        assert not list(run.rglob("*.tmp")), what
        if (run / "run.json").exists():
            resume_run(run)
        else:
            trained(data, run)
        assert state_of(run) == whole, what


class Told(Watcher):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_a_plot_that_cannot_be_written_is_told_of_once(
    error: int, data: Path, tmp_path: Path
) -> None:
    told, run = Told(), tmp_path / "run"
    faults = Faults("training.png", lambda place: place >= 1, error)
    with faults.active():
        trained(data, run, Watchers([told, LivePlot(tell=told.note)]))
    assert open_run(run).status == "finished"
    assert [os.strerror(error) in note for note in told.notes].count(True) == 1
    assert not list(run.rglob("*.tmp"))


def test_a_cache_that_cannot_be_written_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    for number in range(20):
        folder = tmp_path / "photos" / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 10 * number).save(folder / f"{number}.png")
    for place, error in pairs([*range(len(ONE_WRITE))]):
        faults, told = Faults("/decoded/", place.__eq__, error), Told()
        with faults.active():
            found = load_splits(tmp_path / "photos", listener=told)
        assert found.splits.train.classes == ("class 0", "class 1")
        assert faults.calls[: place + 1] == ONE_WRITE[: place + 1]
        (note,) = [note for note in told.notes if note.startswith("not cached: ")]
        assert os.strerror(error) in note
        assert [path.name for path in (tmp_path / "cache/decoded").iterdir()] == ["lock"]
