"""The layout of class folders: each image's split and class, from the folders it is in.

From the outside in: any number of single folders that wrap the rest; optionally split folders, such
as `train`, `validation` and `test_images` (see `split_of`); one folder per class; images at any
depth below it. The split folders may also be inside the class folders instead. Classes are numbered
in the order of their sorted names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from pathlib import Path

from tenfold.data.folders.members import Parts
from tenfold.data.folders.text import composed
from tenfold.errors import DataError, counted, listing, quoted, shell_quoted

SPLITS = ("train", "val", "test")
"""The names of the splits, in reading order."""

UNSPLIT = "all"
"""The only split if there are no split folders."""

WANTED_LAYOUT = "wanted CLASS/IMAGE, or train/CLASS/IMAGE and test/CLASS/IMAGE, for every image"

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_BESIDE_THEM = "images|image|imgs|img|pictures|photos|set|sets|split|data|dataset|seg"
_SPLIT_NAME = re.compile(
    rf"(?:(?:{_BESIDE_THEM})[\s_.-]*)?({'|'.join(_SPLIT_WORDS)})"
    rf"(?:[\s_.-]*(?:{_BESIDE_THEM}))?[\s_.-]*\d{{0,4}}"
)

_CONTAINER = re.compile(
    rf"(?:(?:all|raw|my|the)[\s_.-]*)?(?:{_BESIDE_THEM}|files|jpe?gs?|pngs?|frames|samples|all|raw)"
    rf"[\s_.-]*\d*|.*(?:{_BESIDE_THEM})[\s_.-]*part[\s_.-]*\d+"
)

_TO_PREDICT = re.compile(r"pred|unlabel|holdout|hold_out|submission", re.IGNORECASE)
"""Folders of these names beside splits hold images in no class, which are left out."""

Place = tuple[str, str]
"""The split and class of an image."""

LEFT_OUT: Place = ("", "")
"""Instead of a place."""


@dataclass(frozen=True)
class Places:
    """The split and class of every image.

    Attributes:
        classes: the names of all classes, sorted.
        of_image: of every image, in the order given; `LEFT_OUT` for one that is not used.
        notes: what the user should know about how the folders were understood.
        groups: what each image belongs to, in the same order; None if nobody asked.
        tables: the names of the tables that labels or groups are from.
    """

    classes: tuple[str, ...]
    of_image: list[Place]
    notes: list[str] = field(default_factory=list)
    groups: list[str] | None = None
    tables: tuple[str, ...] = ()

    def keep(self, kept: Sequence[bool]) -> Places:
        """Without the images for which this is False."""
        groups = None if self.groups is None else list(compress(self.groups, kept))
        return replace(self, of_image=list(compress(self.of_image, kept)), groups=groups)


@dataclass(frozen=True)
class Images:
    """The images of a folder, before they have labels.

    Attributes:
        path: the directory or archive, for messages.
        names: of the images.
        folders: known folders beyond those of the images, such as empty ones.
        tables: the contents of tables beside the images, by their names.
        unread: why other tables were not read, by their names.
    """

    path: Path
    names: Sequence[Parts]
    folders: Set[Parts]
    tables: Mapping[str, bytes] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _split_roots(self) -> tuple[dict[Parts, str], list[str]]:
        return split_roots(self.path, Tree(self.names, self.folders), of_classes=False)

    @cached_property
    def notes(self) -> list[str]:
        """On the splits."""
        roots, notes = self._split_roots
        if others := ["/".join(root) for root, split in roots.items() if not split]:
            n = self.splits.count("")
            left_out = (
                f"{counted(n, 'image')} {'was' if n == 1 else 'were'} left out, because "
                f"{quoted(others)} is for images without labels"
            )
            return [*notes, f"{left_out}; `tenfold predict` classifies them"]
        return notes

    @cached_property
    def splits(self) -> list[str]:
        """The split of every image by the folders it is in, whatever its class.

        Images outside split folders, beside those in them, are for training.

        Raises:
            DataError: see `split_roots`.
        """
        roots, _ = self._split_roots
        if list(roots.values()) == [UNSPLIT]:
            return [UNSPLIT] * len(self.names)

        def split(parts: Parts) -> str:
            found = (split for root, split in roots.items() if parts[: len(root)] == root)
            return next(found, "train")

        return [split(parts) for parts in self.names]


def split_of(folder: str) -> str:
    """The split that a folder's name stands for: `train`, `val`, `test`, or empty for none.

    Usual names in any case and spelling, alone or with a word beside them: `training_set`,
    `seg_train`, `Valid`, `dev`, `Test Images`, `val2017`.
    """
    found = _SPLIT_NAME.fullmatch(same_name(folder).casefold().strip())
    return _SPLIT_WORDS[found[1]] if found else ""


def says_nothing(folder: str) -> bool:
    """Whether a folder's name only says that it has images, or of which split, and no class."""
    return _CONTAINER.fullmatch(folder.casefold()) is not None or split_of(folder) != ""


def same_name(folder: str) -> str:
    """A folder's name in one of its forms in Unicode: macOS stores another than Windows."""
    return composed(folder)


def find_places(path: Path, images: Sequence[Parts], folders: Set[Parts]) -> Places:
    """Find the split and class of every image.

    Args:
        path: the directory or archive, for messages.
        images: the images' names, one or more.
        folders: known folders beyond those of the images, such as empty ones.

    Raises:
        DataError: images share a name or are outside the class folders, split folders conflict, a
            class name is not printable, or the class folders may be splits.
    """
    tree = Tree(images, folders)
    roots, notes = split_roots(path, tree)
    for root, split in roots.items():
        splits = _splits_inside(path, tree, root)
        if splits and split == UNSPLIT:
            return _placed_by_inner_splits(path, tree, images, root, splits)
    roots, unlabeled = _without_unlabeled(tree, roots)
    _refuse_outsiders(path, images, roots, unlabeled)
    depth = {root: len(root) for root in roots}
    of_image = []
    for parts in images:
        inside = [root for root in roots if parts[: depth[root]] == root]
        of_image.append(
            (roots[inside[0]], same_name(parts[depth[inside[0]]])) if inside else LEFT_OUT
        )
    if unlabeled:
        n, places = of_image.count(LEFT_OUT), sorted("/".join(root) for root in unlabeled)
        notes.append(
            f"{counted(n, 'image')} in {quoted(places)} "
            f"{'is' if n == 1 else 'are'} not in {'a class folder' if n == 1 else 'class folders'}"
            f", so {'it was' if n == 1 else 'they were'} left out; `tenfold predict` "
            "classifies them"
        )
    names = {name for root in roots for name in tree.children(root)}
    return Places(classes_of(path, names), of_image, notes + lookalikes(names))


class Tree:
    """The folders that are not hidden, and which of them contain images.

    Attributes:
        with_images: the folders that directly contain images.
    """

    def __init__(self, images: Sequence[Parts], folders: Set[Parts]) -> None:
        self.with_images = {parts[:-1] for parts in images}
        self._children: dict[Parts, set[str]] = {}
        self._above_images = {
            folder[:depth] for folder in self.with_images for depth in range(len(folder) + 1)
        }
        for folder in folders | self.with_images:
            for depth in range(len(folder)):
                self._children.setdefault(folder[:depth], set()).add(folder[depth])

    def children(self, folder: Parts) -> list[str]:
        """The names of the folders directly in a folder, sorted."""
        return sorted(self._children.get(folder, ()))

    def leads_to_images(self, folder: Parts) -> bool:
        """Whether there are images in a folder or below it."""
        return folder in self._above_images

    def is_flat(self, folder: Parts) -> bool:
        """Whether all images in a folder are directly in it, or in a single folder inside it."""
        inside = [name for name in self.children(folder) if self.leads_to_images((*folder, name))]
        if folder in self.with_images:
            return not inside
        return len(inside) == 1 and self.is_flat((*folder, inside[0]))

    def wrapped_root(self) -> Parts:
        """The folder that contains the splits or classes, inside any wrapping folders.

        A wrapping folder may be called like a split, if it contains several.
        """
        root: Parts = ()
        while root not in self.with_images:
            leading = [n for n in self.children(root) if self.leads_to_images((*root, n))]
            if len(leading) != 1:
                break
            (only,) = leading
            inner = (*root, only)
            splits = [split_of(name) for name in self.children(inner)]
            wraps_splits = len(splits) > 1 and all(splits) and len(set(splits)) == len(splits)
            if inner in self.with_images or (split_of(only) and not wraps_splits):
                break
            root = inner
        return root


def split_roots(
    path: Path, tree: Tree, *, of_classes: bool = True
) -> tuple[dict[Parts, str], list[str]]:
    """The folders whose children are classes, each with its split; and notes.

    Args:
        path: the directory or archive, for messages.
        tree: its folders.
        of_classes: whether folders may be classes; otherwise, labels come from elsewhere.

    Raises:
        DataError: other folders of images are next to split folders, or two are the same split.
    """
    root = tree.wrapped_root()
    children = tree.children(root)
    named = [name for name in children if split_of(name)]
    with_images = [name for name in children if tree.leads_to_images((*root, name))]
    if of_classes and not set(with_images) <= set(named):
        # A class can be called "train"; then it directly contains images.
        named = [name for name in named if (*root, name) not in tree.with_images]
    if not named:
        return {root: UNSPLIT}, []
    others = [name for name in children if name not in named]
    notes = []
    if empty := [name for name in others if not tree.leads_to_images((*root, name))]:
        notes.append(f"ignored folders without images: {quoted(empty, 5)}")
        others = [name for name in others if name not in empty]
    flat = [name for name in others if _TO_PREDICT.search(name) and tree.is_flat((*root, name))]
    others = [name for name in others if name not in flat]
    if others and of_classes:
        raise DataError(
            f"{path}: {counted(len(others), 'other folder')} next to the split "
            f"{'folder' if len(named) == 1 else 'folders'} {quoted(named)}: {quoted(others)}",
            remedy="move each image into a class folder inside train, val or test, and remove "
            f"{'the other folder' if len(others) == 1 else 'the other folders'}",
        )
    named.sort(key=lambda name: SPLITS.index(split_of(name)))
    roots = {_unwrapped(tree, (*root, name)): split_of(name) for name in named}
    roots |= {(*root, name): "" for name in flat}
    if len(set(roots.values()) - {""}) < len(named):
        raise DataError(
            f"{path}: several folders are the same split: {quoted(named)}",
            remedy="keep one folder per split: train, val, test",
        )
    return roots, notes


def _unwrapped(tree: Tree, root: Parts) -> Parts:
    """A split folder, or the one of the same split that is all there is in it."""
    while root not in tree.with_images:
        inner = [name for name in tree.children(root) if tree.leads_to_images((*root, name))]
        if len(inner) != 1 or split_of(inner[0]) != split_of(root[-1]):
            break
        root = (*root, inner[0])
    return root


def _without_unlabeled(
    tree: Tree, roots: Mapping[Parts, str]
) -> tuple[dict[Parts, str], set[Parts]]:
    """The split folders with classes; and those without, if others have some."""

    def is_labeled(root: Parts) -> bool:
        return root not in tree.with_images

    known = {
        same_name(name)
        for root, split in roots.items()
        if split == "train" and is_labeled(root)
        for name in tree.children(root)
    }
    unlabeled = set()
    for root, split in roots.items():
        if not split:
            unlabeled.add(root)
            continue
        names = {same_name(name) for name in tree.children(root)}
        if split == "train" or len(known) < 2 or not tree.leads_to_images(root):
            continue
        holds_only_images = root in tree.with_images and not names
        is_one_folder = is_labeled(root) and len(names) == 1 and not names & known
        if holds_only_images or (is_one_folder and split == "test"):
            unlabeled.add(root)
    return {root: split for root, split in roots.items() if root not in unlabeled}, unlabeled


def _splits_inside(path: Path, tree: Tree, root: Parts) -> dict[str, str]:
    """The split of each folder that all class folders contain; empty if they contain no splits.

    Raises:
        DataError: all class folders contain the same folders, which may be the classes.
    """
    classes = [name for name in tree.children(root) if tree.leads_to_images((*root, name))]
    inner = {name: tree.children((*root, name)) for name in classes}
    names = next(iter(inner.values()), [])
    is_same = all(inner[name] == names for name in classes)
    if len(classes) < 2 or any((*root, name) in tree.with_images for name in classes):
        return {}
    splits = {name: split_of(name) for found in inner.values() for name in found}

    def are_distinct(names: Sequence[str]) -> bool:
        return len({splits[name] for name in names}) == len(names)

    if splits and all(splits.values()) and all(map(are_distinct, inner.values())):
        return splits
    if is_same and len(names) > 1:
        start = "[^/]+/" * len(root)
        of_outer = shell_quoted(f"^{start}(?P<label>[^/]+)/")
        of_inner = shell_quoted(f"^{start}[^/]+/(?P<label>[^/]+)/")
        raise DataError(
            f"{path}: the folders {quoted(classes)} all contain the same folders, {quoted(names)}, "
            "so either may be the classes",
            remedy=f"if {quoted(names[:2])} are classes, rename the outer folders to train, val "
            f"and test, or ignore them with --label-from {of_inner}; if {quoted(classes[:2])} "
            f"are classes: --label-from {of_outer}",
        )
    return {}


def _placed_by_inner_splits(
    path: Path, tree: Tree, images: Sequence[Parts], root: Parts, splits: Mapping[str, str]
) -> Places:
    """Class folders that contain split folders."""
    depth = len(root)
    stray = [parts for parts in images if len(parts) < depth + 3 or parts[depth + 1] not in splits]
    if stray:
        raise _outside(path, stray, images)
    of_image = [(splits[parts[depth + 1]], same_name(parts[depth])) for parts in images]
    names = set(tree.children(root))
    note = f"the class folders contain the splits: {quoted(sorted(splits))}"
    return Places(classes_of(path, names), of_image, [note, *lookalikes(names)])


def refuse_duplicates(path: Path, images: Sequence[Parts]) -> None:
    """Refuse images that share a name, which only an archive can hold.

    Raises:
        DataError: names them.
    """
    counts = Counter(images)
    twice = sorted("/".join(parts) for parts, count in counts.items() if count > 1)
    if twice:
        raise DataError(
            f"{path}: duplicate names in the archive: {listing(twice)}",
            remedy="create an archive in which every image has its own name",
        )


def _refuse_outsiders(
    path: Path, images: Sequence[Parts], roots: Mapping[Parts, str], unlabeled: Set[Parts]
) -> None:
    """Refuse images outside the class folders."""

    def is_inside(parts: Parts) -> bool:
        if any(parts[: len(root)] == root for root in unlabeled):
            return True
        return any(parts[: len(root)] == root and len(parts) >= len(root) + 2 for root in roots)

    outside = [parts for parts in images if not is_inside(parts)]
    if outside:
        raise _outside(path, outside, images)


def _outside(path: Path, outside: Sequence[Parts], images: Sequence[Parts]) -> DataError:
    names = ["/".join(parts) for parts in outside]
    remedy = "move them into class folders, or out of this folder"
    if len(outside) == len(images):
        remedy = (
            f"{WANTED_LAYOUT}; or say where labels are: --label-from EXPRESSION if they are in the "
            "names, --labels FILE if they are in a CSV file"
        )
    return DataError(
        f"{path}: {counted(len(names), 'image')} outside class folders: {listing(names)}",
        remedy=remedy,
    )


def classes_of(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The sorted names of classes.

    Raises:
        DataError: a name has characters that cannot be printed.
    """
    classes = sorted({same_name(name) for name in names})
    odd = [name for name in classes if not name.isprintable()]
    if odd:
        raise DataError(
            f"{path}: class names have unprintable characters: {quoted(odd)}",
            remedy="rename them",
        )
    return tuple(classes)


def lookalikes(names: Iterable[str]) -> list[str]:
    """A note if names of classes differ only by case or spaces."""
    alike: dict[str, set[str]] = {}
    for name in map(same_name, names):
        # A hyphen before or between digits may be a minus.
        simple = re.sub(r"[\s_]+|(?<=[^\W\d])-|(?<=\d)-(?!\d)", "", name.casefold())
        alike.setdefault(simple, set()).add(name)
    groups = [quoted(sorted(group)) for group in alike.values() if len(group) > 1]
    if not groups:
        return []
    told = "; ".join(sorted(groups))
    return [f"classes whose names differ only by case or spaces are treated as different: {told}"]
