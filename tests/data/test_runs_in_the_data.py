"""A run whose folder is in that of its data: trained, resumed and evaluated like any other."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Tenfold
from stopping import StopsAt
from tenfold.deployment import read_bundle
from tenfold.errors import InterruptedRunError
from tenfold.recipes import load_recipe
from tenfold.runs import open_run, train_run
from tenfold.runs.resources import Resources

CHANGES = {"model": "softmax", "epochs": 2, "batch_size": 8}
OPTIONS = ["--model", "softmax", "--epochs", "2", "--batch-size", "8", "--threads", "1"]


@pytest.fixture(params=["", "train", "pets/train"])
def photos(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Class folders of 20 images: without splits, in a split, and with a folder around them."""
    generator = np.random.default_rng(1)
    for number in range(40):
        path = tmp_path / "photos" / request.param / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8), dtype=np.uint8)).save(path)
    return tmp_path / "photos"


@pytest.mark.parametrize("out", [None, Path("mine"), Path("deeper/mine")])
def test_a_run_in_its_own_data(
    out: Path | None,
    photos: Path,
    tenfold: Tenfold,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shutil.copytree(photos, tmp_path / "copy")
    recipe, resources = load_recipe("default", CHANGES), Resources(threads=1)
    whole = train_run(recipe, "copy", out=tmp_path / "whole", resources=resources)

    monkeypatch.chdir(photos)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, ".", out=out, resources=resources, watcher=StopsAt(3))
    (facts_file,) = photos.rglob("run.json")
    run = facts_file.parent.relative_to(photos)
    resumed = tenfold("resume", str(run), "--plot")
    assert resumed.code == 0, resumed.err
    assert (run / "training.png").is_file()
    evaluated = tenfold("evaluate", str(run))
    assert evaluated.code == 0, evaluated.err
    again = tenfold("train", ".", *OPTIONS, *(["--out", "again"] if out else []))
    assert again.code == 0, again.err

    runs = [path.parent for path in photos.rglob("run.json")]
    assert len(runs) == 2
    for run in runs:
        facts = open_run(run).facts
        assert facts.data.fingerprint == whole.facts.data.fingerprint
        assert facts.data.notes == whole.facts.data.notes
        assert facts.sessions[-1].bit_exact
        assert weights_of(run) == weights_of(whole.folder)


def weights_of(run: Path) -> dict[str, bytes]:
    weights = read_bundle(run / "model.safetensors").weights
    return {name: tensor.array().tobytes() for name, tensor in weights.items()}
