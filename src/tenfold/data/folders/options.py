"""What a person can say about a folder of images, beyond where it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tenfold.data.folders.text import meant
from tenfold.errors import TenfoldError, encodable
from tenfold.paths import is_file
from tenfold.storage import absolute, read_regular_file


@dataclass(frozen=True)
class FolderOptions:
    """How the images in a folder or archive are labeled and grouped, and which are left out.

    Attributes:
        labels: a CSV or TSV file, on disk or beside the images, with the images' names and labels;
            optionally with a colon and the heading of the labels' column. Empty to use one that is
            beside the images if they are not in class folders.
        label_from: a regular expression that finds the label in an image's name, with its folders:
            its group `label`, its only group, or all of it. Empty for none.
        group_by: images for which this is the same stay together when images are held out: the
            heading of a column in the table, or a regular expression as above, whose group may also
            be `group`. Empty for none.
        skip_bad: leave out images that cannot be read instead of refusing them.
        leave_out: names of images that are left out, whether they can be read or not.
        deleted: names of images, as a table has them, that are not decoded and decide nothing; but
            their classes stay. See `meant`.
        tells_bad: whether whoever asks tells of images that cannot be read, and they are left out.
    """

    labels: str = ""
    label_from: str = ""
    group_by: str = ""
    skip_bad: bool = False
    leave_out: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()
    tells_bad: bool = False

    def skips(self, name: str) -> bool:
        """Whether this image is left out if it cannot be read."""
        return self.skip_bad or self.tells_bad or name in self.leave_out

    def deleted_among(self, names: Iterable[str]) -> set[str]:
        """Which of all images' names `deleted` means."""
        there = {encodable(name): name for name in names}
        known = meant(self.deleted, there)
        return {there[own] for own in (known.get(n, n) for n in self.deleted) if own in there}

    def readings(self) -> list[tuple[str, str]]:
        """What `labels` may mean, as files and headings of columns, the likelier first."""
        file, _, column = self.labels.rpartition(":")
        return [(self.labels, ""), *([(file, column)] if file else [])]

    def given(self) -> str:
        """The first option of the command line that is used; empty for none."""
        options = {
            "--labels": self.labels,
            "--label-from": self.label_from,
            "--group-by": self.group_by,
            "--skip-bad": self.skip_bad,
        }
        return next((name for name, value in options.items() if value), "")

    def labels_wherever(self) -> str:
        """`labels` with the absolute path, if it is a file on disk, so that it can be read again.

        Such a file comes before one of the same name beside the images.
        """
        for file, column in self.readings():
            if is_file(file):
                return ":".join([str(absolute(Path(file))), *([column] if column else [])])
        return self.labels

    def fingerprint(self) -> str:
        """A text that differs if the same images may be read differently; empty by default.

        What only decides whether bad images are an error does not count: see `skips`.
        """
        options = replace(self, tells_bad=False)
        if options == NO_OPTIONS:
            return ""
        files = [file for file, _ in self.readings() if is_file(file)]
        digests = []
        for file in files[:1]:
            with suppress(TenfoldError), read_regular_file(Path(file)) as (stream, _):
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        plain = replace(options, leave_out=frozenset(), deleted=frozenset())
        return repr((plain, sorted(self.leave_out), digests, sorted(self.deleted)))


NO_OPTIONS = FolderOptions()
"""Class folders, or else a table beside the images; every image must be readable."""
