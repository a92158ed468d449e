"""Files that cannot be read: named, grouped by reason, and listed."""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tenfold.errors import DataError, StorageError, TenfoldError, counted, listing, printable
from tenfold.storage import cache_folder, make_folder, write_text

MOST_NAMED = 20
"""Bad files that a message names; more are listed in a file."""

_DETAILS = (
    (re.compile(r" \([\d,]+ bytes?\)|: it (?:is text that )?starts with .*"), ""),
    (re.compile(r"declares \d+x\d+ pixels, over the limit of"), "has more pixels than"),
    (re.compile(r"has [\d,]+ bytes or more, over the limit of"), "has more bytes than"),
)
"""What differs between the reasons of files with the same fault, and what is said instead."""


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
    remedy += "" if skipping else ", or add --skip-bad"
    if len(bad_files) > MOST_NAMED:
        with suppress(StorageError, OSError):
            remedy = f"all are listed in {_listed(path, bad_files)}; {remedy}"
    return BadFilesError(
        f"{path}: {len(bad_files):,} of {counted(images, 'image')} cannot be read: "
        f"{by_reason(bad_files)}",
        remedy=remedy,
        bad_files=bad_files,
    )


def refuse_some(bad_files: Mapping[str, str], images: int) -> BadFilesError:
    """The error at the end of work that went on past images that cannot be read.

    Args:
        bad_files: the reason for each, by name.
        images: how many images there were in all.
    """
    return BadFilesError(
        f"{len(bad_files):,} of {counted(images, 'image')} cannot be read: {by_reason(bad_files)}",
        remedy="",
        bad_files=bad_files,
    )


def by_reason(bad_files: Mapping[str, str]) -> str:
    """The first names, grouped by what is wrong with them; the commonest reason first."""
    groups: dict[str, list[str]] = {}
    for name, reason in bad_files.items():
        groups.setdefault(_without_details(reason), []).append(name)
    left, parts = MOST_NAMED, []
    for reason, names in sorted(groups.items(), key=lambda group: -len(group[1])):
        whole = bad_files[names[0]] if len(names) == 1 else reason
        shown = max(1, min(left, len(names)))
        left -= shown
        parts.append(f"{whole}: {listing(names, shown)}")
    return "; ".join(parts)


def _without_details(reason: str) -> str:
    for details, instead in _DETAILS:
        reason = details.sub(instead, reason)
    return reason


def reason_of(error: TenfoldError, name: str) -> str:
    """What an error says about a file, without the file's name."""
    return error.message.removeprefix(f"{printable(name)}: ")


def _listed(path: Path, bad_files: Mapping[str, str]) -> Path:
    """A file in the cache that lists them."""
    text = io.StringIO()
    rows: Sequence[Sequence[str]] = [("file", "reason"), *bad_files.items()]
    csv.writer(text, lineterminator="\n").writerows(
        [cell.encode(errors="backslashreplace").decode() for cell in row] for row in rows
    )
    folder = cache_folder() / "bad-files"
    make_folder(folder)
    digest = hashlib.sha256(str(path).encode(errors="backslashreplace")).hexdigest()[:8]
    file = folder / f"{printable(path.name, 40)}-{digest}.csv"
    write_text(file, text.getvalue())
    return file
