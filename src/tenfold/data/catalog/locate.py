"""Find the files of a catalog data set on disk, or download them into the user's cache.

Every file is checked against the catalog's digest before use. Two processes may request the same
data set at the same time.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from tenfold.data.catalog.checking import UnusableError, check_file, wrong_file
from tenfold.data.catalog.download import download_files, not_here, unpack
from tenfold.data.catalog.entries import DATA_VARIABLE, CatalogEntry, FileSet, files_in
from tenfold.errors import DataError, StorageError, listing, reason_of
from tenfold.listening import Listener, Recorder
from tenfold.paths import is_file, is_folder
from tenfold.storage import cache_folder, expanded, make_folder, open_regular


@dataclass(frozen=True)
class LocatedFiles:
    """The files of one data set; complete and checked if returned by `locate`.

    Attributes:
        file_set: the set they belong to.
        paths: by catalog name; gzipped or not.
        folder: the folder they are in.
    """

    file_set: FileSet
    paths: Mapping[str, Path]
    folder: Path


def locate(
    entry: CatalogEntry,
    *,
    data_root: Path | None = None,
    download: bool = True,
    listener: Listener,
) -> LocatedFiles:
    """The files of a data set: in `data_root`, else in the user's cache, else downloaded there.

    Args:
        entry: has at least one set of files.
        data_root: a folder of data sets in torchvision's folder structure, gzipped or not; by
            default the one in the environment variable `TENFOLD_DATA`, if set.
        download: whether the network may be used.
        listener: receives notes and download progress.

    Raises:
        DataError: a file has the wrong content, or the files cannot be found or downloaded.
        StorageError: the cache cannot be written.
    """
    assert entry.file_sets, f"{entry.name} has no files"
    root, cache = named_root(data_root), cache_folder() / "datasets"
    told = Recorder(listener)
    located = _find(root, entry, told) if root is not None else None
    return (
        located
        or _find_in_cache(cache, entry, told, may_replace=download)
        or _obtain(entry, root, cache, told, download)
    )


def named_root(given: Path | None) -> Path | None:
    """The given folder of data sets, or else the one in `TENFOLD_DATA`; None without either.

    Raises:
        DataError: it does not exist.
    """
    text = os.environ.get(DATA_VARIABLE, "") if given is None else str(given)
    if not text:
        return None
    root = expanded(text)
    if not is_folder(root):
        origin = "" if given is not None else f" named by {DATA_VARIABLE}"
        raise DataError(
            f"{root}: the folder of data sets{origin} does not exist",
            remedy="create it, or name another one",
        )
    return root.absolute()


def _find(
    root: Path, entry: CatalogEntry, listener: Listener, *, is_cache: bool = False
) -> LocatedFiles | None:
    """The first complete set under this root, checked; None without one."""
    for file_set in entry.file_sets:
        folder = root / file_set.folder
        paths = files_in(folder, file_set)
        missing = [file.name for file in file_set.files if file.name not in paths]
        if not missing:
            for file in file_set.files:
                check_file(paths[file.name], file, listener=listener)
            return LocatedFiles(file_set, paths, folder)
        if paths and not is_cache:  # an unfinished download in our own cache is not worth a note
            listener.note(f"{folder} was not used: it lacks {listing(missing)}")
    return None


def _find_in_cache(
    cache: Path, entry: CatalogEntry, listener: Listener, *, may_replace: bool
) -> LocatedFiles | None:
    try:
        return _find(cache, entry, listener, is_cache=True)
    except DataError as error:
        if not may_replace:
            raise
        listener.note(f"{error.message}; downloading it again")
        return None


def _obtain(
    entry: CatalogEntry, root: Path | None, cache: Path, told: Recorder, download: bool
) -> LocatedFiles:
    """Fill the cache from an archive in the root, or from the mirrors, and return its files."""
    make_folder(cache / entry.file_sets[0].folder)
    with _locked(cache / f".{entry.name}.lock"):
        # Another process may have filled the cache while this one waited.
        is_filled = _find_in_cache(cache, entry, Listener(), may_replace=True) is not None
        if not is_filled and not _unpack_from_disk(entry, root, cache):
            if not download:
                reasons = "; ".join(["and downloading is switched off", *told.notes])
                raise not_here(entry, cache, reasons)
            download_files(entry, cache, listener=told)
        located = _find_in_cache(cache, entry, told, may_replace=False)
    assert located is not None, "the files were just written"
    return located


def _locked(path: Path) -> AbstractContextManager[object]:
    """An inter-process lock, held until the block ends or the process dies."""
    from filelock import FileLock

    try:
        return FileLock(path).acquire()
    except OSError as error:
        raise StorageError(
            f"{path}: cannot take the lock: {reason_of(error)}",
            remedy="set TENFOLD_CACHE to a writable folder",
        ) from error


def _unpack_from_disk(entry: CatalogEntry, root: Path | None, cache: Path) -> bool:
    """Fill the cache from an archive in the root or in the cache; False without one."""
    for folder, file_set in itertools.product((root, cache), entry.file_sets):
        if folder is None or file_set.archive is None:
            continue
        path = folder / file_set.archive.name
        if is_file(path):
            make_folder(cache / file_set.folder)
            try:
                with open_regular(path) as stream:
                    unpack(stream, file_set, cache)
            except UnusableError as error:
                raise wrong_file(path, str(error)) from error
            return True
    return False
