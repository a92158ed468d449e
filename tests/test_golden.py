"""Runs and files of tenfold 0.1.0 still open, and the same training still gives the same bits."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import tenfold

GOLDEN = Path(__file__).parent / "golden"
BITS = json.loads((GOLDEN / "bits.json").read_text())


def _maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = _maker()


def require_same(found: dict[str, object], wanted: dict[str, Any]) -> None:
    """Bit-identical weights on the processor that made them, close figures elsewhere.

    On other processors the last bits differ and, after some steps, the last digits too. When the
    bits were recorded, losses of evaluations were computed in single precision.
    """
    of = (wanted.get("processor", BITS["processor"]), BITS["torch"])
    if of == (make.processor(), torch.__version__):
        assert found["weights"] == wanted["weights"]
        assert found["figures"] == pytest.approx(wanted["figures"], rel=1e-7)
        assert found["history"] == [pytest.approx(row, rel=1e-7) for row in wanted["history"]]
    else:
        assert found["figures"] == pytest.approx(wanted["figures"], abs=0.02)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", make.NARROW)
def test_the_same_training_gives_the_same_bits(name: str, threads: int, tmp_path: Path) -> None:
    run = make.train_narrow(name, tmp_path / "run", threads)
    found = json.loads(json.dumps(make.bits_of(run)))
    require_same(found, BITS[f"{name}, threads {threads}"])


def copied(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / name, tmp_path / name))


@pytest.mark.parametrize("name", ["finished", "folder"])
def test_a_finished_run_opens_with_its_figures(name: str, tmp_path: Path) -> None:
    run = tenfold.open_run(copied(name, tmp_path))
    assert json.loads(json.dumps(make.bits_of(run))) == BITS[f"{name}, as it ended"]
    assert run.status == "finished"
    assert run.recipe.val > 0


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    folder = copied("finished", tmp_path)
    before = (folder / "model.safetensors").read_bytes()
    assert tenfold.resume(folder, quiet=True).status == "finished"
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_finished_run_evaluates_to_its_figures(tmp_path: Path) -> None:
    run = tenfold.open_run(copied("finished", tmp_path))
    report = tenfold.evaluate(run)
    assert report.test_acc == run.figures["test_acc"]
    assert report.test_loss == pytest.approx(run.figures["test_loss"], rel=1e-6)


def test_a_run_on_a_moved_folder_evaluates_to_its_figures(tmp_path: Path) -> None:
    run = tenfold.open_run(copied("folder", tmp_path))
    report = tenfold.evaluate(run, GOLDEN / "pictures")
    assert report.n == run.figures["n_test"]
    assert report.test_acc == run.figures["test_acc"]
    assert report.test_loss == pytest.approx(run.figures["test_loss"], rel=1e-6)


def test_a_run_is_trained_further(tmp_path: Path) -> None:
    run = tenfold.resume(copied("finished", tmp_path), epochs=4, quiet=True)
    assert len(run.history) == 4


def test_an_interrupted_run_ends_with_the_bits_of_an_uninterrupted_one(tmp_path: Path) -> None:
    require_same(make.bits_after_resume("interrupted", tmp_path), BITS["interrupted, resumed"])
    assert tenfold.open_run(tmp_path / "interrupted").status == "finished"


def test_a_run_whose_weights_have_been_renamed_ends_with_the_same_bits(
    tmp_path: Path,
) -> None:
    folder = copied("perceptron", tmp_path)
    older = tenfold.load(folder)  # its best weights so far
    assert sorted(older.bundle.weights) == [
        f"layers.{place}.{name}" for place in (1, 3, 5) for name in ("bias", "weight")
    ]
    require_same(
        make.bits_after_resume("perceptron", tmp_path / "again"), BITS["perceptron, resumed"]
    )


def test_a_run_on_cropped_pictures_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Pictures of other proportions are cropped as they were when it began."""
    found = make.bits_after_resume("cropped", tmp_path, GOLDEN / "pictures")
    require_same(found, BITS["cropped, resumed"])
    run = tenfold.open_run(tmp_path / "cropped")
    assert (run.status, run.recipe.resize, run.recipe.normalize) == ("finished", "crop", "dataset")


def test_a_run_with_corrections_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Without their table, as it was when resnets had no other arguments."""
    found = make.bits_after_resume("corrected", tmp_path, GOLDEN / "pictures")
    require_same(found, BITS["corrected, resumed"])
    facts = tenfold.open_run(tmp_path / "corrected").facts
    assert facts.data.corrections == {"apple/03.png": "", "pear/05.png": "plum"}
    assert facts.data.n == {"train": 22, "val": 6, "test": 7}


def test_a_run_on_16_bit_pictures_goes_on_with_the_same_bits_of_them(tmp_path: Path) -> None:
    """The highest 8 of 16, although the pictures have 12."""
    run = tenfold.open_run(copied("deep", tmp_path))
    report = tenfold.evaluate(run, GOLDEN / "deep-pictures")
    assert report.test_acc == run.figures["test_acc"]
    assert report.test_loss == pytest.approx(run.figures["test_loss"], rel=1e-6)
    resumed = tenfold.resume(run, epochs=3, data=GOLDEN / "deep-pictures", quiet=True)
    assert len(resumed.history) == 3
    assert resumed.recipe.depth == 16
    assert resumed.model.bundle.header.depth == 16


def test_an_old_bundle_crops_the_pictures() -> None:
    pictures = sorted((GOLDEN / "pictures").rglob("*.png"))[::5]
    model = tenfold.load(GOLDEN / "cropped-model.safetensors")
    assert model.bundle.header.resize == "crop"
    found = model.predict_proba(pictures)
    assert found.tolist() == [
        pytest.approx(row, abs=1e-6) for row in BITS["cropped, probabilities"]
    ]


def test_an_old_bundle_predicts_the_same_probabilities() -> None:
    pictures = sorted((GOLDEN / "pictures").rglob("*.png"))[::5]
    found = tenfold.load(GOLDEN / "folder" / "model.safetensors").predict_proba(pictures)
    assert found.tolist() == [pytest.approx(row, abs=1e-6) for row in BITS["folder, probabilities"]]


def test_a_checkpoint_by_hand_is_loaded_in_every_type() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).to(torch.bfloat16)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    facts = tenfold.training.load_checkpoint(GOLDEN / "parts.safetensors", network, optimizer)
    assert facts == {"epoch": 3}
    assert {value.dtype for value in network.state_dict().values()} == {torch.bfloat16}
    assert len(optimizer.state_dict()["state"]) == 2


@pytest.mark.parametrize("name", make.BY_HAND)
def test_a_checkpoint_by_hand_is_loaded_with_the_names_of_today(name: str) -> None:
    """Also inside another module; the optimizer's state goes with its parameters."""
    model, optimizer = make.by_hand(name)
    facts = tenfold.training.load_checkpoint(GOLDEN / f"parts-{name}.safetensors", model, optimizer)
    found = tenfold.evaluation.predict_logits(model, make.images_by_hand())
    assert found.tolist() == [pytest.approx(row, abs=1e-6) for row in facts["logits"]]
    for parameter in model.parameters():
        assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape
