"""Training in memory gives the same results as a run in a folder, and writes nothing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from kill import EVERYTHING

from tenfold.data import ImageDataset, Splits
from tenfold.data.splitting import with_validation
from tenfold.deployment import Classifier, read_bundle, write_bundle
from tenfold.errors import DataError, TrainingError, UsageError
from tenfold.evaluation import evaluate
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import Run, train_run
from tenfold.runs.fit import Fitted, fit
from tenfold.runs.resources import Resources
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Standing, Watcher


def recipe(**changes: Any) -> Recipe:
    return load_recipe(EVERYTHING, {"epochs": 3, **changes})


@pytest.fixture(scope="module")
def fitted() -> Fitted:
    return fit(recipe(), resources=Resources(device="cpu", threads=1))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("runs") / "run"
    return train_run(recipe(), out=out, resources=Resources(device="cpu", threads=1))


def without_times(history: list[EpochMetrics]) -> list[EpochMetrics]:
    return [each.model_copy(update={"seconds": 0.0}) for each in history]


def test_it_ends_with_the_weights_of_a_run(fitted: Fitted, run: Run) -> None:
    found, wanted = fitted.bundle(), read_bundle(run.folder / "model.safetensors")
    assert found.weights.keys() == wanted.weights.keys()
    for name, stored in wanted.weights.items():
        assert found.weights[name].data == stored.data, name
        assert (found.weights[name].dtype, found.weights[name].shape) == (
            stored.dtype,
            stored.shape,
        )


def test_it_ends_with_the_history_and_the_figures_of_a_run(fitted: Fitted, run: Run) -> None:
    assert without_times(fitted.history) == without_times(list(run.history))
    assert fitted.outcome == run.status == "finished"
    figures = fitted.figures.to_dict()
    assert figures | {"seconds": 0} == run.figures | {"seconds": 0}
    assert figures["seconds"] == sum(each.seconds for each in fitted.history)
    assert fitted.report is not None
    assert run.facts.test == fitted.report.to_dict()
    assert fitted.epoch == run.figures["best_epoch"]


def test_its_bundle_is_that_of_a_run(fitted: Fitted, run: Run, tmp_path: Path) -> None:
    write_bundle(tmp_path / "model.safetensors", fitted.bundle())
    found = read_bundle(tmp_path / "model.safetensors").header.model_dump()
    wanted = read_bundle(run.folder / "model.safetensors").header.model_dump()
    for header in (found, wanted):
        header["figures"]["seconds"] = 0
    assert found == wanted
    assert found["layers"] is not None


def test_its_weights_give_its_figures(fitted: Fitted) -> None:
    """The best epoch's averaged weights, in a module made only from the bundle."""
    splits = fitted.prepared.splits
    assert splits.test is not None
    assert splits.val is not None
    classifier = Classifier(fitted.bundle())
    assert classifier.evaluate(splits.test).accuracy == fitted.figures.test_acc
    assert classifier.evaluate(splits.val).accuracy == fitted.figures.val_acc
    report = evaluate(fitted.prepared.model, splits.test)  # they are also in the model
    assert report.accuracy == fitted.figures.test_acc


def test_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look at the data finds is in the cache."""
    fit(recipe(epochs=1), resources=Resources(threads=1))

    def written(*_: object, **__: object) -> None:
        raise AssertionError("a file was written")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "replace", written)  # the last step of every write
    monkeypatch.setattr(os, "mkdir", written)
    fit(recipe(epochs=1), resources=Resources(threads=1))
    assert not list(tmp_path.iterdir())


class Told(Watcher):
    """Records its calls in order."""

    every_batches = 10

    def __init__(self) -> None:
        self.events: list[object] = []

    def note(self, text: str) -> None:
        self.events.append(text)

    def started(self, folder: Path | None, history: object) -> None:
        self.events.append(("started", folder))

    def advanced(self, standing: Standing) -> None:
        if standing.batch % 10 == 0:
            self.events.append(standing.step)

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        self.events.append(metrics)

    def ended(self) -> None:
        self.events.append("ended")


def test_a_watcher_is_called() -> None:
    told = Told()
    found = fit(recipe(), resources=Resources(threads=1, engine="torch"), watcher=told)
    first, started, *rest = told.events
    assert str(first).startswith("there is no test split: 359 of the 1,797 images were held out")
    assert (started, rest.pop()) == (("started", None), "ended")
    assert [event for event in rest if not isinstance(event, str)] == [
        *(10, 20, found.history[0]),
        *(31, 41, found.history[1]),
        *(52, 62, found.history[2]),
    ]


class Interrupts(Told):
    def advanced(self, standing: Standing) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_ends_it_at_once_and_the_watcher_is_called() -> None:
    told = Interrupts()
    with pytest.raises(KeyboardInterrupt):
        fit(recipe(epochs=1), resources=Resources(threads=1), watcher=told)
    assert told.events[-1] == "ended"


def made_up(n: int = 24) -> ImageDataset:
    numbers = torch.Generator().manual_seed(0)
    images = torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8, generator=numbers)
    return ImageDataset(images, torch.arange(n) % 2, ("a", "b"))


def test_data_without_other_splits_has_only_training_figures() -> None:
    plain = load_recipe("softmax-fashion", {"epochs": 2, "batch_size": 8, "test": 0.0})
    found = fit(plain, Splits(made_up()), resources=Resources(threads=1))
    assert found.report is None
    assert (found.figures.n_val, found.figures.n_test) == (0, 0)
    assert found.figures.best_epoch is None
    assert found.epoch == 2  # the last one
    figures = found.figures.to_dict()
    assert figures["val_acc"] is None
    assert not [name for name in figures if name.startswith("test_")]


def test_a_validation_split_of_its_own_is_kept() -> None:
    """The recipe's share is held out only from data without one."""
    own = Splits(made_up(40), made_up(6).renamed("val"), made_up(4).renamed("test"))
    assert with_validation(own, 0.5, seed=0) == own
    found = with_validation(Splits(own.train, test=own.test), 0.5, seed=0)
    assert [len(part) for part in found] == [20, 20, 4]


def test_a_batch_larger_than_the_data_is_made_smaller() -> None:
    told = Told()
    found = fit(
        recipe(epochs=1, batch_size=64, val=0.0, test=0.0, patience=0),
        Splits(made_up()),
        resources=Resources(threads=1),
        watcher=told,
    )
    assert found.prepared.recipe.batch_size == 24
    note = "batch_size reduced from 64 to 24, the number of training images"
    assert note in told.events


def test_misfits_are_refused_before_training() -> None:
    with pytest.raises(UsageError, match="patience is 3, but there is no validation split"):
        fit(recipe(val=0.0, batch_size=8), Splits(made_up()), resources=Resources(threads=1))
    with pytest.raises(DataError, match="nowhere"):
        fit(recipe(), "./nowhere", resources=Resources(threads=1))


def test_a_loss_that_is_not_finite_is_an_error() -> None:
    wild = load_recipe("softmax-fashion", {"lr": 1e6, "weight_decay": 1e6, "batch_size": 8})
    with pytest.raises(TrainingError, match="train again with a learning rate ten times lower"):
        fit(wild, Splits(made_up(512)), resources=Resources(threads=1))
