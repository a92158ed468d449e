"""The layout of class folders: each image's split and class, from the folders it is in.

From the outside in: any number of single folders that wrap the rest; optionally the split folders
`train`, `val` (or `valid`, `validation`) and `test`, in any case; one folder per class; images at
any depth below it. Classes are numbered in the order of their sorted names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from tenfold.data.folders.members import Parts
from tenfold.errors import DataError, counted, listing, quoted

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""The split for each lower-case folder name, in reading order."""

UNSPLIT = "all"
"""The only split if there are no split folders."""

WANTED_LAYOUT = "wanted CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE, for every image"


@dataclass(frozen=True)
class Places:
    """The split and class of every image.

    Attributes:
        classes: the names of all classes, sorted.
        of_image: split and class of every image, in the order given.
    """

    classes: tuple[str, ...]
    of_image: list[tuple[str, str]]


def find_places(path: Path, images: Sequence[Parts], folders: Set[Parts]) -> Places:
    """Find the split and class of every image.

    Args:
        path: the directory or archive, for messages.
        images: the images' names, one or more.
        folders: known folders beyond those of the images, such as empty ones.

    Raises:
        DataError: images share a name or are outside the class folders, split folders conflict, or
            a class name is not printable.
    """
    _refuse_duplicates(path, images)
    tree = _Tree(images, folders)
    roots = _split_roots(path, tree, tree.wrapped_root())
    _refuse_outsiders(path, images, roots)
    depth = len(next(iter(roots)))
    of_image = [(roots[parts[:depth]], parts[depth]) for parts in images]
    return Places(_classes(path, tree, roots), of_image)


class _Tree:
    """The folders that are not hidden, and which of them directly contain images."""

    def __init__(self, images: Sequence[Parts], folders: Set[Parts]) -> None:
        self.with_images = {parts[:-1] for parts in images}
        self._children: dict[Parts, set[str]] = {}
        for folder in folders | self.with_images:
            for depth in range(len(folder)):
                self._children.setdefault(folder[:depth], set()).add(folder[depth])

    def children(self, folder: Parts) -> list[str]:
        return sorted(self._children.get(folder, ()))

    def wrapped_root(self) -> Parts:
        """The folder that contains the splits or classes, inside any wrapping folders."""
        root: Parts = ()
        while root not in self.with_images and len(self.children(root)) == 1:
            (only,) = self.children(root)
            inner = (*root, only)
            if only.lower() in SPLITS or inner in self.with_images:
                break
            root = inner
        return root


def _refuse_duplicates(path: Path, images: Sequence[Parts]) -> None:
    counts = Counter(images)
    twice = sorted("/".join(parts) for parts, count in counts.items() if count > 1)
    if twice:
        raise DataError(
            f"{path}: duplicate names in the archive: {listing(twice)}",
            remedy="create an archive in which every image has its own name",
        )


def _split_roots(path: Path, tree: _Tree, root: Parts) -> dict[Parts, str]:
    """The folders whose children are classes, each with its split."""
    children = tree.children(root)
    named = [name for name in children if name.lower() in SPLITS]
    if len(named) < len(children):
        # A class can be called "train"; then it directly contains images.
        named = [name for name in named if (*root, name) not in tree.with_images]
    if not named:
        return {root: UNSPLIT}
    others = [name for name in children if name not in named]
    if others:
        raise DataError(
            f"{path}: {counted(len(others), 'other folder')} next to the split "
            f"{'folder' if len(named) == 1 else 'folders'} {quoted(named)}: {quoted(others)}",
            remedy="move each image into a class folder inside train, val or test, and remove "
            f"{'the other folder' if len(others) == 1 else 'the other folders'}",
        )
    named.sort(key=lambda name: list(SPLITS).index(name.lower()))
    roots = {(*root, name): SPLITS[name.lower()] for name in named}
    if len(set(roots.values())) < len(roots):
        raise DataError(
            f"{path}: several folders are the same split: {quoted(named)}",
            remedy="keep one folder per split: train, val, test",
        )
    return roots


def _refuse_outsiders(path: Path, images: Sequence[Parts], roots: Mapping[Parts, str]) -> None:
    """Refuse images outside the class folders."""
    depth = len(next(iter(roots)))
    outside = [
        "/".join(parts) for parts in images if parts[:depth] not in roots or len(parts) < depth + 2
    ]
    if outside:
        raise DataError(
            f"{path}: {counted(len(outside), 'image')} outside class folders: {listing(outside)}",
            remedy=WANTED_LAYOUT,
        )


def _classes(path: Path, tree: _Tree, roots: Iterable[Parts]) -> tuple[str, ...]:
    """The sorted names of the class folders in any split."""
    classes = sorted({name for root in roots for name in tree.children(root)})
    odd = [name for name in classes if not name.isprintable()]
    if odd:
        raise DataError(
            f"{path}: class names have unprintable characters: {quoted(odd)}",
            remedy="rename the folders",
        )
    return tuple(classes)
