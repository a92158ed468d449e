"""The brief check before a training, and its memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import tenfold
from small_images import image_dataset
from tenfold.data.checks import brief
from tenfold.data.checks.brief import brief_notes, checked_before
from tenfold.data.dataset import ImageDataset
from tenfold.storage import cache_folder

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 1, 6, 6), np.uint8)


def part(places: list[int], labels: list[int], split: str = "train") -> ImageDataset:
    return ImageDataset(PIXELS[places], np.array(labels), ("cat", "dog"), split=split)


SOUND = part(list(range(40)), [0, 1] * 20)


def test_sound_data_gets_no_notes() -> None:
    assert brief_notes([SOUND, part([50, 51], [0, 1], "test")]) == []


def test_what_is_said_of_copies() -> None:
    train = part([*range(40), 0, 0, 2, 5], [*([0, 1] * 20), 0, 0, 1, 1])
    val, test = part([8, 50], [0, 1], "val"), part([0, 50, 51, 8], [0, 1, 0, 0], "test")
    assert brief_notes([train, val, test]) == [
        "1 of the 2 val images is also a training image, pixel for pixel",
        "2 of the 4 test images are also training images, pixel for pixel",
        "2 of the 4 test images are also val images, pixel for pixel",
        "1 image is there under different labels: train/2 (cat) = train/42 (dog)",
        "4 training images are copies of others, pixel for pixel",
    ]


def test_images_of_one_color_are_named() -> None:
    images = PIXELS[:40].copy()
    images[[3, 9]] = 255
    data = ImageDataset(images, np.arange(40) % 2, ("cat", "dog"))
    assert brief_notes([data]) == ["2 images are of one color: train/3, train/9"]


def test_the_same_data_is_looked_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    looks: list[Sequence[ImageDataset]] = []

    def counting(parts: Sequence[ImageDataset]) -> list[str]:
        looks.append(parts)
        return [f"note {len(looks)}"]

    monkeypatch.setattr(brief, "brief_notes", counting)
    one, other = [SOUND], [SOUND.with_labels(1 - SOUND.label_array, SOUND.classes)]
    assert checked_before(one) == checked_before(one) == ["note 1"]
    assert checked_before(other) == ["note 2"]
    renamed = ImageDataset(
        SOUND.image_array, SOUND.label_array, SOUND.classes, names=[str(i) for i in range(40)]
    )
    assert checked_before([renamed]) == ["note 3"]
    for damage in ("", "[", "{}", "[1]", "[" * 100_000):
        for path in (cache_folder() / "checked").iterdir():
            path.write_text(damage)
        before = len(looks)
        assert checked_before(one) == [f"note {before + 1}"]
        assert checked_before(one) == [f"note {before + 1}"]


def test_the_notes_of_few_data_sets_are_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    monkeypatch.setattr(brief, "_MOST_KEPT", 3)
    for number in range(5):
        brief.checked_before([image_dataset(np.full((40, 1, 8, 8), number, np.uint8))])
    assert len(list((tmp_path / "checked").glob("*.json"))) == 3


def test_the_notes_that_are_used_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path))
    monkeypatch.setattr(brief, "_MOST_KEPT", 2)
    data = [image_dataset(np.full((40, 1, 8, 8), number, np.uint8)) for number in range(3)]
    first = []
    for number in (0, 1, 0, 2):
        brief.checked_before([data[number]])
        paths = sorted((tmp_path / "checked").glob("*.json"), key=lambda path: path.stat().st_mtime)
        first = first or paths
        for age, path in enumerate(reversed(paths), 1):  # clocks of file systems may be coarse
            os.utime(path, (1000 - age, 1000 - age))
    assert first[0].exists()


def test_a_cache_that_cannot_be_written_only_costs_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "file"))
    assert checked_before([part([1, 1], [0, 0])]) == [
        "1 training image is a copy of others, pixel for pixel"
    ]


def test_a_training_tells_it(tmp_path: Path) -> None:
    images = np.concatenate([PIXELS[:40], PIXELS[:1]])
    data = image_dataset(images, np.append(np.arange(40) % 2, 1), classes=("cat", "dog"))
    run = tenfold.train(data, recipe="softmax-fashion", epochs=1, out=tmp_path / "run", quiet=True)
    assert "1 image is there under different labels: train/0 (cat) = train/40 (dog)" in (
        run.facts.data.notes
    )
