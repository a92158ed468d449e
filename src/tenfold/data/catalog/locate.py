"""The files of a data set in the catalog: found on the disk, or downloaded into the user's cache.

Whatever a file's origin, its content has the catalog's digest before it is used; and two processes
may ask for the same data set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tenfold.data.catalog.checking import UnusableError, check_file, wrong_file
from tenfold.data.catalog.download import (
    PATIENCE,
    Progress,
    download_files,
    not_here,
    unpack,
)
from tenfold.data.catalog.entries import DATA_VARIABLE, Archive, CatalogEntry, Layout, files_in
from tenfold.errors import DataError, StorageError, listing, printable
from tenfold.storage import cache_folder, make_folder


@dataclass(frozen=True)
class LocatedFiles:
    """The complete and checked files of one data set.

    Attributes:
        layout: which of the catalogue entry's layouts they have.
        paths: by the file's name in the catalogue; gzipped or not.
        folder: where they lie.
        notes: what a person should know about how they were found.
    """

    layout: Layout
    paths: Mapping[str, Path]
    folder: Path
    notes: tuple[str, ...]


def locate(
    entry: CatalogEntry,
    *,
    data_root: Path | None = None,
    download: bool = True,
    progress: Progress | None = None,
    patience: float = PATIENCE,
) -> LocatedFiles:
    """The files of a data set: in `data_root`, else in the user's cache, else downloaded there.

    Args:
        entry: with at least one layout.
        data_root: a folder of data sets in torchvision's layout, gzipped or not; by default the
            one that the environment variable `TENFOLD_DATA` names, if it is set.
        download: whether the network may be used.
        progress: called as data comes in.
        patience: seconds of silence after which a mirror is given up.

    Raises:
        DataError: a file has the wrong content, or the files are nowhere to be had.
        StorageError: the cache cannot be written.
    """
    assert entry.layouts, f"{entry.name} has no files"
    root, cache = _data_root(data_root), cache_folder() / "datasets"
    notes: list[str] = []
    located = _find(root, entry, notes) if root is not None else None
    if located is None:
        located = _find_in_cache(cache, entry, notes, may_replace=download)
    if located is None:
        located = _obtain(entry, root, cache, notes, download, progress, patience)
    return located


def _data_root(given: Path | None) -> Path | None:
    named = os.environ.get(DATA_VARIABLE, "")
    if given is None and not named:
        return None
    text = named if given is None else str(given)
    root = Path(os.path.expanduser(text))  # noqa: PTH111 (Path's raises for an unknown user)
    if not root.is_dir():
        origin = "" if given is not None else f" that {DATA_VARIABLE} names"
        raise DataError(
            f"{root}: the folder of data sets{origin} is not there",
            remedy="make it, or name another one",
        )
    return root.absolute()


def _find(root: Path, entry: CatalogEntry, notes: list[str]) -> LocatedFiles | None:
    """The first layout that is complete under this root; its files are checked."""
    for layout in entry.layouts:
        folder = root / layout.folder
        paths = files_in(folder, layout)
        missing = [file.name for file in layout.files if file.name not in paths]
        if not missing:
            unchecked = [check_file(paths[file.name], file) for file in layout.files]
            return LocatedFiles(layout, paths, folder, (*notes, *filter(None, unchecked)))
        if paths:
            notes.append(f"{printable(folder)} was not used: it lacks {listing(missing)}")
    return None


def _find_in_cache(
    cache: Path, entry: CatalogEntry, notes: list[str], *, may_replace: bool
) -> LocatedFiles | None:
    unused: list[str] = []  # an unfinished download in our own folder is nobody's concern
    try:
        located = _find(cache, entry, unused)
    except DataError as error:
        if not may_replace:
            raise
        notes.append(f"{error.message}; it is downloaded again")
        return None
    if located is None:
        return None
    own = located.notes[len(unused) :]
    return LocatedFiles(located.layout, located.paths, located.folder, (*notes, *own))


def _obtain(
    entry: CatalogEntry,
    root: Path | None,
    cache: Path,
    notes: list[str],
    download: bool,
    progress: Progress | None,
    patience: float,
) -> LocatedFiles:
    """Fill the cache, from an archive in the root or from the mirrors, and find the files there."""
    layout = entry.layouts[0]
    make_folder(cache / layout.folder)
    with _locked(cache / f".{entry.name}.lock"):
        located = _find_in_cache(cache, entry, [], may_replace=True)  # by another process meanwhile
        if located is None:
            archive = _archive_on_disk(entry, root, cache)
            if archive is not None:
                _unpack_from_disk(*archive, cache)
            elif download:
                download_files(entry, cache, notes, progress, patience)
            else:
                reasons = "; ".join(["and downloading is switched off", *notes])
                raise not_here(entry, cache, reasons)
            located = _find_in_cache(cache, entry, [], may_replace=False)
    assert located is not None, "what was just written is there"
    return LocatedFiles(located.layout, located.paths, located.folder, (*notes, *located.notes))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock between processes; it ends with its holder."""
    from filelock import FileLock

    lock = FileLock(path)
    try:
        lock.acquire()
    except OSError as error:
        raise StorageError(
            f"{path}: the lock cannot be taken: {error.strerror or error}",
            remedy="choose a cache folder that can be written, by TENFOLD_CACHE",
        ) from error
    try:
        yield
    finally:
        lock.release()


def _archive_on_disk(
    entry: CatalogEntry, root: Path | None, cache: Path
) -> tuple[Layout, Archive, Path] | None:
    for folder in (root, cache):
        for layout in entry.layouts:
            if folder is None or layout.archive is None:
                continue
            path = folder / layout.archive.name
            if path.is_file():
                return layout, layout.archive, path
    return None


def _unpack_from_disk(layout: Layout, archive: Archive, path: Path, cache: Path) -> None:
    make_folder(cache / layout.folder)
    try:
        with path.open("rb") as stream:
            unpack(stream, layout, archive, cache / layout.folder)
    except UnusableError as error:
        raise wrong_file(path, str(error)) from error
