"""The runs below a folder, by their `run.json`. Importing this does not import PyTorch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.data.folders.walking import CHECKPOINTS, FACTS, METRICS, SEEDS
from tenfold.errors import FileRefusedError, UsageError, printable
from tenfold.paths import exists, is_folder
from tenfold.runs.facts import RunFacts
from tenfold.runs.folder import RunFolder
from tenfold.runs.run import status_of
from tenfold.storage import absolute

DEEPEST = 3
"""How many folders below the one that is listed a run may lie: `runs/GROUP/seed-0` has three."""


@dataclass(frozen=True)
class ListedRun:
    """What a list says of a run.

    Attributes:
        name: its path from the folder that is listed.
        path: its absolute path.
        created: when it began, in ISO 8601.
        data: the name or path of its data.
        model: the name of its model.
        status: see `Run.status`.
        epochs_done: finished epochs.
        epochs: that it has, or will have.
        figures: the final figures by name; empty until it has ended.
    """

    name: str
    path: Path
    created: str
    data: str
    model: str
    status: str
    epochs_done: int
    epochs: int
    figures: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        kept = ("val_acc", "test_acc", "test_interval", "n_test", "seconds")
        return {
            "name": self.name,
            "run": str(self.path),
            "created": self.created,
            "data": self.data,
            "model": self.model,
            "status": self.status,
            "epochs_done": self.epochs_done,
            "epochs": self.epochs,
            **{key: self.figures.get(key) for key in kept},
        }


@dataclass(frozen=True)
class Listing:
    """The runs below a folder.

    Attributes:
        folder: that was looked through, absolute.
        runs: the newest last.
        problems: what is wrong with others, by name.
    """

    folder: Path
    runs: tuple[ListedRun, ...]
    problems: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        return {
            "folder": str(self.folder),
            "runs": [run.to_dict() for run in self.runs],
            "problems": self.problems,
        }


def list_runs(folder: Path) -> Listing:
    """The runs in a folder and in the folders below it; or the run itself, if it is one.

    A folder that looks like that of a run, but cannot be read as one, is among the problems; so are
    figures that are not those that a run ended with.

    Args:
        folder: to look through.

    Raises:
        UsageError: there is no such folder.
    """
    if not is_folder(folder):
        found = "this is a file" if exists(folder) else "no such folder"
        raise UsageError(
            f"{printable(folder)}: {found}", remedy="name a folder that has runs in it"
        )
    root = absolute(folder)
    runs, problems = list[ListedRun](), dict[str, str]()
    for path in _run_folders(root, DEEPEST):
        name = printable(path.relative_to(root)) if path != root else printable(root.name)
        run = RunFolder(path)
        try:
            facts = run.read_facts()
            runs.append(_listed(name, run, facts, problems))
        except FileRefusedError as error:
            problems[name] = error.message
    runs.sort(key=lambda run: (run.created, run.name))
    return Listing(root, tuple(runs), problems)


def _listed(name: str, run: RunFolder, facts: RunFacts, problems: dict[str, str]) -> ListedRun:
    figures = {} if facts.figures is None else facts.figures.to_dict()
    try:
        run.require_own_results(facts)
    except FileRefusedError as error:
        problems[name], figures = error.message, {}
    recipe = facts.context.recipe
    epochs = recipe.get("epochs")
    return ListedRun(
        name=name,
        path=run.path,
        created=facts.created,
        data=facts.data.source,
        model=str(recipe.get("model", "")),
        status=status_of(run, facts),
        epochs_done=facts.figures.epochs if facts.figures is not None else _lines(run.metrics),
        epochs=epochs if isinstance(epochs, int) else 0,
        figures=figures,
    )


def _lines(path: Path) -> int:
    """The number of whole lines in a file; 0 if there is none."""
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _run_folders(folder: Path, deepest: int, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Folders that are, or look like, those of runs; none inside of another.

    Args:
        folder: to look through.
        deepest: how many folders below it a run may lie.
        above: the folders on the way here, without links; no link that leads back there is
            followed.
    """
    try:
        with os.scandir(folder) as listed:
            entries = {entry.name: entry for entry in listed}
    except OSError:  # such as of another user: whatever it has, it is no run of ours
        return
    if FACTS in entries or (METRICS in entries and CHECKPOINTS in entries and SEEDS not in entries):
        yield folder
    elif deepest:
        here = (*above, Path(os.path.realpath(folder)))
        for name, entry in sorted(entries.items()):
            if not name.startswith(".") and _is_folder(entry) and not _leads_back(entry, here):
                yield from _run_folders(folder / name, deepest - 1, here)


def _leads_back(entry: os.DirEntry[str], here: Sequence[Path]) -> bool:
    """Whether an entry is a link to a folder that has one of these in it, or is one."""
    if not entry.is_symlink():
        return False
    target = Path(os.path.realpath(entry.path))
    return any(each.is_relative_to(target) for each in here)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a loop
        return False
