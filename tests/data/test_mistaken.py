"""Paths that are taken for data sets: what they are, and advice that works when pasted."""

from __future__ import annotations

import gzip
import shlex
from pathlib import Path

import numpy as np
import pytest

from bad_inputs.makers.data_sets import idx, idx_set
from command_line import Tenfold
from tenfold.data.load import load_splits
from tenfold.errors import DataError
from tenfold.recipes import load_recipe

QUICK = ["--recipe", "digits-quick", "--epochs", "1", "--threads", "1"]


def refused(path: Path) -> DataError:
    with pytest.raises(DataError) as raised:
        load_splits(path)
    return raised.value


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ('{"status": "running"}', "continue the run with: tenfold resume"),
        ('{"status": "interrupted"}', "continue the run with: tenfold resume"),
        ('{"status": "failed"}', "continue the run with: tenfold resume"),
        ('{"status": "finished"}', "evaluate the run with: tenfold evaluate"),
        ('{"status": "stopped early"}', "evaluate the run with: tenfold evaluate"),
        ('{"status": ["finished"]}', "continue the run with: tenfold resume"),
        ("[" * 100_000, "continue the run with: tenfold resume"),
        ('"finished"', "continue the run with: tenfold resume"),
        ("", "continue the run with: tenfold resume"),
    ],
)
def test_the_folder_of_a_run(tmp_path: Path, text: str, advice: str) -> None:
    run = tmp_path / "my run"
    run.mkdir()
    (run / "run.json").write_text(text)
    error = refused(run)
    assert error.message == f"{run}: this is the folder of a run, wanted a data set"
    assert error.remedy == f"{advice} '{run}'"


def test_a_finished_run_is_evaluated_as_advised(tmp_path: Path, tenfold: Tenfold) -> None:
    assert tenfold("train", "digits", *QUICK, "--out", "a run").code == 0
    answer = tenfold("train", "./a run")
    assert answer.code == 3
    command = answer.err.strip().partition("; evaluate the run with: tenfold ")[2]
    assert tenfold(*shlex.split(command)).code == 0


def test_a_recipe(tmp_path: Path, tenfold: Tenfold) -> None:
    recipe = load_recipe("digits-quick", {"epochs": 1})
    (tmp_path / "my recipe.toml").write_text(recipe.to_toml())
    answer = tenfold("train", "./my recipe.toml")
    assert answer.code == 3
    assert "my recipe.toml: this looks like a recipe, wanted a data set" in answer.err
    command = answer.err.strip().partition("; train by the recipe with: tenfold ")[2]
    words = shlex.split(command.replace("DATA", "digits"))
    assert tenfold(*words, "--threads", "1", "--out", "run").code == 0


@pytest.mark.parametrize("form", ["plain", "gzipped"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("train-images-idx3-ubyte", "images"),
        ("train-labels-idx1-ubyte", "labels"),
        ("t10k-images-idx3-ubyte", "images"),
        ("t10k-labels-idx1-ubyte", "labels"),
    ],
)
def test_one_idx_file(tmp_path: Path, tenfold: Tenfold, form: str, name: str, kind: str) -> None:
    idx_set()(tmp_path)
    path = tmp_path / "set" / name
    if form == "gzipped":
        (tmp_path / "set" / f"{name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        path = tmp_path / "set" / f"{name}.gz"
    error = refused(path)
    assert error.message == (
        f"{path}: this is an IDX file of {kind}, one of the files of a data set, wanted the folder "
        "with all of them"
    )
    folder = error.remedy.removeprefix("name its folder instead: ")
    assert tenfold("data", *shlex.split(folder)).code == 0


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("digits.idx", idx((6, 4, 4), bytes(96))),
        ("digits.gz", gzip.compress(idx((6,), bytes(6)))),
        ("train-images-idx3-ubyte", idx((6, 4, 4), bytes(96))),
    ],
    ids=["images", "labels", "no labels beside"],
)
def test_an_idx_file_whose_folder_is_no_data_set(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    error = refused(tmp_path / name)
    assert "this is an IDX file of " in error.message
    assert error.remedy.startswith("put train-images-idx3-ubyte and train-labels-idx1-ubyte into")
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx((12, 1, 1), bytes(12)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx((12,), bytes([0, 1] * 6)))
    assert len(load_splits(tmp_path, test_fraction=0.0).splits.train) == 12


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\0", b"\0\0\x0d\x03", b"\x1f\x8b", b"\x1f\x8b\x08damaged"],
    ids=["empty", "short", "floats", "start of gzip", "damaged gzip"],
)
def test_other_files_are_left_to_their_readers(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert "IDX" not in str(refused(tmp_path / "file"))


def test_what_no_reader_knows_may_have_been_meant_as_npz(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.zeros(3))
    assert "or an .npz file" in refused(tmp_path / "images.npy").remedy
