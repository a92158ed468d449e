"""Pictures that people have given the right label, saved as class folders to train with."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from tenfold.data.folders.images import decode_image
from tenfold.data.folders.layout import same_name, split_of
from tenfold.data.folders.members import is_hidden
from tenfold.deployment.bundle import BundleHeader
from tenfold.deployment.inputs import conversion_for
from tenfold.deployment.looks import Look, looks_of
from tenfold.deployment.serving.answering import NO_CHANGES, Changes
from tenfold.deployment.serving.bodies import Picture
from tenfold.deployment.serving.limits import Limits
from tenfold.deployment.serving.pictures import image_of, png_of
from tenfold.deployment.serving.refusals import RefusedError
from tenfold.errors import StorageError, UsageError, did_you_mean, quoted, reason_of
from tenfold.paths import is_folder
from tenfold.storage import make_folder, remove_file, write_bytes

_LONGEST_NAME = 255
"""Maximum size of a folder's name in bytes, on most file systems."""

_DEVICES = frozenset(
    {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))}
)
"""Names that Windows keeps for devices, with any extension."""

_NOT_ON_WINDOWS = frozenset('<>:"|?*')


def why_no_folder(label: str, *, on_windows: bool = os.name == "nt") -> str:
    """Why a class cannot have a folder of its name, from which the name can be read again.

    Empty if it can.
    """
    if not label:
        return "it is empty"
    if not label.isprintable():
        return "it has unprintable characters"
    if "/" in label or "\\" in label:
        return "it has a slash or backslash"
    if len(label.encode()) > _LONGEST_NAME:
        return f"it takes more than {_LONGEST_NAME} bytes"
    if is_hidden((label,)):
        return "folders of this name are hidden, or left behind by systems, and are not read"
    if same_name(label) != label:
        return "its accents would be read in another form of Unicode"
    if on_windows and (
        set(label) & _NOT_ON_WINDOWS
        or label[-1] in ". "
        or label.partition(".")[0].rstrip().casefold() in _DEVICES
    ):
        return "Windows has no folders of this name"
    return ""


class Saved(NamedTuple):
    """A picture that was saved.

    Attributes:
        place: its class and the file's name, with a slash between them.
        look: how it differs from the training images.
    """

    place: str
    look: Look


class Collection:
    """A folder of class folders, to which one thread adds pictures.

    Args:
        folder: is created if it does not exist.
        header: of the model: its classes and channels.
        limits: `collected` and its like.

    Raises:
        StorageError: the folder cannot be created, read or written.
        UsageError: it is divided into training and test images.
    """

    def __init__(self, folder: Path, header: BundleHeader, limits: Limits) -> None:
        make_folder(folder)
        self._folder, self._header, self._limits = folder, header, limits
        self._saved: dict[tuple[str, str], int] = {}
        self._made: set[str] = set()
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            raise StorageError(
                f"{folder}: pictures cannot be saved there",
                remedy="make it readable and writable, or choose another folder",
            )
        splits = [n for n in self._class_folders() if split_of(n) and n not in header.classes]
        if splits:
            raise UsageError(
                f"{folder}: it has the folders {quoted(splits)}, which tenfold train reads as "
                "parts of a data set, so no class folders can be beside them",
                remedy="name a new folder, or one of these",
            )

    @property
    def classes(self) -> list[str]:
        """The classes whose pictures can be collected."""
        return [label for label in self._header.classes if not why_no_folder(label)]

    def save(self, label: str, picture: Picture, changes: Changes = NO_CHANGES) -> Saved:
        """Save a picture as a PNG file with nothing but its pixels.

        It has the model's channels, and its own size up to `Limits.collected_side`.

        Args:
            label: the name of its class.
            picture: any image that the model takes.
            changes: of the picture first.

        Raises:
            UsageError: it cannot be changed so.
            RefusedError: the class is unknown or has no folder, or the collection is full.
            DataError: the picture cannot be read.
            StorageError: it cannot be saved.
        """
        self._require_class(label)
        image = self._decoded(picture, changes)
        look = self._look(image, cropped=changes.center)
        png = png_of(image)
        if (
            len(self._saved) >= self._limits.collected
            or sum(self._saved.values()) + len(png) > self._limits.collected_bytes
        ):
            raise RefusedError(
                507,
                "the collection is full",
                remedy="train with it, and start the server again",
            )
        time = datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S")
        name = f"{time}-{secrets.token_hex(4)}.png"
        try:
            self._make_class_folder(label)
            write_bytes(self._folder / label / name, png)
        except StorageError:
            self._remove_if_empty(label)
            raise
        self._saved[label, name] = len(png)
        return Saved(f"{label}/{name}", look)

    def take_back(self, label: str, name: str) -> None:
        """Remove a picture that this collection has saved since it was opened.

        Raises:
            RefusedError: it has not.
            StorageError: it cannot be removed.
        """
        if (label, name) not in self._saved:
            raise RefusedError(
                404, "no picture of this name was collected since the server started"
            )
        remove_file(self._folder / label / name)
        del self._saved[label, name]
        self._remove_if_empty(label)

    def _require_class(self, label: str) -> None:
        if label not in self._header.classes:
            raise RefusedError(
                422,
                f"there is no class {label!r}",
                remedy=did_you_mean(label, self._header.classes),
            )
        if reason := why_no_folder(label):
            raise _uncollectable(label, reason, "rename the class, and train again")
        if split_of(label) and all(map(split_of, self._class_folders())):
            raise _uncollectable(
                label,
                "alone, a folder of its name would be read as a part of a data set",
                "save a picture of another class first",
            )

    def _make_class_folder(self, label: str) -> None:
        if not is_folder(self._folder / label):
            make_folder(self._folder / label)
            self._made.add(label)
        if label not in self._class_folders():
            raise _uncollectable(
                label,
                "the folder of another class differs only by case or accents",
                "rename the class, and train again",
            )

    def _remove_if_empty(self, label: str) -> None:
        """Remove a class folder without images, with which the others could not be trained on.

        It stays if it was there before, or if those that are left are named like parts of a data
        set, as which they would be read.
        """
        others = [name for name in self._class_folders() if name != label]
        if label not in self._made or (others and all(map(split_of, others))):
            return
        with suppress(OSError):  # it is not empty
            (self._folder / label).rmdir()
            self._made.remove(label)

    def _class_folders(self) -> list[str]:
        try:
            with os.scandir(self._folder) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.is_dir() and not is_hidden((entry.name,))
                )
        except OSError as error:
            raise StorageError(f"{self._folder}: cannot be read: {reason_of(error)}") from error

    def _decoded(self, picture: Picture, changes: Changes) -> Image.Image:
        header, side = self._header, self._limits.collected_side
        conversion = conversion_for(header, **changes._asdict())
        pixels = decode_image(
            bytes(picture.data),
            picture.name,
            channels=header.input_shape[0],
            size=None,
            depth=header.depth,
            crop=conversion.crop,
        )
        image = image_of(255 - pixels if changes.invert else pixels)
        image.thumbnail((side, side), Image.Resampling.BILINEAR)
        return image

    def _look(self, image: Image.Image, *, cropped: bool) -> Look:
        """How a picture differs from the training images, once it has the model's size."""
        pixels = conversion_for(self._header).converted(image)
        (look,) = looks_of(pixels[None], self._header.background, cropped=cropped)
        return look


def _uncollectable(label: str, reason: str, remedy: str) -> RefusedError:
    return RefusedError(
        422,
        f"pictures of class {label!r} cannot be collected: {reason}",
        remedy=remedy,
    )
