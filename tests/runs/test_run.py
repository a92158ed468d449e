"""Runs read back from their folders: figures, models, and evaluation on any data."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import tenfold
from stopping import StopsAt
from tenfold.data import ImageDataset, Splits, load_splits
from tenfold.deployment import read_bundle
from tenfold.errors import DataError, FileRefusedError, InterruptedRunError, UsageError
from tenfold.runs import resume_run

CHANGES = {"recipe": "digits-quick", "epochs": 2, "threads": 1, "quiet": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on digits."""
    return tenfold.train("digits", out=tmp_path_factory.mktemp("runs") / "run", **CHANGES).folder


@pytest.fixture(scope="module")
def digits() -> Splits:
    return load_splits("digits").splits


def test_evaluation_gives_exactly_what_training_ended_with(folder: Path) -> None:
    run = tenfold.open_run(folder)
    report = tenfold.evaluate(run)
    for figure, value in report.figures().items():
        assert run.figures[figure] == value, figure
    assert run.facts.test == json.loads(json.dumps(report.to_dict()))


def test_a_moved_run_and_a_moved_bundle_still_mean_the_same(folder: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(folder, tmp_path / "moved")
    assert tenfold.evaluate(moved).test_loss == tenfold.evaluate(folder).test_loss
    bundle = shutil.copy(folder / "model.safetensors", tmp_path / "some.safetensors")
    assert tenfold.load(bundle).classes == tuple("0123456789")
    with pytest.raises(UsageError, match="does not say where its data lies"):
        tenfold.evaluate(bundle)
    assert tenfold.evaluate(bundle, "digits").n == 1797


def test_the_runs_own_data_named_again_is_split_as_it_was(folder: Path, digits: Splits) -> None:
    assert tenfold.evaluate(folder, "digits").test_loss == tenfold.evaluate(folder).test_loss
    again = tenfold.evaluate(folder, digits)
    assert (again.n, again.test_loss) == (359, tenfold.evaluate(folder).test_loss)


def test_other_data_is_evaluated_whole(folder: Path, digits: Splits) -> None:
    assert digits.test is not None
    other = digits.test.select(torch.arange(100), split="train")
    assert tenfold.evaluate(folder, other).n == 100


def test_some_of_the_classes_in_another_order_are_found_by_name(
    folder: Path, digits: Splits
) -> None:
    assert digits.test is not None
    chosen = ((digits.test.labels == 3) | (digits.test.labels == 7)).nonzero().squeeze(1)
    some = digits.test.select(chosen)
    named = ImageDataset(some.images, (some.labels == 3).long(), ("7", "3"))
    assert tenfold.evaluate(folder, named).correct == tenfold.evaluate(folder, some).correct
    foreign = ImageDataset(some.images, (some.labels == 3).long(), ("seven", "three"))
    with pytest.raises(DataError, match="seven, three, the model's are 0, 1"):
        tenfold.evaluate(folder, foreign)


def test_data_that_has_changed_since_is_not_taken_for_the_same(tmp_path: Path) -> None:
    from numpy import savez

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 8, 8), dtype=torch.uint8, generator=generator).numpy()
    labels = (torch.arange(60) % 3).numpy()
    savez(tmp_path / "set.npz", images=images, labels=labels)
    run = tenfold.train(
        tmp_path / "set.npz", out=tmp_path / "run", **{**CHANGES, "batch_size": 8, "epochs": 1}
    )
    images[0, 0, 0] ^= 1
    savez(tmp_path / "set.npz", images=images, labels=labels)
    with pytest.raises(DataError, match="the data has changed since the run learned from it"):
        tenfold.evaluate(run)
    assert tenfold.evaluate(run, tmp_path / "set.npz").n == 60


@pytest.mark.parametrize("split", ["train", "val"])
def test_other_splits_have_their_own_figures(folder: Path, split: str) -> None:
    run = tenfold.open_run(folder)
    report = tenfold.evaluate(run, split=split)
    assert report.n == run.figures[f"n_{split}"]
    if split == "val":
        assert report.val_loss == run.figures["val_loss"]


def test_a_run_says_what_it_is(folder: Path) -> None:
    run = tenfold.open_run(folder)
    assert run.status == "finished"
    assert len(run.history) == 2
    assert run.recipe.image_size == (8, 8)
    assert run.recipe.model_args["channels"] == [32, 64]
    assert run.facts.data.n == {"train": 1294, "val": 144, "test": 359}
    assert run.facts.sessions[0].bit_exact is True
    assert "test_acc" in run._repr_html_()
    assert run.model.predict(torch.zeros(2, 1, 8, 8, dtype=torch.uint8))[0] in "0123456789"


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    for call in (tenfold.open_run, tenfold.load, tenfold.evaluate, tenfold.resume):
        with pytest.raises(FileRefusedError, match=r"nowhere: there is no such folder"):
            call(tmp_path / "nowhere")


def test_a_run_that_goes_on_is_used_with_its_best_weights_so_far(
    folder: Path, tmp_path: Path
) -> None:
    """Not with the model of its earlier end, which lies there until the run ends again."""
    run = shutil.copytree(folder, tmp_path / "run")
    with pytest.raises(InterruptedRunError):
        resume_run(run, epochs=6, watcher=StopsAt(5 * 21))
    best = read_bundle(run / "checkpoints" / "best.safetensors")
    assert best.header.figures["epochs"] > 2
    assert tenfold.load(run).bundle.sha256 == best.sha256
    assert tenfold.open_run(run).model.bundle.sha256 == best.sha256
    resume_run(run)
    assert tenfold.load(run).bundle.place == str(run / "model.safetensors")


def test_data_that_has_moved_is_named_once(tmp_path: Path) -> None:
    old, new = tmp_path / "old.npz", tmp_path / "new.npz"
    pixels = np.random.default_rng(0).integers(0, 256, (200, 8, 8), np.uint8)
    np.savez(old, images=pixels, labels=np.arange(200) % 4)
    run = tenfold.train(old, out=tmp_path / "run", **CHANGES)
    old.rename(new)
    for use in (tenfold.evaluate, partial(tenfold.resume, epochs=3)):
        with pytest.raises(DataError, match=r"no longer at .*old\.npz; say where it is now"):
            use(run)
    resumed = tenfold.resume(run, epochs=3, data=new, quiet=True)
    assert tenfold.evaluate(run).test_acc == resumed.figures["test_acc"]
