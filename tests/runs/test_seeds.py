"""Groups of runs that differ only in their seeds: what they share, and how they are continued."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tenfold as package
from command_line import Tenfold
from small_bundles import weights_of
from small_groups import ONE_THREAD, small_recipe
from small_images import digits
from stopping import StopsAt
from tenfold.data import ImageDataset, Splits
from tenfold.data.folders.walking import walk
from tenfold.errors import (
    DataError,
    FileRefusedError,
    InterruptedRunError,
    TrainingError,
    UsageError,
)
from tenfold.runs import open_run, open_seeds, train_run
from tenfold.runs import reading as reading_module
from tenfold.runs.groups import GroupFolder, SeedRuns
from tenfold.runs.seeds import resume_seeds, train_seeds
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Standing, Watcher


def bits(group: SeedRuns) -> list[dict[str, bytes]]:
    return [weights_of(run) for run in group.runs]


def test_each_run_is_the_one_that_its_seed_alone_gives(compared: Path, tmp_path: Path) -> None:
    group = open_seeds(compared / "slow")
    assert [run.recipe.seed for run in group.runs] == [0, 1, 2]
    alone = train_run(small_recipe(seed=2), out=tmp_path / "alone", resources=ONE_THREAD)
    assert weights_of(alone) == bits(group)[2] != bits(group)[1]
    assert alone.facts.data == group.runs[2].facts.data
    assert alone.facts.context == group.runs[2].facts.context


def test_they_differ_in_nothing_but_the_seed(compared: Path) -> None:
    recipes = [
        run.recipe.model_copy(update={"seed": 0}) for run in open_seeds(compared / "slow").runs
    ]
    assert recipes[0] == recipes[1] == recipes[2]
    tests = {run.facts.context.data["test"] for run in open_seeds(compared / "slow").runs}
    assert len(tests) == 1


def test_what_is_left_to_the_data_is_chosen_once(tmp_path: Path) -> None:
    class Told(Watcher):
        def __init__(self) -> None:
            self.notes: list[str] = []

        def note(self, text: str) -> None:
            self.notes.append(text)

    told = Told()
    recipe = small_recipe(lr="auto", epochs="auto", seed=7)
    group = train_seeds(
        recipe, seeds=2, out=tmp_path / "g", resources=ONE_THREAD, time="0.2s", watcher=told
    )
    assert [run.recipe.seed for run in group.runs] == [7, 8]
    assert len({(run.recipe.lr, run.recipe.epochs) for run in group.runs}) == 1
    assert sum("chosen for this data" in note for note in told.notes) == 1
    assert len(told.notes) == len(set(told.notes))


def test_the_data_is_read_once_and_each_run_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watching(Watcher):
        def started(self, folder: Path | None, history: Sequence[EpochMetrics]) -> None:
            calls.append(str(folder))

        def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
            calls.append(f"{metrics.epoch} of {epochs}")

        def ended(self) -> None:
            calls.append("ended")

    calls: list[str] = []
    reads = []

    def counted(*args: Any, **named: Any) -> object:
        reads.append(args)
        return load(*args, **named)

    load = reading_module.load_splits
    monkeypatch.setattr(reading_module, "load_splits", counted)
    place, watching = tmp_path / "g", Watching()
    recipe = small_recipe(epochs=1)
    train_seeds(recipe, seeds=2, out=place, resources=ONE_THREAD, watcher=watching)
    assert len(reads) == 1
    first, second = ([str(place / f"seed-{seed}"), "1 of 1", "ended"] for seed in (0, 1))
    assert calls == first + second


def test_the_figures_are_those_of_the_runs(compared: Path) -> None:
    group = open_seeds(compared / "fast")
    values = [run.figures["test_acc"] for run in group.runs]
    found = group.figures["test_acc"]
    assert (found.n, found.mean) == (4, pytest.approx(np.mean(values)))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    facts = json.loads(json.dumps(group.to_dict()))
    assert [run["test_acc"] for run in facts["runs"]] == values
    assert [run["seed"] for run in facts["runs"]] == facts["seeds"] == [0, 1, 2, 3]
    assert facts["figures"]["test_acc"]["interval"] == list(found.interval)
    assert str(group).startswith("4 runs with the seeds 0 to 3\nval_loss ")
    assert f"test_acc {found.mean:.4f} (deviation {found.deviation:.4f}, 95 % " in str(group)


@pytest.fixture
def group(compared: Path, tmp_path: Path) -> Path:
    """A copy of a group, to be changed."""
    return Path(shutil.copytree(compared / "slow", tmp_path / "group"))


def test_reports_that_are_missing_are_made_up_for(tenfold: Tenfold, group: Path) -> None:
    """Also what was left half-written when the process died after a run had ended."""
    leftover = group / "seed-1" / ".report.html.12-0123abcd.tmp"
    leftover.write_text("half")
    shutil.rmtree(group / "seed-2")
    assert tenfold("resume", str(group), "--no-report").code == 0
    assert not list(group.glob("seed-*/report.html"))
    assert not leftover.exists()
    shutil.rmtree(group / "seed-2")
    assert tenfold("resume", str(group)).code == 0
    assert len(list(group.glob("seed-*/report.html"))) == 3
    (group / "seed-1" / "report.html").unlink()
    package.resume_seeds(group, quiet=True)
    assert (group / "seed-1" / "report.html").exists()


def test_runs_that_have_not_begun_are_trained_as_if_they_had(compared: Path, group: Path) -> None:
    for seed in (0, 2):
        shutil.rmtree(group / f"seed-{seed}")
    assert open_seeds(group).unfinished == (0, 2)
    assert "1 of 3 runs with the seeds 0 to 2\nnot finished: 0, 2" in str(open_seeds(group))
    found = resume_seeds(group)
    assert bits(found) == bits(open_seeds(compared / "slow"))
    assert found.unfinished == ()


@pytest.mark.parametrize(("name", "epoch"), [("seed 0 (1 of 3)", 2), ("seed 1 (2 of 3)", 1)])
def test_a_stopped_group_ends_with_the_same_bits(
    name: str, epoch: int, compared: Path, tmp_path: Path
) -> None:
    class Stops(Watcher):
        every_batches = 1
        is_done = False

        def advanced(self, standing: Standing) -> None:
            if (standing.training, standing.epoch, self.is_done) == (name, epoch, False):
                self.is_done = True
                signal.raise_signal(signal.SIGTERM)

    place = tmp_path / "g"
    with pytest.raises(InterruptedRunError, match=r"continue with: tenfold resume \S*/g$") as info:
        train_seeds(small_recipe(), seeds=3, out=place, resources=ONE_THREAD, watcher=Stops())
    assert info.value.exit_code == 128 + signal.SIGTERM
    found = resume_seeds(place)
    assert bits(found) == bits(open_seeds(compared / "slow"))


def test_a_signal_between_two_runs(tmp_path: Path) -> None:
    class StopsAfter(Watcher):
        def note(self, text: str) -> None:
            if text.startswith("seed 0: finished"):
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(InterruptedRunError, match="stopped between two runs; continue with"):
        train_seeds(
            small_recipe(epochs=1),
            seeds=2,
            out=tmp_path / "g",
            resources=ONE_THREAD,
            watcher=StopsAfter(),
        )
    assert len(resume_seeds(tmp_path / "g").runs) == 2


def test_a_group_with_another_recipe_is_not_called_finished(group: Path) -> None:
    facts = json.loads((group / "seeds.json").read_text())
    facts["recipe"]["lr"] = 0.25
    (group / "seeds.json").write_text(json.dumps(facts))
    told = StopsAt()
    with pytest.raises(FileRefusedError, match="another recipe than its group: lr"):
        resume_seeds(group, watcher=told)
    assert told.notes == []


def test_a_finished_group_has_nothing_to_do(group: Path) -> None:
    told = StopsAt()
    before = {path: path.stat().st_mtime_ns for path in group.rglob("*.json")}
    resume_seeds(group, watcher=told)
    assert told.notes == [f"{group}: all 3 runs have ended, nothing to do"]
    assert before == {path: path.stat().st_mtime_ns for path in group.rglob("*.json")}


def test_a_run_that_fails_does_not_stop_the_others(group: Path) -> None:
    facts = json.loads((group / "seed-1" / "run.json").read_text())
    failed = {**facts, "status": "failed", "failure": "it blew up", "figures": None, "test": None}
    (group / "seed-1" / "run.json").write_text(json.dumps(failed | {"digests": {}}))
    found = open_seeds(group)
    assert found.failures == {1: "it blew up"}
    assert "2 of 3 runs with the seeds 0 to 2\nseed 1 failed: it blew up" in str(found)
    assert found.figures["test_acc"].n == 2


def test_if_all_fail_that_is_an_error(tenfold: Tenfold) -> None:
    line = "train digits --recipe digits-quick --lr 1e6 --optimizer sgd --threads 1 --epochs 1"
    answer = tenfold(*line.split(), "--seeds", "2", "--out", "g", "--quiet")
    assert answer.code == TrainingError.exit_code
    assert "seed 0 failed: the loss became" in answer.err
    assert "seed 1 failed: the loss became" in answer.err
    assert "g: all runs failed; seed 0: the loss became" in answer.err


def test_data_passed_in_python_is_passed_again(tmp_path: Path) -> None:
    data = digits(400)
    splits = Splits(
        data.select(np.arange(300)), None, data.select(np.arange(300, 400), split="test")
    )
    place = tmp_path / "g"
    whole = train_seeds(small_recipe(), splits, seeds=2, out=place, resources=ONE_THREAD)
    shutil.rmtree(place / "seed-1")
    with pytest.raises(UsageError, match="passed in Python; resume in Python, and pass it again"):
        resume_seeds(place)
    other = ImageDataset(255 - data.image_array, data.label_array, data.classes)
    with pytest.raises(DataError, match="the data has changed since the group was begun"):
        resume_seeds(place, data=Splits(other.select(np.arange(300)), None, splits.test))
    assert bits(resume_seeds(place, data=splits)) == bits(whole)


def test_what_is_no_group_or_damaged(group: Path, tmp_path: Path) -> None:
    for place, said in (
        (tmp_path / "none", "no such folder"),
        (tmp_path, "not the folder of a gr"),
    ):
        with pytest.raises(FileRefusedError, match=said):
            resume_seeds(place)
    text = (group / "seeds.json").read_text()
    for change, said in (
        ({"format": 2}, "its format is version 2"),
        ({"format": None}, "its format is None"),
        ({"seeds": []}, "seeds"),
        ({"seeds": [0, 0]}, "a seed is there twice"),
        ({"recipe": {"modl": "mlp"}}, "unknown key 'modl'"),
    ):
        (group / "seeds.json").write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(FileRefusedError, match=said):
            open_seeds(group)
    (group / "seeds.json").write_text("{")
    with pytest.raises(FileRefusedError, match="not JSON"):
        open_seeds(group)


def test_a_run_that_was_trained_further_does_not_belong_to_its_group(group: Path) -> None:
    package.resume(group / "seed-1", epochs=3, quiet=True)
    with pytest.raises(FileRefusedError, match="another recipe than its group: epochs"):
        open_seeds(group)


@pytest.mark.parametrize("seeds", [-1, 0, 1, 1001])
def test_wrong_numbers_of_seeds(seeds: int) -> None:
    with pytest.raises(UsageError, match=rf"seeds is {seeds}, wanted 2..1000"):
        train_seeds(small_recipe(), seeds=seeds)


def test_seeds_have_an_end() -> None:
    with pytest.raises(UsageError, match="seed is 9223372036854775807, wanted less than"):
        train_seeds(small_recipe(seed=2**63 - 1), seeds=2)


def test_a_group_is_neither_a_run_nor_data(group: Path, tenfold: Tenfold) -> None:
    first = group / "seed-0"
    for line in (["evaluate"], ["predict"]):
        answer = tenfold(*line, str(group))
        assert answer.code == 4
        assert "this is a group of runs with different seeds, wanted a single run" in answer.err
        assert f"name one of them, such as {first}" in answer.err
    with pytest.raises(FileRefusedError, match="wanted a single run"):
        open_run(group)
    answer = tenfold("train", str(group))
    assert answer.code == 3
    assert "wanted a data set; show the runs with: tenfold runs" in answer.err
    answer = tenfold("train", "digits", "--seeds", "2", "--out", str(group))
    assert answer.code == 2
    assert f"continue the runs in it with: tenfold resume {group}" in answer.err


def test_a_group_beside_pictures_is_no_part_of_the_data(group: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "seeds.json").write_text("{}")
    (tmp_path / "new" / ".lock").write_text("")
    (tmp_path / "0.png").write_text("")
    assert [parts for parts, _ in walk(tmp_path)] == [("0.png",)]
    (group / "0.png").write_text("")
    assert ("group", "0.png") in [parts for parts, _ in walk(tmp_path)]


def test_on_the_command_line(tenfold: Tenfold, tmp_path: Path) -> None:
    line = ["train", "digits", "--recipe", "softmax-fashion", "--epochs", "1", "--threads", "1"]
    answer = tenfold(*line, "--seeds", "2", "--seed", "5")
    assert answer.code == 0, answer.err
    group = tmp_path / "runs" / "digits-softmax-001"
    assert sorted(path.name for path in group.glob("[!.]*")) == ["seed-5", "seed-6", "seeds.json"]
    assert answer.out.startswith("2 runs with the seeds 5, 6\n")
    assert answer.out.endswith(
        "group  runs/digits-softmax-001\nnext   tenfold compare runs/digits-softmax-001 OTHER\n"
    )
    assert answer.err.index("note: seed 5 (1 of 2)\n") < answer.err.index("note: seed 6 (2 of 2)\n")
    shutil.rmtree(group / "seed-6")
    facts = json.loads(tenfold("resume", "runs/digits-softmax-001", "--json").out)
    assert [run["seed"] for run in facts["runs"]] == facts["seeds"] == [5, 6]
    for option in (["--epochs", "2"], ["--accept", "recipe"]):
        answer = tenfold("resume", "runs/digits-softmax-001", *option)
        assert answer.code == 2
        assert f"{option[0]} is for a single run" in answer.err
    answer = tenfold(*line, "--seeds", "2", "--folds", "2")
    assert answer.code == 2
    assert "--folds and --seeds exclude each other" in answer.err


def test_in_python(tmp_path: Path) -> None:
    place = tmp_path / "g"
    group = package.train_seeds(
        "digits", seeds=2, recipe="softmax-fashion", epochs=1, out=place, threads=1, quiet=True
    )
    assert repr(group) == f"SeedRuns({str(place)!r}, 2 of 2 have ended)"
    shutil.rmtree(place / "seed-0")
    again = package.resume_seeds(group, quiet=True)
    assert bits(again) == bits(package.open_seeds(place))
    assert GroupFolder(place).is_there
