"""The folder of a run: what lies where, who writes it, and what it says about itself."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import filelock

from tenfold.errors import FileRefusedError, StorageError, UsageError, printable
from tenfold.runs.facts import PUT_BACK, RunFacts, parse_facts
from tenfold.storage import (
    absolute,
    checked,
    make_folder,
    read_text,
    remove_leftovers,
    write_json,
    write_text,
)
from tenfold.training.history import EpochMetrics

LARGEST_TEXT = 64 * 2**20
"""Maximum size of a text file in a run folder, in bytes."""

LONGEST_LOOK = 0.2
"""Seconds to wait for a run's lock: whoever only looks whether it is held lets go at once."""

_LOCK = ".lock"


class RunFolder:
    """The paths of one run; they stay the same when the process changes its working directory.

    Args:
        path: the run's folder; messages name it as it is written here.
    """

    def __init__(self, path: Path) -> None:
        self._name = path
        self.path = absolute(path)
        self.recipe = self.path / "recipe.toml"
        self.facts = self.path / "run.json"
        self.metrics = self.path / "metrics.jsonl"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.checkpoints / "best.safetensors"
        self.model = self.path / "model.safetensors"

    def __str__(self) -> str:
        return printable(self._name)

    def command(self, name: str, *arguments: str) -> str:
        """A command of tenfold's for this run, as it is typed into a shell."""
        return printable(shlex.join(["tenfold", name, str(self._name), *arguments]))

    def read_text(self, path: Path, remedy: str = PUT_BACK) -> str:
        """The text of one of the run's files.

        Args:
            path: the file.
            remedy: what to do if it cannot be read.

        Raises:
            FileRefusedError: it is missing, unreadable, too long or not text.
        """
        try:
            return read_text(path, LARGEST_TEXT)
        except FileRefusedError as error:
            raise FileRefusedError(error.message, remedy=remedy) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No other process writes this run inside the block; the lock dies with its holder.

        Raises:
            FileRefusedError: another process is writing it.
        """
        try:
            held = filelock.FileLock(self.path / _LOCK).acquire(timeout=LONGEST_LOOK)
        except filelock.Timeout as error:
            raise FileRefusedError(
                f"{self}: another process is writing this run", remedy="wait for it or stop it"
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or "its file system has no locks"
            raise StorageError(
                f"{self}: the folder cannot be locked: {reason}",
                remedy="choose a folder that can be written",
            ) from error
        with held:
            yield

    def is_being_written(self) -> bool:
        """Whether a process holds the run's lock; True where that cannot be found out."""
        try:
            if not (self.path / _LOCK).exists():
                return False
            with filelock.FileLock(self.path / _LOCK).acquire(timeout=0):
                return False
        except (OSError, NotImplementedError):  # a timeout is an OSError, too
            return True

    def clean(self) -> None:
        """Remove what a killed writer left half-written; only while the run is locked."""
        for folder in (self.path, self.checkpoints):
            remove_leftovers(folder)

    def write_facts(self, facts: RunFacts) -> None:
        """Write `run.json`."""
        write_json(self.facts, facts.model_dump(mode="json"))

    def read_facts(self) -> RunFacts:
        """What `run.json` says.

        Raises:
            FileRefusedError: it is missing or damaged.
            NewerFormatError: a newer tenfold wrote it.
        """
        value = _from_json(self.read_text(self.facts), self.facts, PUT_BACK)
        return parse_facts(value, self.facts)

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        """Write `metrics.jsonl`, one line an epoch."""
        lines = (json.dumps(metrics.model_dump(), allow_nan=False) for metrics in history)
        write_text(self.metrics, "".join(f"{line}\n" for line in lines))

    def read_history(self, facts: RunFacts) -> list[EpochMetrics]:
        """What `metrics.jsonl` says; empty before the first epoch was saved.

        Raises:
            FileRefusedError: it is damaged, or not the one that the run ended with.
        """
        if not facts.has_ended and not self.metrics.exists():
            return []
        remedy = f"write it again with: {self.command('resume')}"
        text = self.read_text(self.metrics, remedy)
        if facts.digests.get(self.metrics.name, sha256_of(text)) != sha256_of(text):
            raise FileRefusedError(
                f"{self.metrics}: this is not the history that the run ended with", remedy=remedy
            )
        history = []
        for number, line in enumerate(text.splitlines(), start=1):
            place = f"{self.metrics}: line {number} is damaged"
            values = _from_json(line, place, remedy)
            history.append(checked(EpochMetrics, values, place, remedy=remedy))
        return history

    def digests(self, *, model: str) -> dict[str, str]:
        """SHA-256 of what belongs to a run that has ended, by file name.

        Args:
            model: the digest of the bundle's contents.
        """
        texts = {path.name: sha256_of(self.read_text(path)) for path in (self.metrics, self.recipe)}
        return {self.model.name: model, **texts}


def _from_json(text: str, place: str | Path, remedy: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileRefusedError(f"{place}: it is not JSON", remedy=remedy) from error


def sha256_of(text: str) -> str:
    """The digest of a text file's contents, whichever line ends an editor has given it."""
    unix = text.replace("\r\n", "\n")
    return hashlib.sha256(unix.encode(errors="surrogatepass")).hexdigest()


def existing_run(path: Path) -> RunFolder:
    """The run in a folder.

    Raises:
        FileRefusedError: there is none.
    """
    folder = RunFolder(path)
    if not folder.facts.is_file():
        found = "not a run folder" if path.exists() else "there is no such folder"
        raise FileRefusedError(
            f"{folder}: {found}", remedy="name a folder that tenfold train has made"
        )
    return folder


def new_run(out: Path | None, data: str, model: str) -> RunFolder:
    """A new, empty folder for a run: `out`, or the next `runs/<data>-<model>-NNN`.

    Raises:
        UsageError, StorageError: see `new_folder`.
    """
    return RunFolder(new_folder(out, f"{_plain(data)}-{model}"))


def new_folder(out: Path | None, stem: str) -> Path:
    """A new, empty folder: `out`, or the next `runs/<stem>-NNN`.

    Raises:
        UsageError: `out` is there and not empty.
        StorageError: the folder cannot be made.
    """
    if out is not None:
        require_new(RunFolder(out))
        make_folder(out)
        return out
    parent = Path("runs")
    make_folder(parent)
    names = (re.fullmatch(re.escape(stem) + r"-(\d{3,9})", path.name) for path in parent.iterdir())
    number = 1 + max((int(name[1]) for name in names if name), default=0)
    while not make_folder(parent / f"{stem}-{number:03d}"):  # another process may be faster
        number += 1
    return parent / f"{stem}-{number:03d}"


def require_new(folder: RunFolder) -> None:
    """Make sure that nobody made a run or anything else of a folder; ask again once it is locked.

    Raises:
        UsageError: somebody did.
    """
    path = folder.path
    if path.exists() and (not path.is_dir() or _holds_something(path)):
        remedy = "choose another folder"
        if folder.facts.is_file():
            remedy += f", or continue the run in it with: {folder.command('resume')}"
        raise UsageError(f"{path}: there is something already", remedy=remedy)


def _holds_something(folder: Path) -> bool:
    """Whether there is more than what a writer leaves that was killed before the run began."""
    names = {path.name for path in folder.iterdir()}
    ours = {"recipe.toml"} if ".lock" in names else set()
    return any(name not in ours and not name.startswith(".") for name in names)


def _plain(data: str) -> str:
    """The last part of a data set's name as part of a folder's name."""
    name = Path(data).name
    for suffix in (".tar.gz", ".tar.xz", ".tar.bz2", ".tgz", ".tar", ".zip", ".npz"):
        name = name.removesuffix(suffix)
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") or "data"
