"""Looking at data, recipes and help where PyTorch cannot be imported, as if it were not there."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Answer, Tenfold
from test_layers import WITHOUT_TORCH, name_of, without_torch

NO_TORCH = "import sys; sys.modules['torch'] = None\n"
"""Whoever imports it gets a ModuleNotFoundError."""

NO_DECODING = "import tenfold.data.folders.folder as room; room.read_image_folder = None\n"
"""Whoever needs more than the cache gets a TypeError."""


def python(code: str) -> Answer:
    answer = subprocess.run([sys.executable, "-c", NO_TORCH + code], capture_output=True, text=True)
    return Answer(answer.returncode, answer.stdout, answer.stderr)


def without(*arguments: str, first: str = "") -> Answer:
    """What a command line answers without PyTorch, in a process of its own."""
    line = ["tenfold", *arguments]
    return python(f"{first}sys.argv = {line!r}\nfrom tenfold.cli import main; main()")


def class_folders(path: Path) -> None:
    generator = np.random.default_rng(0)
    for name in ("apple", "pear"):
        (path / name).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (9 + number, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{number}.png")


def idx_files(path: Path) -> None:
    path.mkdir()
    for split, n in (("train", 12), ("t10k", 6)):
        pixels = np.arange(n * 16, dtype=np.uint8).tobytes()
        header = b"\0\0\x08\x03" + np.array([n, 4, 4], ">u4").tobytes()
        (path / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + pixels))
        labels = b"\0\0\x08\x01" + np.array([n], ">u4").tobytes() + bytes([0, 1, 2] * (n // 3))
        (path / f"{split}-labels-idx1-ubyte").write_bytes(labels)


def npz_file(path: Path) -> None:
    images = np.arange(20 * 12, dtype=np.uint8).reshape(20, 3, 4)
    np.savez(path, images=images, labels=np.arange(20) % 2, classes=["even", "odd"])


def test_torch_is_really_not_there() -> None:
    answer = python("import torch")
    assert answer.code == 1
    assert "ModuleNotFoundError" in answer.err


def test_every_module_of_the_ground_floor_can_be_imported() -> None:
    names = [name_of(module) for group in WITHOUT_TORCH for module in without_torch(group)]
    assert python(f"import importlib\nfor name in {names}: importlib.import_module(name)") == (
        0,
        "",
        "",
    )


@pytest.mark.parametrize(
    "line",
    [
        "--help",
        "data --help",
        "train --help",
        "recipes",
        "recipes lenet-mnist",
        "recipes --json",
        "data",
        "data --json",
        "data digits",
        "data digits --json",
        "data idx",
        "data set.npz",
        "data set.npz --json",
    ],
)
def test_a_command_that_needs_no_torch_prints_what_it_prints_with_it(
    line: str, tenfold: Tenfold, tmp_path: Path
) -> None:
    idx_files(tmp_path / "idx")
    npz_file(tmp_path / "set.npz")
    answer = without(*line.split())
    assert (answer.code, answer.err) == (0, "")
    assert answer.out
    assert answer == tenfold(*line.split())


def test_class_folders_are_decoded_and_then_read_from_the_cache(
    tenfold: Tenfold, tmp_path: Path
) -> None:
    class_folders(tmp_path / "photos")
    decoded = without("data", "photos")
    assert (decoded.code, decoded.err) == (0, "")
    assert "images of 3x8x8" in decoded.out
    assert "6 sizes" in decoded.out
    assert without("data", "photos", first=NO_DECODING) == decoded
    assert tenfold("data", "photos") == decoded


def test_bad_data_is_refused_in_the_same_words(tenfold: Tenfold, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos")
    (tmp_path / "photos" / "pear" / "7.png").write_bytes(b"hello")
    for line in (["data", "photos"], ["data", "mnits"], ["recipes", "lenet-mnst"]):
        answer = without(*line)
        assert answer.code in (2, 3)
        assert answer == tenfold(*line)
