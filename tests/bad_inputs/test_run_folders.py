"""Folders that are not runs, and runs with damaged, changed or missing files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from bad_inputs.makers.data_sets import npz
from bad_inputs.makers.files import all_of, file, replaced, truncated, without
from bad_inputs.makers.pictures import pictures
from bad_inputs.rows import Row, check
from command_line import Tenfold
from tenfold.runs.facts import FORMAT

ROWS = [
    Row("run-missing", "resume gone", 4, ("gone", "no such folder", "tenfold train")),
    Row("run-that-is-none", "resume photos", 4, ("photos", "not a run folder"), pictures(cat=1)),
]

DAMAGED = [
    Row(
        "run-json-not-json",
        "resume run",
        4,
        ("run/run.json", "not JSON", "restore"),
        file("run/run.json", "{"),
    ),
    Row(
        "run-json-binary",
        "resume run",
        4,
        ("run/run.json", "not UTF-8", "restore"),
        file("run/run.json", bytes(range(256))),
    ),
    Row(
        "run-json-nested-too-deeply",
        "evaluate run",
        4,
        ("run/run.json", "not JSON"),
        file("run/run.json", "[" * 200_000),
    ),
    Row(
        "run-json-newer",
        "resume run",
        4,
        ("run/run.json", f"version {FORMAT + 1}", f"reads up to {FORMAT}", "newer tenfold"),
        replaced("run/run.json", f'"format": {FORMAT}', f'"format": {FORMAT + 1}'),
    ),
    Row(
        "run-json-without-data",
        "resume run",
        4,
        ("run/run.json", "data"),
        replaced("run/run.json", '"data": {', '"daten": {'),
    ),
    Row(
        "run-recipe-damaged",
        "resume run",
        4,
        ("run/recipe.toml", "restore"),
        file("run/recipe.toml", "model = "),
    ),
    Row(
        "run-recipe-missing",
        "evaluate run",
        4,
        ("run/recipe.toml", "no such file"),
        without("run/recipe.toml"),
    ),
    Row(
        "run-recipe-changed",
        "resume run --epochs 2",
        4,
        ("run/recipe.toml", "recipe.label_smoothing was", "--accept recipe"),
        replaced("run/recipe.toml", "label_smoothing = 0.0", "label_smoothing = 0.5"),
    ),
    Row(
        "run-recipe-changed-evaluated",
        "evaluate run",
        4,
        (
            "run/recipe.toml",
            "not the recipe that the run ended with",
            "restore it",
            "--accept recipe",
        ),
        replaced("run/recipe.toml", "label_smoothing = 0.0", "label_smoothing = 0.5"),
    ),
    Row(
        "run-of-other-data",
        "resume run --epochs 2 --data photos",
        4,
        ("not what the run was trained with", "classes was", "--accept"),
        pictures(cat=60, dog=60),
    ),
    Row(
        "run-without-checkpoints",
        "resume run --epochs 2",
        4,
        ("run/checkpoints", "none of the 2 checkpoints is valid", "start a new run"),
        all_of(
            *(truncated(f"run/checkpoints/step-{step:09d}.safetensors", 100) for step in (0, 21))
        ),
    ),
    Row(
        "run-whose-data-has-gone",
        "evaluate run",
        3,
        ("gone/photos", "no longer at", "say where it is now"),
        replaced("run/run.json", '"source": "digits"', '"source": "gone/photos"'),
    ),
    Row(
        "run-with-damaged-model",
        "predict run",
        4,
        ("run/model.safetensors", "damaged"),
        truncated("run/model.safetensors"),
    ),
    Row(
        "run-without-such-a-split",
        "evaluate run set.npz --split val",
        3,
        ("set.npz", "no val split", "--split"),
        npz(images=np.zeros((6, 8, 8), np.uint8), labels=np.arange(6) % 3),
    ),
    Row(
        "run-as-data",
        "train ./run",
        3,
        ("run", "the folder of a run", "evaluate the run with: tenfold evaluate /"),
    ),
    Row(
        "run-predicts-nothing-decodable",
        "predict run run.txt --json",
        3,
        ("not an image: it is text that starts with 'hello'", "run.txt"),
        file("run.txt", "hello"),
    ),
]
"""A finished run is in `run` before the input is created."""


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on digits, to be copied."""
    import tenfold

    folder = tmp_path_factory.mktemp("finished") / "run"
    tenfold.train("digits", recipe="digits-quick", epochs=1, threads=1, out=folder)
    return folder


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)


@pytest.mark.parametrize("row", DAMAGED, ids=lambda row: row.id)
def test_a_damaged_run_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path, finished_run: Path
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    check(row, tenfold, tmp_path)
