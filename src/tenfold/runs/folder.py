"""The folder of a run: its files, its lock, and reading and writing them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

import filelock

from tenfold.data.folders.walking import CHECKPOINTS, FACTS, LOCK, METRICS, MODEL, RECIPE, SEEDS
from tenfold.errors import (
    FileRefusedError,
    FileUnreadableError,
    StorageError,
    UsageError,
    nearest,
    printable,
    reason_of,
    shell_quoted,
    shell_word,
)
from tenfold.models.own_files import CodeFile
from tenfold.paths import exists, found_at, is_file, is_folder
from tenfold.runs.facts import PUT_BACK, RunFacts, parse_facts
from tenfold.storage import (
    absolute,
    append_text,
    checked,
    flush,
    make_folder,
    read_text,
    remove_leftovers,
    write_json,
    write_text,
)
from tenfold.training.history import EpochMetrics

REPORT, FIGURES, PREDICTIONS = "report.html", "report.json", "predictions.csv"
"""The report of a run that has ended: its page, its figures, and the answers for each image."""

NETWORK, PIECE_OF_CODE = "network.py", "network.txt"
"""The code of a network of the user's own, to be read: its file, or a piece of code, such as one of
a notebook, which does not run alone."""

MADE_OF_MODEL = ("model.onnx", "model.pt2", "model.pth", "model.py", "pictures", "explained")
"""What `tenfold export`, `show` and `explain` write by default, of the weights at that time."""

MAX_TEXT_SIZE = 64 * 2**20
"""Maximum size of a text file in a run folder, in bytes."""

LOCK_TIMEOUT = 0.2
"""Seconds to wait for a run's lock: a process that only checks the lock holds it briefly."""

_WAYS_TO_LOCK = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EMFILE: "close other files, or raise the limit on open files",
    errno.ENFILE: "close other files, or raise the limit on open files",
    **dict.fromkeys(
        (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP), "move the run to another file system"
    ),
    **dict.fromkeys((errno.ESTALE, errno.ETIMEDOUT, errno.EBUSY, errno.EAGAIN), "try again later"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "make it writable"),
}
"""By error number, what to do if a folder cannot be locked."""


class RunFolder:
    """The paths of one run; they do not change with the working directory.

    Args:
        path: the run's folder; messages show it as given here.
    """

    def __init__(self, path: Path) -> None:
        self._name = path
        self.path = absolute(path)
        self.recipe = self.path / RECIPE
        self.facts = self.path / FACTS
        self.metrics = self.path / METRICS
        self.checkpoints = self.path / CHECKPOINTS
        self.best = self.checkpoints / "best.safetensors"
        self.model = self.path / MODEL
        self.report = self.path / REPORT
        self.figures = self.path / FIGURES
        self.predictions = self.path / PREDICTIONS
        self.network = self.path / NETWORK
        self.piece_of_code = self.path / PIECE_OF_CODE

    def __str__(self) -> str:
        return printable(self._name)

    def command(self, name: str, *arguments: str) -> str:
        """A tenfold command for this run, quoted for a shell."""
        words = [shell_word(self._name), *map(shell_quoted, arguments)]
        return " ".join(["tenfold", name, *words])

    def keep_code(self, code: CodeFile) -> None:
        """Write the code of the network; other code of earlier sessions stays beside it.

        Raises:
            StorageError: it cannot be written.
        """
        place = self.network if code.name else self.piece_of_code
        with suppress(FileRefusedError):
            before = read_text(place, MAX_TEXT_SIZE)
            if before == code.source:
                return
            earlier = (place.with_stem(f"{place.stem}-{n}") for n in count(1))
            write_text(next(path for path in earlier if not exists(path)), before)
        write_text(place, code.source)

    def read_text(self, path: Path, remedy: str = PUT_BACK) -> str:
        """The text of one of the run's files.

        Args:
            path: the file.
            remedy: what to do if it cannot be read.

        Raises:
            FileRefusedError: it is missing, unreadable, too large or not text.
        """
        try:
            return read_text(path, MAX_TEXT_SIZE)
        except FileUnreadableError:
            raise
        except FileRefusedError as error:
            raise FileRefusedError(error.message, remedy=remedy) from error

    def read_json(self, path: Path) -> object:
        """The value in one of the run's JSON files.

        Raises:
            FileRefusedError: it is missing, unreadable, too large or not JSON.
        """
        return _from_json(self.read_text(path), path, PUT_BACK)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the run against other writers inside the block; the lock ends with its process.

        Raises:
            FileRefusedError: another process is writing it.
        """
        try:
            held = filelock.FileLock(self.path / LOCK).acquire(timeout=LOCK_TIMEOUT)
        except filelock.Timeout as error:
            raise FileRefusedError(
                f"{self}: another process is writing this run", remedy="wait for it or stop it"
            ) from error
        except NotImplementedError as error:
            raise StorageError(
                f"{self}: the folder cannot be locked: its file system has no locks",
                remedy="move the run to another file system",
            ) from error
        except OSError as error:
            raise StorageError(
                f"{self}: the folder cannot be locked: {reason_of(error)}",
                remedy=_WAYS_TO_LOCK.get(error.errno or 0, ""),
            ) from error
        with held:
            self._require_own_checkpoints()
            yield

    def _require_own_checkpoints(self) -> None:
        """Refuse a link in the place of the folder of checkpoints: old ones are removed there.

        Raises:
            FileRefusedError: it is one.
        """
        if self.checkpoints.is_symlink():
            raise FileRefusedError(
                f"{self.checkpoints}: this is a link to another folder, wanted a folder",
                remedy="move that folder here, or the whole run there",
            )

    def is_being_written(self) -> bool:
        """Whether a process holds the run's lock; True if that cannot be determined."""
        try:
            return _is_locked(self.path / LOCK)
        except FileNotFoundError:
            return False
        except (OSError, NotImplementedError):
            return True

    def clean(self) -> None:
        """Remove files that a killed writer left half-written; call it with the run locked."""
        for folder in (self.path, self.checkpoints):
            remove_leftovers(folder)

    def write_facts(self, facts: RunFacts) -> None:
        """Write `run.json`."""
        write_json(self.facts, facts.model_dump(mode="json"))

    def read_facts(self) -> RunFacts:
        """The contents of `run.json`.

        Raises:
            FileRefusedError: it is missing or damaged.
            NewerFormatError: a newer tenfold wrote it.
        """
        return parse_facts(self.read_json(self.facts), self.facts)

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        """Write `metrics.jsonl`, one line per epoch."""
        write_text(self.metrics, "".join(map(_line_of, history)))

    def add_metrics(self, metrics: EpochMetrics) -> None:
        """Add an epoch's line to `metrics.jsonl`; if the machine crashes, the line may be lost."""
        append_text(self.metrics, _line_of(metrics))

    def flush_metrics(self) -> None:
        """Flush `metrics.jsonl` to disk, so that it has the epochs of files written after it."""
        flush(self.metrics)

    def read_history(self, facts: RunFacts) -> list[EpochMetrics]:
        """The contents of `metrics.jsonl`; empty before the first epoch has ended.

        For a run that has not ended, a last line that is damaged is left out: the process or the
        machine may have died while it was written.

        Raises:
            FileRefusedError: it is damaged, or not the one that the run ended with.
        """
        if not facts.has_ended and not exists(self.metrics):
            return []
        remedy = f"write it again with: {self.command('resume')}"
        text = self.read_text(self.metrics, remedy)
        if facts.digests.get(self.metrics.name, sha256_of(text)) != sha256_of(text):
            raise FileRefusedError(
                f"{self.metrics}: this is not the history that the run ended with", remedy=remedy
            )
        history: list[EpochMetrics] = []
        lines = text.splitlines()
        for number, line in enumerate(lines, start=1):
            place = f"{self.metrics}: line {number} is damaged"
            try:
                values = _from_json(line, place, remedy)
                history.append(checked(EpochMetrics, values, place, remedy=remedy))
            except FileRefusedError:
                if facts.has_ended or number < len(lines):
                    raise
        return history

    def digests(self, facts: RunFacts, *, model: str) -> dict[str, str]:
        """SHA-256 of the files of a run that has ended, by file name.

        Args:
            facts: what `run.json` will have, besides these digests.
            model: the digest of the bundle's contents.
        """
        texts = {path.name: sha256_of(self.read_text(path)) for path in (self.metrics, self.recipe)}
        return {self.model.name: model, **texts, self.facts.name: facts.sha256_of_results}

    def require_own_results(self, facts: RunFacts) -> None:
        """Refuse results in `run.json` that are not those that the run ended with.

        Raises:
            FileRefusedError: they are from another run, or have been changed.
        """
        found = facts.sha256_of_results
        if facts.digests.get(self.facts.name, found) != found:
            raise FileRefusedError(
                f"{self.facts}: these are not the results that the run ended with",
                remedy=f"write them again with: {self.command('resume')}",
            )


if sys.platform == "win32":

    def _is_locked(path: Path) -> bool:
        """Whether a process holds a lock file."""
        if not exists(path):
            return False
        try:
            with filelock.FileLock(path).acquire(timeout=0):
                return False
        except filelock.Timeout:
            return True

else:
    import fcntl

    def _is_locked(path: Path) -> bool:
        """Whether a process holds a lock file.

        It needs only permission to read, and does not see other processes that call it.
        """
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(file)
        return False


def _line_of(metrics: EpochMetrics) -> str:
    return f"{json.dumps(metrics.model_dump(), allow_nan=False)}\n"


def _from_json(text: str, place: str | Path, remedy: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileRefusedError(f"{place}: not JSON", remedy=remedy) from error


def sha256_of(text: str) -> str:
    """The SHA-256 of a text, the same for Unix and Windows line endings."""
    unix = text.replace("\r\n", "\n")
    return hashlib.sha256(unix.encode(errors="surrogatepass")).hexdigest()


def existing_run(path: Path) -> RunFolder:
    """The run in a folder.

    Raises:
        FileRefusedError: not a run folder; or that of a group of runs.
    """
    folder = RunFolder(path)
    if not is_file(folder.facts):
        if is_folder(folder.checkpoints):
            raise FileRefusedError(f"{folder.facts}: {found_at(folder.facts)}", remedy=PUT_BACK)
        refuse_group(path)
        found = "not a run folder" if exists(path) else "no such folder"
        raise FileRefusedError(
            f"{folder}: {found}",
            remedy=similar_run(path) or "name a folder that tenfold train has made",
        )
    return folder


def similar_run(path: Path) -> str:
    """The remedy for a path where nothing is: a run of a similar name beside it; empty if none."""
    if exists(path):
        return ""
    others = [each.parent.name for each in path.parent.glob(f"*/{FACTS}")]
    similar = nearest(path.name, sorted(others))
    return f"did you mean {str(path.parent / similar)!r}?" if similar else ""


def refuse_group(path: Path) -> None:
    """Refuse the folder of a group of runs, where a single run is wanted.

    Raises:
        FileRefusedError: it is one.
    """
    if not is_file(path / SEEDS):
        return
    runs = sorted(name.parent for name in path.glob(f"*/{FACTS}"))
    raise FileRefusedError(
        f"{printable(path)}: this is a group of runs with different seeds, wanted a single run",
        remedy=f"name one of them, such as {shell_word(runs[0])}"
        if runs
        else f"continue it with: {RunFolder(path).command('resume')}",
    )


def new_run(out: Path | None, data: str, model: str) -> RunFolder:
    """A new, empty folder for a run: `out`, or the next `runs/<data>-<model>-NNN`.

    Raises:
        UsageError, StorageError: see `new_folder`.
    """
    name = plain_name(model.rpartition(":")[2]).lower()
    return RunFolder(new_folder(out, f"{plain_name(data)}-{name}"))


def new_folder(out: Path | None, stem: str, parent: Path = Path("runs")) -> Path:
    """A new, empty folder: `out`, or the next `<parent>/<stem>-NNN`.

    Raises:
        UsageError: `out` exists and is not empty.
        StorageError: the folder cannot be created.
    """
    if out is not None:
        require_new(RunFolder(out))
        make_folder(out)
        return out
    make_folder(parent)
    names = (re.fullmatch(re.escape(stem) + r"-(\d{3,9})", path.name) for path in parent.iterdir())
    number = 1 + max((int(name[1]) for name in names if name), default=0)
    while not make_folder(parent / f"{stem}-{number:03d}"):  # another process may have taken it
        number += 1
    return parent / f"{stem}-{number:03d}"


def require_new(folder: RunFolder) -> None:
    """Require an empty or missing folder; check again once it is locked.

    Raises:
        UsageError: the path is in use.
    """
    path = folder.path
    there = exists(path)
    if there and (not is_folder(path) or _holds_something(path)):
        remedy = "choose another folder"
        if is_file(folder.facts):
            remedy += f", or continue the run in it with: {folder.command('resume')}"
        elif is_file(path / SEEDS):
            remedy += f", or continue the runs in it with: {folder.command('resume')}"
        raise UsageError(f"{folder}: already exists and is not an empty folder", remedy=remedy)


def _holds_something(folder: Path) -> bool:
    """Whether there is more than a writer leaves behind if killed before the run began."""
    names = {path.name for path in folder.iterdir()}
    ours = {RECIPE} if LOCK in names else set()
    return any(name not in ours and not name.startswith(".") for name in names)


_LONGEST = 120
"""Bytes of a data set's name in that of a folder, which more is added to."""


def plain_name(data: str) -> str:
    """The last part of a data set's name, made safe for a folder name."""
    name = Path(data).name
    for suffix in (".tar.gz", ".tar.xz", ".tar.bz2", ".tgz", ".tar", ".zip", ".npz"):
        name = name.removesuffix(suffix)
    kept = "".join(each if _is_plain(each) else " " for each in unicodedata.normalize("NFC", name))
    shortened = "-".join(kept.split()).encode()[:_LONGEST].decode(errors="ignore")
    return shortened.strip("-.") or "data"


def _is_plain(character: str) -> bool:
    """Whether it is a letter, with its marks, or a digit of any script, or one of `._-`."""
    return character in "._-" or unicodedata.category(character)[0] in "LMN"
