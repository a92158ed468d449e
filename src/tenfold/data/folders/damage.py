"""Files that cannot be read: named, grouped by reason, and listed."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tenfold.errors import (
    DataError,
    StorageError,
    TenfoldError,
    counted,
    encodable,
    listing,
    printable,
)
from tenfold.storage import cache_folder, make_folder, write_text

MOST_NAMED = 20
"""Bad files that a message names; more are listed in a file."""

_DETAILS = (
    (re.compile(r": it (?:is text that )?starts with .*"), ""),
    (re.compile(r" \([^()]*\bbytes?\b[^()]*\)"), ""),
    (re.compile(r" for file '.*'"), ""),
    (re.compile(r"^cannot be read: "), ""),
    (re.compile(r"declares \d+x\d+ pixels, over the limit of"), "has more pixels than"),
    (re.compile(r"has [\d,]+ bytes or more, over the limit of"), "has more bytes than"),
)
"""What differs between the reasons of files with the same fault, and what is said instead."""

_SAID_ONCE = ("replace or remove the file", "scale it down", "scale the image down or remove it")
"""Remedies of single files that the one for all of them contains."""


class BadFilesError(DataError):
    """Images that cannot be read.

    Args:
        message: what is wrong, with the names of the first.
        remedy: what to do.
        bad_files: the reason for each, by name.
    """

    def __init__(self, message: str, *, remedy: str, bad_files: Mapping[str, str]) -> None:
        super().__init__(message, remedy=remedy)
        self.bad_files = dict(bad_files)


def refuse(
    path: Path, bad_files: Mapping[str, str], images: int, *, skipping: bool = False
) -> BadFilesError:
    """The error for images that cannot be read; more than `MOST_NAMED` are listed in a file.

    Args:
        path: the directory or archive.
        bad_files: the reason for each, by name.
        images: how many images there are in all.
        skipping: whether they were to be left out, and nothing else is there.
    """
    remedy = f"replace or remove {'it' if len(bad_files) == 1 else 'them'}"
    remedy += (
        ""
        if skipping
        else ", or leave out what is bad: tenfold data, train and evaluate have --skip-bad, in "
        "Python skip_bad=True"
    )
    return _error(list(bad_files.items()), images, str(path), str(path), remedy)


def left_out_note(path: Path, bad_files: Mapping[str, str]) -> str:
    """A note on images that were left out; more than `MOST_NAMED` are listed in a file."""
    listed = ""
    if len(bad_files) > MOST_NAMED:
        with suppress(StorageError, OSError):
            listed = f"; all are listed in {_listed(f'{path}, left out', list(bad_files.items()))}"
    return (
        f"left out {counted(len(bad_files), 'image')} that cannot be read: "
        f"{by_reason(bad_files.items())}{listed}"
    )


def refuse_some(bad_files: Sequence[tuple[str, str]], images: int, work: str) -> BadFilesError:
    """The error at the end of work that went on past images that cannot be read.

    Args:
        bad_files: the name of each, and the reason.
        images: how many images there were in all.
        work: what tells it from other work.
    """
    return _error(bad_files, images, work, "", "")


def _error(
    bad_files: Sequence[tuple[str, str]], images: int, work: str, place: str, remedy: str
) -> BadFilesError:
    if len(bad_files) > MOST_NAMED:
        with suppress(StorageError, OSError):
            listed = f"all are listed in {_listed(work, bad_files)}"
            remedy = f"{listed}; {remedy}" if remedy else listed
    found = (
        f"{len(bad_files):,} of {counted(images, 'image')} cannot be read: {by_reason(bad_files)}"
    )
    message = f"{place}: {found}" if place else found
    return BadFilesError(message, remedy=remedy, bad_files=dict(bad_files))


def by_reason(bad_files: Iterable[tuple[str, str]]) -> str:
    """The first `MOST_NAMED` names, by what is wrong with them; the commonest reason first."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, reason in bad_files:
        groups.setdefault(_without_details(reason), []).append((name, reason))
    left, others, parts = MOST_NAMED, 0, []
    for reason, files in sorted(groups.items(), key=lambda group: -len(group[1])):
        shown = min(left, len(files))
        left -= shown
        if shown:
            said = files[0][1] if len(files) == 1 else reason
            parts.append(f"{said}: {listing([name for name, _ in files], shown)}")
        else:
            others += len(files)
    if others:
        parts.append(f"and {others:,} more for other reasons")
    return "; ".join(parts)


def _without_details(reason: str) -> str:
    for details, instead in _DETAILS:
        reason = details.sub(instead, reason)
    return reason


def reason_of(error: TenfoldError, name: str) -> str:
    """What an error says about a file, without the file's name, and what to do with it."""
    _, _, after = error.message.partition(f"{printable(name)}: ")
    reason = after or error.message
    return f"{reason} ({error.remedy})" if error.remedy not in ("", *_SAID_ONCE) else reason


def _listed(work: str, bad_files: Sequence[tuple[str, str]]) -> Path:
    """A file in the cache that lists them."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [encodable(cell) for cell in row] for row in [("file", "reason"), *bad_files]
    )
    folder = cache_folder() / "bad-files"
    make_folder(folder)
    digest = hashlib.sha256(work.encode(errors="backslashreplace")).hexdigest()[:16]
    file = folder / f"{digest}.csv"
    write_text(file, text.getvalue())
    return file
