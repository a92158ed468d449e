"""Cross-validation: every image is tested once, by a model that has not seen it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from command_line import Tenfold
from tenfold.data import ImageDataset, Splits
from tenfold.errors import DataError, UsageError
from tenfold.recipes import Recipe, load_recipe
from tenfold.runs import folds as module
from tenfold.runs.fit import fit
from tenfold.runs.folds import cross_validate
from tenfold.runs.reading import RunData
from tenfold.runs.resources import Resources
from tenfold.training.watching import Standing, Watcher

ONE_THREAD = Resources(device="cpu", threads=1)


def recipe(**changes: object) -> Recipe:
    return load_recipe("softmax-fashion", {"epochs": 2, "batch_size": 16, **changes})


def numbered(n: int = 60, groups: list[str] | None = None) -> ImageDataset:
    """Images of three classes, each brighter in another corner, that have their numbers."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 100, (n, 1, 6, 6)).astype(np.uint8)
    labels = np.arange(n, dtype=np.int64) % 3
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 120
    names = [str(number) for number in range(n)]
    return ImageDataset(images, labels, ("a", "b", "c"), names=names, groups=groups)


class Told(Watcher):
    """Keeps the notes, and counts looks at progress."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.looks = 0
        self.every_batches = 1

    def note(self, text: str) -> None:
        self.notes.append(text)

    def advanced(self, standing: Standing) -> None:
        self.looks += 1


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[Splits]:
    """The splits that models are trained and tested on."""
    found: list[Splits] = []

    def recorded(recipe: Recipe, data: RunData, **others: Any) -> object:
        found.append(data.splits)
        return fit(recipe, data, **others)

    monkeypatch.setattr("tenfold.runs.fit.fit", recorded)
    return found


def test_every_image_is_tested_once_by_a_model_that_has_not_seen_it(seen: list[Splits]) -> None:
    data = numbered()
    found = cross_validate(recipe(val=0.2), Splits(data), folds=5, resources=ONE_THREAD)
    assert len(found.reports) == len(seen) == 5
    tested: list[str] = []
    for splits in seen:
        assert splits.val is not None
        assert splits.test is not None
        names = [list(part.names or ()) for part in splits]
        assert sorted(sum(names, [])) == sorted(data.names or ())  # noqa: RUF017 - three lists
        tested += splits.test.names or ()
    assert sorted(tested, key=int) == list(data.names or ())
    assert sum(report.n for report in found.reports) == len(data)


def test_groups_stay_together(seen: list[Splits]) -> None:
    data = numbered(groups=[str(number // 6) for number in range(60)])
    cross_validate(recipe(val=0.2), Splits(data), folds=5, resources=ONE_THREAD)
    for splits in seen:
        of_parts = [set(part.groups or ()) for part in splits]
        assert len(set.union(*of_parts)) == sum(map(len, of_parts)) == 10


def test_the_figures_are_those_of_the_folds() -> None:
    found = cross_validate(recipe(), Splits(numbered()), folds=4, resources=ONE_THREAD)
    facts = json.loads(json.dumps(found.to_dict()))
    for name in ("test_acc", "test_balanced_acc"):
        values = np.array([getattr(report, name) for report in found.reports])
        low, high = stats.t.interval(
            0.95, 3, values.mean(), values.std(ddof=1) / np.sqrt(4) or 1e-12
        )
        assert facts[name]["mean"] == pytest.approx(values.mean())
        assert facts[name]["deviation"] == pytest.approx(values.std(ddof=1))
        assert facts[name]["interval"] == pytest.approx([max(0, low), min(1, high)], abs=1e-6)
    assert [fold["n_test"] for fold in facts["folds"]] == [15] * 4
    first, accuracy, balanced = str(found).splitlines()
    assert first == "4 folds, 60 images, each tested once"
    assert accuracy.startswith(f"test_acc {facts['test_acc']['mean']:.4f} (deviation ")
    assert balanced.startswith("test_balanced_acc ")


def test_the_same_seed_gives_the_same_figures() -> None:
    first, again, other = (
        cross_validate(recipe(seed=seed), Splits(numbered()), folds=3, resources=ONE_THREAD)
        for seed in (1, 1, 2)
    )
    losses = [[report.loss for report in each.reports] for each in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]


def test_a_test_split_is_not_touched(seen: list[Splits]) -> None:
    told = Told()
    data = numbered()
    test = data.select(np.arange(10), split="test")
    found = cross_validate(
        recipe(), Splits(data, None, test), folds=3, resources=ONE_THREAD, watcher=told
    )
    assert sum(report.n for report in found.reports) == len(data)
    assert "the 10 images of the test split are not used" in told.notes


def test_a_validation_split_of_its_own_is_kept(seen: list[Splits]) -> None:
    data = numbered()
    val = data.select(np.arange(12), split="val")
    cross_validate(recipe(val=0.1), Splits(data, val), folds=3, resources=ONE_THREAD)
    assert all(splits.val is not None and splits.val.names == val.names for splits in seen)


def test_what_is_chosen_is_told_once() -> None:
    told = Told()
    changes = {"lr": "auto", "augment.flip": "auto"}
    cross_validate(
        recipe(**changes), Splits(numbered()), folds=3, resources=ONE_THREAD, watcher=told
    )
    assert sum("chosen for this data: " in note for note in told.notes) == 1


def test_each_fold_and_its_progress_are_told() -> None:
    told = Told()
    found = cross_validate(
        recipe(), Splits(numbered()), folds=3, resources=ONE_THREAD, watcher=told
    )
    assert told.notes[-3:] == [
        f"fold {number} of 3: {report}" for number, report in enumerate(found.reports, start=1)
    ]
    assert "there are no test images" not in told.notes
    assert told.looks == 3 * 2 * 3  # folds, epochs, batches


@pytest.mark.parametrize("folds", [-1, 0, 1, module.MOST_FOLDS + 1])
def test_wrong_numbers_of_folds(folds: int) -> None:
    with pytest.raises(UsageError, match=f"folds is {folds}, wanted 2..100"):
        cross_validate(recipe(), Splits(numbered()), folds=folds)


def test_more_folds_than_images() -> None:
    with pytest.raises(DataError, match="12 images cannot be divided into 20 folds"):
        cross_validate(recipe(), Splits(numbered(12)), folds=20, resources=ONE_THREAD)


def test_on_the_command_line(tenfold: Tenfold, tmp_path: Path) -> None:
    command = ["train", "digits", "--recipe", "softmax-fashion", "--epochs", "1", "--threads", "1"]
    answer = tenfold(*command, "--folds", "3")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("3 folds, 1,797 images, each tested once\ntest_acc 0.")
    assert answer.err.count("fold ") == 3
    facts = json.loads(tenfold(*command, "--folds", "3", "--json").out)
    assert len(facts["folds"]) == 3
    assert not (tmp_path / "runs").exists()
    answer = tenfold(*command, "--folds", "2", "--log-every", "3", "--quiet")
    assert "running loss" not in answer.err
    answer = tenfold(*command, "--folds", "2", "--log-every", "3")
    assert re.search(r"^fold 2 of 2, epoch 1, batch 3/\d+: running loss", answer.err, re.MULTILINE)
    for option in (["--out", "run"], ["--plot"], ["--show-test"]):
        refused = tenfold(*command[:4], "--threads", "1", "--folds", "3", *option)
        assert refused.code == 2
        assert f"--folds writes no run, so {option[0]} does nothing" in refused.err
    refused = tenfold(*command[:4], "--folds", "3", "--time", "3s")
    assert refused.code == 2
    assert "--time is for one training, and --folds makes several" in refused.err
    assert tenfold(*command, "--folds", "1").code == 2
