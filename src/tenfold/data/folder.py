"""Class folders of images, in a directory or in an archive, to arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tenfold.types import LabelledArrays

DEFAULT_LARGEST_SIDE = 64
"""Pixels of the longer side that images keep unless a size is asked for."""


@dataclass(frozen=True)
class FolderContents:
    """What was read from class folders.

    Attributes:
        splits: `train`, `val`, `test`; or `all` where there are no split folders.
        notes: what a person should know about how it was read.
        image_size: (height, width) of every image.
        channels: 1 for grey, 3 for colour.
    """

    splits: dict[str, LabelledArrays]
    notes: tuple[str, ...]
    image_size: tuple[int, int]
    channels: int


def read_image_folder(
    path: Path,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FolderContents:
    """Class folders of images, in a directory or an archive, decoded into memory."""
    raise NotImplementedError


def load_image_folder(
    path: Path,
    *,
    image_size: tuple[int, int] | None = None,
    channels: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    use_cache: bool = True,
) -> FolderContents:
    """The same as `read_image_folder`, decoded once and then read from the cache."""
    raise NotImplementedError


def source_fingerprint(path: Path) -> str:
    """A digest that changes when the data at this path does."""
    raise NotImplementedError
