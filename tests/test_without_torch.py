"""Commands that need no PyTorch, where it cannot be imported, as if it were not there."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from command_line import Answer, Tenfold
from engines import needs_kernels
from tenfold.native.threads import pytorch_threads
from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources
from tenfold.types import is_tensor
from test_layers import WITHOUT_TORCH, name_of, without_torch

NO_TORCH = "import sys; sys.modules['torch'] = None\n"
"""Whoever imports it gets a ModuleNotFoundError."""

NO_DECODING = "import tenfold.data.folders.folder as room; room.read_image_folder = None\n"
"""Whoever needs more than the cache gets a TypeError."""


def python(code: str) -> Answer:
    answer = subprocess.run([sys.executable, "-c", NO_TORCH + code], capture_output=True, text=True)
    return Answer(answer.returncode, answer.stdout, answer.stderr)


ONE_AFTER_THE_OTHER = """
import contextlib, io, json
from tenfold.cli import main
answers = []
for line in LINES:
    sys.argv, code = ["tenfold", *line], 0
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in "oe")
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    answers.append([code, *(each.buffer.getvalue().decode() for each in (out, err))])
print(json.dumps(answers))
"""


def without(*arguments: str, first: str = "") -> Answer:
    """What a command line answers without PyTorch, in a process of its own."""
    line = ["tenfold", *arguments]
    return python(f"{first}sys.argv = {line!r}\nfrom tenfold.cli import main; main()")


def without_each(*lines: str) -> list[Answer]:
    """What command lines answer without PyTorch, one after the other in one process."""
    answer = python(f"LINES = {[line.split() for line in lines]!r}{ONE_AFTER_THE_OTHER}")
    assert (answer.code, answer.err) == (0, "")
    return [Answer(*each) for each in json.loads(answer.out)]


def class_folders(path: Path, images: int = 6) -> None:
    generator = np.random.default_rng(0)
    for name in ("apple", "pear"):
        (path / name).mkdir(parents=True)
        for number in range(images):
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
    "lines",
    [
        ("--help", "data --help", "train --help"),
        ("recipes", "recipes lenet-mnist", "recipes --json"),
        ("data", "data --json", "data digits", "data digits --json"),
        ("data idx", "data set.npz", "data set.npz --json"),
    ],
)
def test_a_command_that_needs_no_torch_prints_what_it_prints_with_it(
    lines: Sequence[str], tenfold: Tenfold, tmp_path: Path
) -> None:
    idx_files(tmp_path / "idx")
    npz_file(tmp_path / "set.npz")
    for line, answer in zip(lines, without_each(*lines), strict=True):
        assert (answer.code, answer.err) == (0, ""), line
        assert answer.out, line
        assert answer == tenfold(*line.split()), line


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


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and a few of its images in files."""
    folder = tmp_path_factory.mktemp("trained")
    class_folders(folder / "photos", 20)
    recipe = load_recipe("digits-quick", {"epochs": 1, "batch_size": 8, "test": 0.3})
    train_run(recipe, str(folder / "photos"), out=folder / "run", resources=Resources(threads=1))
    return folder


LINES = [
    "predict {run} {photos}/apple/0.png {photos}/pear/3.png --top 2",
    "predict {run} --json",
    "predict {run}/model.safetensors {photos}/apple/1.png --csv",
    "evaluate {run}",
    "evaluate {run} --split val --json",
    "evaluate {run} --threads 2",
    "evaluate {run} {photos} --device cpu",
    "evaluate {run}/model.safetensors {photos} --split train --json",
]


@needs_kernels
def test_predictions_and_figures_are_the_same_with_and_without_it(
    tenfold: Tenfold, trained: Path
) -> None:
    lines = [line.format(run=trained / "run", photos=trained / "photos") for line in LINES]
    for line, answer in zip(lines, without_each(*lines), strict=True):
        assert (answer.code, answer.out != "") == (0, True), line
        assert answer == tenfold(*line.split()), line


@needs_kernels
def test_figures_are_those_that_training_ended_with(trained: Path) -> None:
    told = json.loads(without("evaluate", str(trained / "run"), "--json").out)
    facts = json.loads((trained / "run" / "run.json").read_text())
    assert told["test_loss"] == facts["figures"]["test_loss"]
    assert told["confusion"] == facts["test"]["confusion"]


@needs_kernels
def test_in_python_too(trained: Path) -> None:
    code = (
        "import tenfold\n"
        f"model = tenfold.load({str(trained / 'run')!r})\n"
        f"assert model.predict({str(trained / 'photos' / 'apple' / '0.png')!r})\n"
        f"assert tenfold.evaluate({str(trained / 'run')!r}).n == 12\n"
    )
    assert python(code)[:2] == (0, "")


def test_a_tensor_is_told_apart_while_pytorch_is_being_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By another thread, while this one predicts."""
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    assert not is_tensor(np.zeros(1))
    assert pytorch_threads() >= 1


def test_bad_data_is_refused_in_the_same_words(tenfold: Tenfold, tmp_path: Path) -> None:
    class_folders(tmp_path / "photos")
    (tmp_path / "photos" / "pear" / "7.png").write_bytes(b"hello")
    lines = ("data photos", "data mnits", "recipes lenet-mnst")
    for line, answer in zip(lines, without_each(*lines), strict=True):
        assert answer.code in (2, 3), line
        assert answer == tenfold(*line.split()), line
