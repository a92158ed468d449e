"""Training on some of the training images: which, how many of each class, and the same again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kill import state_of

from command_line import Tenfold
from small_groups import ONE_THREAD, small_recipe
from stopping import StopsAt
from tenfold.data import ImageDataset, Splits, load_splits
from tenfold.data.splitting import limited
from tenfold.errors import InterruptedRunError, UsageError
from tenfold.listening import Recorder
from tenfold.runs import open_run, resume_run, train_run
from tenfold.runs.evaluate import parts_of
from tenfold.runs.fit import fit
from tenfold.runs.folds import cross_validate
from tenfold.runs.reading import read_for
from tenfold.runs.seeds import train_seeds


def numbered(counts: tuple[int, ...], split: str = "train") -> ImageDataset:
    """Images with names, of classes with so many of them, mixed."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    images = np.random.default_rng(1).integers(0, 256, (len(labels), 1, 4, 4)).astype(np.uint8)
    names = [f"{split} {number}" for number in range(len(labels))]
    return ImageDataset(images, labels, tuple("abcdefgh"[: len(counts)]), split=split, names=names)


@pytest.mark.parametrize(
    ("counts", "limit", "kept"),
    [
        ((60, 30, 10), 10, [6, 3, 1]),
        ((60, 30, 10), 50, [30, 15, 5]),
        ((97, 2, 1), 10, [8, 1, 1]),  # shares of 9.7, 0.2 and 0.1
        ((97, 2, 1), 3, [1, 1, 1]),
        ((5, 5, 5), 8, [3, 3, 2]),
        ((90, 0, 10), 2, [1, 0, 1]),  # a class without images needs none
        ((5, 4), 9, [5, 4]),
        ((5, 4), 10, [5, 4]),
    ],
)
def test_each_class_keeps_its_share(counts: tuple[int, ...], limit: int, kept: list[int]) -> None:
    data = numbered(counts)
    found = limited(data, limit, seed=0)
    assert found.class_counts().tolist() == kept
    places = [int(name.split()[1]) for name in found.names or ()]
    assert places == sorted(set(places))
    assert (found.image_array == data.image_array[places]).all()


def test_the_seed_chooses_and_a_larger_limit_keeps_what_a_smaller_has() -> None:
    data = numbered((60, 30, 10))
    some, again, others = (set(limited(data, 20, seed=seed).names or ()) for seed in (1, 1, 2))
    assert some == again != others
    assert some < set(limited(data, 50, seed=1).names or ())


def test_a_limit_below_the_number_of_classes_is_refused(tenfold: Tenfold) -> None:
    line = "train digits --recipe softmax-fashion --epochs 1 --no-report --limit"
    answer = tenfold(*line.split(), "9")
    assert answer.code == 2
    assert (
        "limit is 9, but the training images are of 10 classes, and each needs one; choose 10 or "
        "more, or 0 for all images" in answer.err
    )
    assert tenfold(*line.split(), "10").code == tenfold(*line.split(), "0").code == 0
    assert "limit is -1, wanted at least 0" in tenfold(*line.split(), "-1").err


def test_only_training_images_are_limited() -> None:
    """A validation split of the data's own stays whole; one that is held out is part of them."""
    train, val, test = numbered((60, 40)), numbered((9, 6), "val"), numbered((8, 4), "test")
    read = {}
    for name, splits in (
        ("own", Splits(train, val, test)),
        ("held out", Splits(train, None, test)),
    ):
        told = Recorder(StopsAt())
        recipe = small_recipe(val=0.2, limit=50)
        read[name] = read_for(recipe, splits, ONE_THREAD, listener=told)
        note = "training on 50 of the 100 training images, as many of each class as their share"
        assert f"{note} (limit)" in told.notes
        assert f"{note} (limit)" in read[name].notes
        assert read[name].splits.test is not None
        assert read[name].splits.test.names == test.names
    own, held_out = read["own"].splits, read["held out"].splits
    assert own.val is not None
    assert held_out.val is not None
    assert (len(own.train), own.val.names) == (50, val.names)
    assert (len(held_out.train), len(held_out.val)) == (40, 10)
    chosen = set(held_out.train.names or ()) | set(held_out.val.names or ())
    assert chosen == set(own.train.names or ())


def test_a_limit_of_all_images_changes_nothing() -> None:
    data = Splits(numbered((60, 40)))
    recipe = small_recipe(test=0.0, limit=100)
    read = read_for(recipe, data, ONE_THREAD, listener=(told := Recorder(StopsAt())))
    wanted = read_for(small_recipe(test=0.0), data, ONE_THREAD, listener=StopsAt())
    assert read.fingerprint == wanted.fingerprint
    note = "limit is 100, and there are only 100 training images, so it changes nothing"
    assert note in told.notes
    assert note in read.notes


def test_what_is_left_to_the_data_is_chosen_for_the_images_that_are_used() -> None:
    choices = {"val": "auto", "lr": "auto", "batch_size": "auto", "epochs": 1}
    run = fit(small_recipe(limit=40, **choices), resources=ONE_THREAD)
    assert run.figures.n_val == 0  # too few to hold out any; 1,438 are enough
    assert (run.figures.n_train, run.figures.n_test) == (40, 359)
    splits = load_splits("digits").splits
    by_hand = Splits(limited(splits.train, 40, seed=0), None, splits.test)
    assert run.prepared.chosen == fit(small_recipe(**choices), by_hand).prepared.chosen
    assert run.prepared.chosen != fit(small_recipe(**choices), splits).prepared.chosen


def test_a_run_is_resumed_with_the_same_images(tmp_path: Path, tenfold: Tenfold) -> None:
    recipe = small_recipe(limit=300, seed=4)
    train_run(recipe, out=tmp_path / "whole", resources=ONE_THREAD)
    with pytest.raises(InterruptedRunError):
        train_run(recipe, out=tmp_path / "run", resources=ONE_THREAD, watcher=StopsAt(3))
    run = resume_run(tmp_path / "run")
    assert state_of(run.folder) == state_of(tmp_path / "whole")
    assert "limit = 300" in (run.folder / "recipe.toml").read_text()
    note = "training on 300 of the 1,438 training images, as many of each class as their share"
    assert f"{note} (limit)" in run.facts.data.notes
    n = run.facts.data.n
    assert (n["train"] + n["val"], n["test"]) == (300, 359)
    assert len(parts_of(run.folder)["train"]) == n["train"]
    answer = tenfold("evaluate", "run", "--split", "train")
    assert (answer.code, answer.err) == (0, "")
    assert f"n = {n['train']})" in answer.out


def test_another_limit_is_another_recipe(tmp_path: Path, tenfold: Tenfold) -> None:
    train_run(small_recipe(limit=300), out=tmp_path / "run", resources=ONE_THREAD)
    recipe = tmp_path / "run" / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("limit = 300", "limit = 400"))
    answer = tenfold("resume", "run", "--epochs", "3")
    assert answer.code == 4
    assert (
        "recipe.limit was 300, is 400; undo the change, or accept it: add --accept recipe "
        "--accept data" in answer.err
    )
    answer = tenfold("resume", "run", "--epochs", "3", "--accept", "recipe", "--accept", "data")
    assert answer.code == 0, answer.err
    n = open_run(tmp_path / "run").facts.data.n
    assert n["train"] + n["val"] == 400


def test_all_folds_are_of_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    from tenfold.runs import fit as module

    original, tested = module.fit, list[str]()

    def recording(recipe, data, **others):  # type: ignore[no-untyped-def]
        parts = {part.split: set(part.names or ()) for part in data.splits}
        tested.extend(parts["test"])
        used.append(parts["train"] | parts["test"])
        return original(recipe, data, **others)

    used: list[set[str]] = []
    monkeypatch.setattr(module, "fit", recording)
    recipe = small_recipe(epochs=1, val=0.0, limit=30)
    data = Splits(numbered((60, 40)))
    found = cross_validate(recipe, data, folds=3, resources=ONE_THREAD)
    assert sum(report.n for report in found.reports) == 30
    assert used[0] == used[1] == used[2] == set(tested)
    assert used[0] == set(limited(data.train, 30, seed=0).names or ())


def test_each_seed_of_a_group_chooses_as_it_does_alone(tmp_path: Path) -> None:
    recipe = small_recipe(epochs=1, limit=200)
    told = StopsAt()
    train_seeds(recipe, seeds=2, out=tmp_path / "group", resources=ONE_THREAD, watcher=told)
    alone = recipe.model_copy(update={"seed": 1})
    run = train_run(alone, out=tmp_path / "alone", resources=ONE_THREAD)
    first, second = (open_run(tmp_path / "group" / f"seed-{seed}") for seed in (0, 1))
    assert second.facts.context.data == run.facts.context.data
    assert first.facts.context.data["train"] != second.facts.context.data["train"]
    assert first.facts.context.data["test"] == second.facts.context.data["test"]
    assert sum("(limit)" in note for note in told.notes) == 1


def test_the_limit_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match="limit is 'many', wanted a whole number"):
        small_recipe(limit="many")
