"""Runs that lie in a folder of data are not part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from class_folders import SPLIT, TWO_CLASSES, directory, picture, read

from tenfold.data.folders.source import source_fingerprint
from tenfold.data.folders.walking import walk
from tenfold.types import LabeledArrays

RUN = {
    ".lock": b"",
    "recipe.toml": b"epochs = 1\n",
    "run.json": b"{}",
    "training.png": picture(99),
    "checkpoints/best.safetensors": b"weights",
}
JUST_LOCKED = {".lock": b""}
JUST_BEGUN = {".lock": b"", "recipe.toml": b"", ".run.json.12-0123abcd.tmp": b"{"}
WITHOUT_HIDDEN_FILES = {name: data for name, data in RUN.items() if name != ".lock"}


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in files.items()}


def seen(root: Path) -> tuple[object, ...]:
    """All that reading a folder gives."""

    def plain(part: LabeledArrays) -> tuple[object, ...]:
        return part.images.tobytes(), part.labels.tobytes(), part.classes, part.names

    splits, notes = read(root)
    return {name: plain(part) for name, part in splits.items()}, notes, source_fingerprint(root)


def names(root: Path) -> list[str]:
    return ["/".join(parts) for parts, _ in walk(root)]


@pytest.mark.parametrize("run", [RUN, JUST_LOCKED, JUST_BEGUN, WITHOUT_HIDDEN_FILES])
@pytest.mark.parametrize(
    "place", ["run", "runs/a-001", "runs/old/a-001", "{0}/run", "{0}/deep/run"]
)
@pytest.mark.parametrize(
    ("files", "inner"),
    [
        (TWO_CLASSES, "cat"),
        (SPLIT, "train"),
        (SPLIT, "train/cat"),
        (below("pictures", SPLIT), "pictures"),
    ],
)
def test_a_run_changes_nothing(tmp_path, files, inner, place, run):
    root = directory(tmp_path / "data", files | {"notes.txt": b"", ".DS_Store": b""})
    before = seen(root)
    directory(root, below(place.format(inner), run))
    directory(root, below("runs/b-001", RUN))
    assert seen(root) == before


def test_what_lies_beside_runs_and_is_not_the_users(tmp_path):
    root = directory(tmp_path, TWO_CLASSES)
    before = seen(root)
    beside = {
        ".DS_Store": b"x", "Thumbs.db": b"x", ".ipynb_checkpoints/": b"", ".trash/old.png": b"x",
        "reproduction-001/reproduction.json": b"{}", "reproduction-001/reproduction.md": b"",
    }  # fmt: skip
    directory(root, below("runs", beside))
    directory(root, below("runs/a-001", RUN))
    directory(root, below("runs/reproduction-001/lenet", RUN))
    assert seen(root) == before


@pytest.mark.parametrize("image", ["1.png", "a/1.png", "old/1.png", "z/1.png"])
def test_a_class_may_be_called_runs(tmp_path, image):
    root = directory(tmp_path, {**TWO_CLASSES, f"runs/{image}": picture(50)})
    before = seen(root)
    directory(root, below("runs/old/a-001", RUN))
    directory(root, below("runs/m-001", RUN))
    assert seen(root) == before
    (arrays,) = read(root)[0].values()
    assert arrays.classes == ("cat", "dog", "runs")
    assert f"runs/{image}" in arrays.names


def test_empty_folders_and_folders_of_hidden_files_are_still_there(tmp_path):
    files = {"a/": b"", "b/.hidden": b"", "c/.git/config": b"", "d/e/f/": b"", ".g/h/i": b""}
    root = directory(tmp_path, files)
    assert names(root) == [
        ".g", ".g/h", ".g/h/i", "a", "b", "b/.hidden", "c", "c/.git", "c/.git/config", "d", "d/e",
        "d/e/f",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "files",
    [
        {"run.json": b"{}"},
        {"recipe.toml": b""},
        {"recipe.toml/": b"", "run.json/": b""},
        {".lock": b"", "1.png": picture()},
    ],
)
def test_a_folder_that_only_resembles_a_run_is_read(tmp_path, files):
    root = directory(tmp_path, below("cow", files))
    assert names(root) == ["cow", *(f"cow/{name}".rstrip("/") for name in files)]


def test_a_link_to_a_run_belongs_to_the_runs(tmp_path):
    root = directory(tmp_path / "data", TWO_CLASSES)
    before = seen(root)
    directory(root, below("runs/a-001", RUN))
    (root / "runs/latest").symlink_to("a-001")
    directory(tmp_path / "elsewhere", RUN)
    (root / "linked").mkdir()
    (root / "linked/run").symlink_to(tmp_path / "elsewhere")
    assert seen(root) == before


def test_every_folder_is_listed_once(tmp_path, monkeypatch):
    root = directory(tmp_path, {**SPLIT, **below("runs/a-001", RUN)})
    listed: list[str] = []
    scandir = os.scandir

    def counting(path: str) -> object:
        listed.append(os.path.relpath(path, root))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counting)
    list(walk(root))
    folders = {"/".join(name.split("/")[:depth]) for name in SPLIT for depth in (1, 2)}
    assert sorted(listed) == sorted([*folders, ".", "runs", "runs/a-001"])
