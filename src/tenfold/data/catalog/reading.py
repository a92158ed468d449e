"""The files of known data sets to arrays: those of a catalog entry, or those found in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from tenfold.data.catalog.checking import check_file
from tenfold.data.catalog.entries import CatalogEntry, Layout, files_in
from tenfold.data.catalog.table import DATASETS
from tenfold.data.files.cifar import read_cifar_binary, read_cifar_python
from tenfold.data.files.idx import read_idx_labels, read_idx_pair
from tenfold.errors import DataError, UsageError, listing
from tenfold.types import LabelledArrays


def read_digits(entry: CatalogEntry) -> LabelledArrays:
    """scikit-learn's copy; its pixels 0..16 become round(pixel * 255 / 16)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    return LabelledArrays(images, digits.target.astype(np.int64), entry.classes)


def read_layout(
    layout: Layout, paths: Mapping[str, Path], classes: Sequence[str]
) -> dict[str, LabelledArrays]:
    """The splits whose files are in `paths`."""
    arrays = {}
    for split in ("train", "test"):
        names = [file.name for file in layout.files if file.split == split]
        there = [paths[name] for name in names if name in paths]
        if len(there) == len(names):
            arrays[split] = _read_files(layout, there, classes)
        elif there:
            raise _incomplete(there[0].parent, there, set(names) - paths.keys())
    return arrays


def _read_files(layout: Layout, paths: list[Path], classes: Sequence[str]) -> LabelledArrays:
    if layout.format == "idx":
        images_path, labels_path = paths
        return read_idx_pair(images_path, labels_path, classes)
    if layout.format == "cifar10-python":
        return read_cifar_python(paths, classes, label_key="labels")
    if layout.format == "cifar100-python":
        return read_cifar_python(paths, classes, label_key="fine_labels")
    if layout.format == "cifar10-binary":
        return read_cifar_binary(paths, classes, label_bytes=1)
    return read_cifar_binary(paths, classes, label_bytes=2)


def find_known_files(path: Path) -> tuple[Layout, Path] | None:
    """The folder at or below this one that has a training split in IDX or CIFAR files."""
    found: dict[Path, Layout] = {}
    for entry in DATASETS.values():
        for layout in entry.layouts:
            for folder in (path, path / "raw", path / layout.folder):
                if folder not in found and _has_training_files(folder, layout):
                    found[folder] = layout
    if len(found) > 1:
        names = listing([str(folder.relative_to(path)) for folder in found])
        raise UsageError(
            f"{path}: there are several data sets: {names}",
            remedy="name one of these folders",
        )
    return next(((layout, folder) for folder, layout in found.items()), None)


def refuse_incomplete(path: Path) -> None:
    """Refuse a folder in which IDX or CIFAR files lie, but not all that training needs."""
    for entry in DATASETS.values():
        for layout in entry.layouts:
            wanted = {file.name for file in layout.files if file.split == "train"}
            for folder in (path, path / "raw", path / layout.folder):
                there = files_in(folder, layout)
                if there:
                    raise _incomplete(folder, list(there.values()), wanted - there.keys())


def _incomplete(folder: Path, there: Sequence[Path], missing: Set[str]) -> DataError:
    return DataError(
        f"{folder}: there is no {listing(sorted(missing))} beside "
        f"{listing([file.name for file in there])}",
        remedy="put it there too, gzipped or not",
    )


def _has_training_files(folder: Path, layout: Layout) -> bool:
    there = files_in(folder, layout)
    return all(file.name in there for file in layout.files if file.split == "train")


def read_known_files(layout: Layout, folder: Path, notes: list[str]) -> dict[str, LabelledArrays]:
    """Read IDX or CIFAR files; they have class names if the catalogue knows their contents."""
    for entry in DATASETS.values():
        for candidate in entry.layouts:
            if candidate.format == layout.format and _is_published(folder, candidate):
                return read_layout(candidate, files_in(folder, candidate), entry.classes)
    paths = files_in(folder, layout)
    if layout.format == "idx":
        classes = _numbered_classes(
            [paths[f.name] for f in layout.files if "label" in f.name and f.name in paths]
        )
    else:
        classes = tuple(str(i) for i in range(100 if "100" in layout.format else 10))
    notes.append(
        f"{folder}: the files are not known as a published data set, "
        "so the classes have numbers for names"
    )
    return read_layout(layout, paths, classes)


def _is_published(folder: Path, layout: Layout) -> bool:
    """Whether all files are there and have the catalogue's digests."""
    paths = files_in(folder, layout)
    if len(paths) < len(layout.files):
        return False
    try:
        # The smallest first: one wrong file is enough to know.
        return all(
            check_file(paths[file.name], file) == ""
            for file in sorted(layout.files, key=lambda file: file.largest)
        )
    except DataError:
        return False


def _numbered_classes(label_paths: list[Path]) -> tuple[str, ...]:
    """The classes "0" to "9", or to the highest label if that is higher."""
    highest = max(int(read_idx_labels(path).max(initial=9)) for path in label_paths)
    return tuple(str(i) for i in range(highest + 1))
