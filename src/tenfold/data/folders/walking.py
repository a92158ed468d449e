"""The files and folders below a directory, without the runs that were trained in it.

`tenfold train .` puts the run's folder into that of the data. The data must stay the same, so
everything that belongs to a run is passed over, and so are the folders of checks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tenfold.data.files.reading import unreadable
from tenfold.data.folders.members import Parts, is_hidden
from tenfold.errors import DataError

FACTS, RECIPE, LOCK = "run.json", "recipe.toml", ".lock"
"""The files that every run's folder has."""

METRICS, CHECKPOINTS, MODEL = "metrics.jsonl", "checkpoints", "model.safetensors"
"""What a run's folder has later."""

SEEDS = "seeds.json"
"""The file in the folder of a group: of runs that differ only in their seeds."""

FINDINGS = frozenset({"findings.csv", "findings.json", "check.html"})
"""The files in the folder of a check."""

PICTURES_MARK = ".tenfold-pictures"
"""The file that says that pictures beside it were drawn from data, and are none."""

_BESIDE_RUNS = frozenset({"reproduction.json", "reproduction.md", SEEDS})

Found = tuple[Parts, os.DirEntry[str]]
"""An entry, and its name relative to the directory."""


def walk(root: Path) -> Iterator[Found]:
    """Every entry below a directory: a folder, its files in order, then its folders in turn.

    Links are not followed. Left out are the folders of runs and checks, links to them, and folders
    that contain nothing else.

    Raises:
        DataError: a folder cannot be read.
    """
    entries = _listed(root)
    files, folders = _sorted_out((), entries)
    yield from files
    pending = folders[::-1]
    held: list[tuple[Parts, list[Found]]] = []  # outermost first; yielded if one has more than runs
    while pending:
        parts, folder = pending.pop()
        while held and held[-1][0] != parts[: len(held[-1][0])]:
            held.pop()
        entries = _listed(folder)
        if _are_of_a_run(entries):
            continue
        files, folders = _sorted_out(parts, entries)
        pending += folders[::-1]
        found = [(parts, folder), *files]
        if not is_hidden(parts):
            if _may_hold_only_runs(entries, files, folders):
                held.append((parts, found))
                continue
            for _, outer in held:
                yield from outer
            held.clear()
        elif held:  # nor does a hidden folder beside runs count
            held[-1][1].extend(found)
            continue
        yield from found


def _listed(folder: Path | os.DirEntry[str]) -> list[os.DirEntry[str]]:
    path = os.fspath(folder)
    try:
        with os.scandir(path) as listed:
            return sorted(listed, key=lambda entry: entry.name)
    except OSError as error:
        raise unreadable(path, error) from error


def _sorted_out(
    parts: Parts, entries: Sequence[os.DirEntry[str]]
) -> tuple[list[Found], list[Found]]:
    """The files and links in a folder, without links to runs; and the folders."""
    files: list[Found] = []
    folders: list[Found] = []
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            folders.append(((*parts, entry.name), entry))
        elif not _is_link_to_a_run(entry):
            files.append(((*parts, entry.name), entry))
    return files, folders


def _are_of_a_run(entries: Sequence[os.DirEntry[str]]) -> bool:
    """Whether these are the contents of a run's folder, even of a run or group that is beginning.

    Or those of a check, or pictures that were drawn from data.
    """
    if any(entry.name == PICTURES_MARK for entry in entries):
        return True
    shown = [entry for entry in entries if not is_hidden((entry.name,))]
    of_check = {entry.name for entry in shown}
    if of_check <= FINDINGS and of_check & {"findings.json", "check.html"}:
        return all(map(_is_file, shown))
    names = {entry.name for entry in entries if entry.name in (FACTS, RECIPE, LOCK)}
    if FACTS in names:
        others = {e.name for e in entries if not e.name.startswith(".")} - names
        has_begun = bool(others & {METRICS, CHECKPOINTS, MODEL}) or not others
        return has_begun and len(names) > 1 and all(_is_file(e) for e in entries if e.name in names)
    begun = (RECIPE, SEEDS)
    return LOCK in names and all(e.name in begun or e.name.startswith(".") for e in entries)


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # a link in a loop, or into a folder that may not be entered
        return False


def _is_link_to_a_run(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir() and _are_of_a_run(_listed(entry))
    except (OSError, DataError):  # whoever wants to read it will report the error
        return False


def _may_hold_only_runs(
    entries: Sequence[os.DirEntry[str]], files: Sequence[Found], folders: Sequence[Found]
) -> bool:
    """Whether a folder has folders or links to runs, and next to them only what is with runs."""
    has_more = any(not is_hidden(parts) and parts[-1] not in _BESIDE_RUNS for parts, _ in files)
    has_links_to_runs = len(files) + len(folders) < len(entries)
    return not has_more and (has_links_to_runs or any(not is_hidden(parts) for parts, _ in folders))
