"""The recipes of `kill.py`, and the data that it writes for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from tenfold.data import load_splits
from tenfold.recipes import Recipe, load_recipe

EVERYTHING = Path(__file__).parent.parent / "runs" / "everything.toml"

WRITTEN_IMAGES = 300
"""Images in the folder and in the .npz file; small, so that a run takes about a second."""


@dataclass(frozen=True)
class Setup:
    """What a run trains, and how.

    Attributes:
        changes: the keys of the recipe that are changed.
        data: `folder` or `npz`, to be written by `written`; or what `tenfold train` takes.
        engine: `auto`, `native` or `torch`.
        first_epochs: the epochs of a run that is later resumed with more; 0 for all of them.
        base: the recipe's name or file.
    """

    changes: Mapping[str, object] = field(default_factory=dict)
    data: str = "digits"
    engine: str = "auto"
    first_epochs: int = 0
    base: str = str(EVERYTHING)

    @property
    def recipe(self) -> Recipe:
        """With all epochs."""
        return load_recipe(self.base, self.changes)


_ADAM = {"optimizer": "adam", "lr": 0.01}
_ADAMW = {"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.05}
_FEW_IMAGES = {"batch_size": 16, "epochs": 5}
_CONSTANT = {"schedule": "constant", "lr": 0.05}

RECIPES: dict[str, Setup] = {
    "everything": Setup(),
    "everything-torch": Setup(engine="torch"),
    "adam": Setup(_ADAM),
    "adam-torch": Setup(_ADAM, engine="torch"),
    "adamw": Setup(_ADAMW),
    "no-validation": Setup({"val": 0.0, "patience": 0}),
    "unshuffled": Setup({"shuffle": False}),
    "folder": Setup(_FEW_IMAGES, data="folder"),
    "folder-torch": Setup(_FEW_IMAGES, data="folder", engine="torch"),
    "npz": Setup(_FEW_IMAGES, data="npz"),
    "more-epochs": Setup(_CONSTANT, first_epochs=2),
    "more-epochs-torch": Setup(_CONSTANT, first_epochs=2, engine="torch"),
}
"""By name; each is everything.toml with some changes."""


def written(data: str, folder: Path) -> str:
    """A setup's data, written into a folder if it has to be; returns what `tenfold train` takes."""
    writers = {"folder": _write_class_folders, "npz": _write_npz}
    return str(writers[data](folder)) if data in writers else data


def _write_class_folders(folder: Path) -> Path:
    """A folder of class folders, each with PNG files."""
    images, labels = _some_digits()
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / "images" / f"digit-{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number:03}.png")
    return folder / "images"


def _write_npz(folder: Path) -> Path:
    """An .npz file with a test split."""
    images, labels = _some_digits()
    n = WRITTEN_IMAGES * 4 // 5
    np.savez(
        folder / "images.npz",
        x_train=images[:n],
        y_train=labels[:n],
        x_test=images[n:],
        y_test=labels[n:],
    )
    return folder / "images.npz"


def _some_digits() -> tuple[np.ndarray, np.ndarray]:
    """Images (n, height, width) and labels."""
    train = load_splits("digits").splits.train
    return train.image_array[:WRITTEN_IMAGES, 0], train.label_array[:WRITTEN_IMAGES]
