"""Read known data sets into arrays, by catalog entry or from a folder of their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tenfold.data.catalog.checking import is_known_good
from tenfold.data.catalog.entries import CatalogEntry, FileSet, files_in
from tenfold.data.catalog.locate import LocatedFiles, locate
from tenfold.data.catalog.table import DATASETS
from tenfold.data.files.formats import FORMATS
from tenfold.data.files.npz import read_npz
from tenfold.errors import DataError, UsageError, listing, shell_word
from tenfold.listening import Listener
from tenfold.types import LabeledArrays

_FILE_SETS = [(entry, file_set) for entry in DATASETS.values() for file_set in entry.file_sets]


def read_named(
    entry: CatalogEntry, *, data_root: Path | None, download: bool, listener: Listener
) -> dict[str, LabeledArrays]:
    """The splits of a catalog data set; `all` if it has none.

    Args:
        entry: the catalog entry.
        data_root: see `locate`.
        download: whether the network may be used.
        listener: receives notes and download progress.

    Raises:
        DataError: the files cannot be found or downloaded, are damaged, or are not the data set's.
        StorageError: the cache cannot be written.
    """
    if not entry.file_sets:
        return read_npz(Path(__file__).with_name(f"{entry.name}.npz"))
    located = locate(entry, data_root=data_root, download=download, listener=listener)
    arrays = _read(located.file_set, located.paths, entry.classes)
    for split, n in (("train", entry.n_train), ("test", entry.n_test)):
        found = arrays[split].images.shape
        if found != (n, *entry.image_shape):
            raise DataError(
                f"{located.folder}: the {split} images have shape {list(found)}, "
                f"wanted {[n, *entry.image_shape]} for {entry.title}",
                remedy="replace the files, or remove them so that they are downloaded",
            )
    return arrays


def read_known_folder(path: Path, *, listener: Listener) -> dict[str, LabeledArrays] | None:
    """The splits in IDX or CIFAR files in or below a folder; None if there are no such files.

    They get class names if the catalog has these files.

    Args:
        path: the folder; the files may also be in `raw` or in their usual folder below it.
        listener: receives a note if the classes are only numbered.

    Raises:
        UsageError: the folder has several data sets.
        DataError: some of the files are missing or damaged.
    """
    known = list(_known_files(path))
    if not known:
        return None
    whole = [found for found in known if _names(found.file_set, "train") <= found.paths.keys()]
    folders = list(dict.fromkeys(found.folder for found in whole))
    if len(folders) > 1:
        raise UsageError(
            f"{path}: several data sets: "
            f"{listing([str(folder.relative_to(path)) for folder in folders])}",
            remedy=f"name one of these folders, such as {shell_word(folders[0])}",
        )
    return _read_known((whole or known)[0], listener)


def has_idx_training_files(path: Path) -> bool:
    """Whether an IDX file is one of a data set whose folder can be read, going by their names."""
    for _, file_set in _FILE_SETS:
        if file_set.format == "idx":
            paths = files_in(path.parent, file_set)
            if _names(file_set, "train") <= paths.keys():
                return path.name.removesuffix(".gz") in {file.name for file in file_set.files}
    return False


def _known_files(path: Path) -> Iterator[LocatedFiles]:
    """This folder and those below it that have files of a catalog set."""
    for _, file_set in _FILE_SETS:
        for folder in (path, path / "raw", path / file_set.folder):
            paths = files_in(folder, file_set)
            if paths:
                yield LocatedFiles(file_set, paths, folder)


def _read_known(located: LocatedFiles, listener: Listener) -> dict[str, LabeledArrays]:
    for entry, file_set in _FILE_SETS:
        if file_set.format == located.file_set.format:
            paths = files_in(located.folder, file_set)
            if _are_published(file_set, paths):
                return _read(file_set, paths, entry.classes)
    arrays = _read(located.file_set, located.paths, None)
    listener.note(
        f"{located.folder}: not the files of a known data set, so the classes are named by number"
    )
    return arrays


def _are_published(file_set: FileSet, paths: Mapping[str, Path]) -> bool:
    """Whether all files exist and match the catalog's digests."""
    # The smallest first: one wrong file settles it.
    files = sorted(file_set.files, key=lambda file: file.largest)
    return all(file.name in paths and is_known_good(paths[file.name], file) for file in files)


def _read(
    file_set: FileSet, paths: Mapping[str, Path], classes: Sequence[str] | None
) -> dict[str, LabeledArrays]:
    """The splits whose files exist; without class names, the classes are numbered."""
    file_format = FORMATS[file_set.format]
    splits = _by_split(file_set, paths)
    if classes is None:
        n = max(file_format.count_classes(there) for there in splits.values())
        classes = [str(i) for i in range(n)]
    return {split: file_format.read(there, classes) for split, there in splits.items()}


def _by_split(file_set: FileSet, paths: Mapping[str, Path]) -> dict[str, list[Path]]:
    """The files of each split, in reading order; an incomplete split is refused."""
    splits = {}
    for split in ("train", "test"):
        there = [paths[f.name] for f in file_set.files if f.split == split and f.name in paths]
        missing = _names(file_set, split) - paths.keys()
        if missing and (there or split == "train"):
            beside = there or list(paths.values())
            raise DataError(
                f"{beside[0].parent}: there is no {listing(sorted(missing))} next to "
                f"{listing([file.name for file in beside])}",
                remedy="put it there too, gzipped or not",
            )
        if there:
            splits[split] = there
    return splits


def _names(file_set: FileSet, split: str) -> set[str]:
    return {file.name for file in file_set.files if file.split == split}
