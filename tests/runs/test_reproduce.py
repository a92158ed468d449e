"""The teaching recipes beside what the tutorials published."""

from __future__ import annotations

import json
import math
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from command_line import Tenfold
from tenfold.errors import InterruptedRunError, TrainingError, UsageError
from tenfold.recipes import load_recipe, recipe_names
from tenfold.reproduction import reproduce as module
from tenfold.reproduction.published import (
    SYSTEMS,
    Expected,
    Interval,
    Measurement,
    PublishedFigure,
    Verdict,
    judge,
    judge_failure,
)
from tenfold.reproduction.reproduce import Reproduction, measurements_of, reproduce
from tenfold.reproduction.text import reproduction_markdown, reproduction_text, summary
from tenfold.runs import open_run
from tenfold.runs.resources import Resources
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Standing, Watcher

SOFTMAX = "softmax-fashion"


def figure(recipe: str, name: str, epoch: int | None) -> PublishedFigure:
    [found] = [f for f in SYSTEMS[recipe].figures if (f.figure, f.epoch) == (name, epoch)]
    return found


def verdict(recipe: str, name: str, epoch: int | None, value: float, **options: Any) -> str:
    return judge(figure(recipe, name, epoch), Measurement(value), **options).name


class TestVerdicts:
    @pytest.mark.parametrize(
        ("epoch", "value", "wanted"),
        [
            (2, 0.0858, "reproduced"),
            (2, 0.0730, "reproduced"),  # 15 % below is 0.07293
            (2, 0.0729, "differs"),
            (2, 0.0986, "reproduced"),  # 15 % above is 0.09867
            (2, 0.0987, "differs"),
            (11, 0.0152, "reproduced"),
            (11, 0.0130, "reproduced"),  # 0.01292
            (11, 0.0129, "differs"),
            (11, 0.0174, "reproduced"),  # 0.01748
            (11, 0.0175, "differs"),
            (11, math.nan, "differs"),
        ],
    )
    def test_losses_of_lenet_within_15_percent(self, epoch: int, value: float, wanted: str) -> None:
        assert verdict("lenet-mnist", "train_loss", epoch, value) == wanted

    def test_a_loss_that_rises_differs(self) -> None:
        assert verdict("lenet-mnist", "rises", 11, 0.0) == "reproduced"
        assert verdict("lenet-mnist", "rises", 11, 1.0) == "differs"

    @pytest.mark.parametrize(
        ("value", "wanted"),
        [
            (0.99607, "reproduced"),
            (0.995, "reproduced"),
            (0.9949, "differs, as expected"),
            (0.98, "differs"),
        ],
    )
    def test_the_training_accuracy_of_lenet(self, value: float, wanted: str) -> None:
        assert verdict("lenet-mnist", "evaluated_train_acc", 11, value) == wanted

    @pytest.mark.parametrize(
        ("value", "wanted"),
        [
            (0.996, "reproduced"),
            (0.994, "differs"),  # neither the tutorial's figure nor that on real test images
            (0.993, "differs, as expected"),
            (0.989, "differs, as expected"),
            (0.985, "differs, as expected"),
            (0.984, "differs"),
        ],
    )
    def test_the_honest_test_accuracy_differs_and_says_why(self, value: float, wanted: str) -> None:
        found = judge(figure("lenet-mnist", "test_acc", 11), Measurement(value, 10_000))
        assert found.name == wanted
        assert ("training images again" in found.reason) == (wanted == "differs, as expected")

    @pytest.mark.parametrize(
        ("name", "epoch", "value", "wanted"),
        [
            ("train_loss", 10, 0.45, "reproduced"),
            ("train_loss", 10, 0.5, "differs"),  # the bound itself does not count as below it
            ("train_acc", 10, 0.7, "differs"),
            ("train_acc", 10, 0.7001, "reproduced"),
            ("test_acc", 10, 0.7, "differs"),
            ("test_acc", 10, 1.0, "reproduced"),
            ("test_acc", 0, 0.1, "reproduced"),
            ("test_acc", 0, 0.3, "differs"),
        ],
    )
    def test_the_bounds_of_softmax_regression(
        self, name: str, epoch: int, value: float, wanted: str
    ) -> None:
        assert verdict(SOFTMAX, name, epoch, value) == wanted

    @pytest.mark.parametrize(
        ("off", "on_copy", "wanted"),
        [
            (0.0, False, "reproduced"),
            (0.0, True, "reproduced"),
            (0.035, False, "differs"),
            (0.035, True, "differs, as expected"),
            (-0.035, True, "differs, as expected"),
            (0.041, True, "differs"),
        ],
    )
    @pytest.mark.parametrize(
        ("epoch", "published"), [(1, 0.38), (2, 0.51), (3, 0.57), (4, 0.59), (5, 0.61)]
    )
    def test_a_copy_of_cifar10_may_differ_more(
        self, epoch: int, published: float, off: float, on_copy: bool, wanted: str
    ) -> None:
        found = verdict("cnn-cifar10", "train_acc", epoch, published + off, on_copy=on_copy)
        assert found == wanted

    @pytest.mark.parametrize(
        ("epoch", "published"),
        [(1, 1.67102), (2, 1.35650), (3, 1.22355), (4, 1.14639), (5, 1.09468)],
    )
    def test_the_losses_of_cnn_cifar10(self, epoch: int, published: float) -> None:
        assert verdict("cnn-cifar10", "train_loss", epoch, published) == "reproduced"
        assert verdict("cnn-cifar10", "train_loss", epoch, published + 0.11) == "differs"
        assert figure("cnn-cifar10", "train_loss", epoch).published == f"{published:.5f}"

    @pytest.mark.parametrize(
        ("loss", "learned"), [(0.1, True), (2.27, True), (2.3026, False), (2.9, False)]
    )
    def test_convpool_says_whether_it_learned(self, loss: float, learned: bool) -> None:
        found = judge(figure("convpool-mnist", "train_loss", None), Measurement(loss))
        assert found.name == "nothing published"
        assert ("has learned" in found.reason) == learned
        assert ("has not learned" in found.reason) != learned

    def test_an_expectation_without_a_published_figure_can_fail(self) -> None:
        assert verdict("mlp-fashion", "test_acc", 5, 0.65) == "nothing published"
        found = judge(figure("mlp-fashion", "test_acc", 5), Measurement(0.3))
        assert found.name == "differs"
        assert "[0.6, 0.7]" in found.reason

    def test_nothing_published_and_nothing_expected(self) -> None:
        found = judge(PublishedFigure("test_acc", "x", 1), Measurement(0.1))
        assert found == Verdict("nothing published")

    def test_not_run(self) -> None:
        found = judge(figure(SOFTMAX, "train_loss", 10), None, why_not="the data is missing")
        assert found == Verdict("not run", "the data is missing")

    def test_failed_training_differs_if_something_is_published(self) -> None:
        assert judge_failure(figure(SOFTMAX, "train_loss", 10), "nan").name == "differs"
        found = judge_failure(figure("convpool-mnist", "train_loss", None), "nan")
        assert found == Verdict("nothing published", "the training failed: nan")

    def test_an_expected_range_of_a_copy_holds_only_for_the_copy(self) -> None:
        one = PublishedFigure(
            "test_acc",
            "x",
            1,
            "0.5",
            Interval(0.5, 0.5),
            "exact",
            (Expected(Interval(0.4, 0.6), "a copy", only_on_copy=True),),
        )
        on_copy = judge(one, Measurement(0.4), on_copy=True)
        assert on_copy == Verdict("differs, as expected", "a copy")
        assert judge(one, Measurement(0.4)).name == "differs"


class TestTable:
    def test_its_recipes_are_there(self) -> None:
        assert set(SYSTEMS) <= set(recipe_names())
        assert len(SYSTEMS) == 5

    @pytest.mark.parametrize("name", SYSTEMS)
    def test_the_tutorials_epochs_are_the_recipes(self, name: str) -> None:
        assert SYSTEMS[name].published_epochs == load_recipe(name).epochs
        assert SYSTEMS[name].epochs <= SYSTEMS[name].full_epochs

    @pytest.mark.parametrize("name", SYSTEMS)
    def test_published_figures_have_a_range_and_a_source(self, name: str) -> None:
        for each in SYSTEMS[name].figures:
            assert bool(each.published) == (each.accepted is not None) == bool(each.tolerance)
            assert each.epoch is None or each.epoch <= SYSTEMS[name].full_epochs

    @pytest.mark.parametrize("name", SYSTEMS)
    def test_a_published_number_would_reproduce_itself(self, name: str) -> None:
        for each in SYSTEMS[name].figures:
            if re.fullmatch(r"[0-9.]+", each.published):
                assert each.accepted is not None
                assert each.accepted.holds(float(each.published))


def epochs_with(losses: list[float]) -> list[EpochMetrics]:
    return [
        EpochMetrics(
            epoch=i,
            train_loss=loss,
            train_acc=0.25,
            val_loss=None,
            val_acc=None,
            lr=0.1,
            seconds=1.0,
        )
        for i, loss in enumerate(losses, start=1)
    ]


def test_a_history_as_measurements() -> None:
    found = measurements_of(epochs_with([0.1, 0.5, 0.4, 0.45, 0.3, 0.31]), 400)
    assert found["train_loss", 4].value == 0.45
    assert found["train_acc", 6] == Measurement(0.25, 400)
    # From the second epoch on: the rise from 0.1 to 0.5 is before the printed epochs.
    assert [found["rises", epoch].value for epoch in range(1, 7)] == [0, 0, 0, 1, 1, 2]


def test_an_accuracy_has_wilsons_interval() -> None:
    # Wilson's interval for 90 of 100, from R: prop.test(90, 100, correct = FALSE)
    assert Measurement(0.9, 100).interval == pytest.approx((0.8256343, 0.9447708), abs=1e-7)
    assert Measurement(0.9).interval is None


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Reproduction:
    folder = tmp_path_factory.mktemp("one-epoch")
    with pytest.MonkeyPatch.context() as patch:  # a test's cache folder is set up only later
        patch.setenv("TENFOLD_CACHE", str(folder / "cache"))
        return reproduce(
            [SOFTMAX],
            epochs=1,
            out=folder / "table",
            resources=Resources(real_data, threads=1),
            command="tenfold reproduce",
        )


@pytest.fixture(scope="module")
def facts(reproduction: Reproduction) -> dict[str, Any]:
    return json.loads((reproduction.folder / "reproduction.json").read_text())


class TestOneEpoch:
    def test_it_is_the_recipe_with_only_the_epochs_changed(
        self, reproduction: Reproduction
    ) -> None:
        run = open_run(reproduction.folder / SOFTMAX)
        left_open = (None, {})  # a run fills in what the recipe leaves to the data and the model
        changed = {
            key
            for key, value in load_recipe(SOFTMAX).to_dict().items()
            if value not in left_open and run.recipe.to_dict()[key] != value
        }
        assert changed == {"epochs"}
        assert run.recipe.epochs == len(run.history) == 1

    def test_the_untrained_model_guesses(self, facts: dict[str, Any]) -> None:
        [untrained] = [f for f in facts["recipes"][0]["figures"] if f["epoch"] == 0]
        assert untrained["verdict"] == "reproduced"
        low, high = untrained["interval"]
        assert low < untrained["measured"] < high < 0.25
        assert untrained["n"] == 10_000

    def test_figures_of_later_epochs_are_not_judged(self, facts: dict[str, Any]) -> None:
        later = [f for f in facts["recipes"][0]["figures"] if f["epoch"] == 10]
        assert len(later) == 3
        for each in later:
            assert each["verdict"] == "not run"
            assert each["measured"] is None
            assert "epoch 10" in each["reason"]
            assert "epoch 1" in each["reason"]

    def test_the_json_object(self, facts: dict[str, Any], reproduction: Reproduction) -> None:
        assert set(facts) == {"schema", "folder", "command", "machine", "recipes"}
        assert facts["schema"] == 1
        assert set(facts["machine"]) >= {
            *("cpu", "cores", "platform", "python"),
            *("device", "threads", "torch", "tenfold"),
        }
        [recipe] = facts["recipes"]
        assert recipe["run"] == str(reproduction.folder / SOFTMAX)
        assert recipe["n"] == {"train": 60_000, "val": 0, "test": 10_000}
        assert (recipe["epochs_run"], recipe["epochs_published"]) == (1, 10)
        assert recipe["seconds"] > 0
        assert recipe["conditions"]["threads"] == 1
        assert recipe["data"] == recipe["data_published"] == "Fashion-MNIST"
        assert recipe["test_acc"] > 0.7
        for each in recipe["figures"]:
            assert set(each) == {
                *("figure", "epoch", "meaning", "published", "accepted", "tolerance"),
                *("measured", "n", "interval", "verdict", "reason"),
            }

    def test_the_markdown_has_a_row_for_every_figure(
        self, facts: dict[str, Any], reproduction: Reproduction
    ) -> None:
        text = (reproduction.folder / "reproduction.md").read_text()
        assert text == reproduction_markdown(facts)
        assert text.startswith("# ")
        assert "```\ntenfold reproduce\n```" in text
        assert facts["machine"]["torch"] in text
        rows = [line for line in text.splitlines() if line.startswith("|")]
        assert len(rows) == 2 + len(facts["recipes"][0]["figures"])
        assert {row.count("|") for row in rows} == {7}
        assert [line for line in text.splitlines() if line.startswith("## ")] == [f"## `{SOFTMAX}`"]

    def test_nothing_differs(self, reproduction: Reproduction, facts: dict[str, Any]) -> None:
        assert reproduction.exit_code == 0
        assert summary(facts) == "4 figures (not run: 3, reproduced: 1)"


def test_the_command(tenfold: Tenfold, real_data: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.md"
    answer = tenfold(
        *("reproduce", SOFTMAX, "--epochs", "1", "--threads", "1"),
        *("--data-root", str(real_data), "--markdown", str(table), "--json"),
    )
    assert answer.code == 0, answer.err
    facts = json.loads(answer.out)
    assert facts["folder"] == "runs/reproduction-001"
    assert facts["command"].startswith("tenfold reproduce softmax-fashion --epochs 1")
    assert table.read_text() == reproduction_markdown(facts)
    assert "epoch 1/1" in answer.err

    shown = tenfold("reproduce", SOFTMAX, "--offline", "--data-root", str(tmp_path))
    assert shown.code == 3
    assert "not run: " in shown.out
    assert "runs/reproduction-002" in shown.out


def test_missing_data_stops_one_recipe_and_not_the_others(
    real_data: Path, in_a_folder: Path
) -> None:
    root = in_a_folder / "data"
    root.mkdir()
    (root / "FashionMNIST").symlink_to(real_data / "FashionMNIST")
    done = reproduce(
        ["lenet-mnist", SOFTMAX, "cnn-cifar10"],
        epochs=1,
        out=Path("table"),
        resources=Resources(root, download=False, threads=1),
    )
    assert [outcome.run is not None for outcome in done.outcomes] == [False, True, False]
    for missing in (done.outcomes[0], done.outcomes[2]):
        assert {finding.verdict.name for finding in missing.findings} == {"not run"}
        assert "downloading is switched off" in missing.findings[0].verdict.reason
    assert done.exit_code == 0
    text = reproduction_text(done.to_dict())
    assert text.count("downloading is switched off") == 2  # once per recipe, not once per figure
    assert text.count("not run: the figure is for epoch 10") == 3
    assert summary(done.to_dict()) == "20 figures (not run: 19, reproduced: 1)"


def test_a_folder_of_an_unknown_user(in_a_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TENFOLD_DATA", "~nobody-of-this-name/data")
    done = reproduce(["cnn-cifar10"], out=Path("table"), resources=Resources(threads=1))
    assert done.exit_code == 3
    assert "the folder of data sets named by TENFOLD_DATA does not exist" in reproduction_text(
        done.to_dict()
    )


def test_a_copy_is_called_a_copy(in_a_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = in_a_folder / "data" / "cifar10-jpeg.tar.xz"
    copy.parent.mkdir()
    copy.touch()
    asked: list[object] = []

    def no_training(recipe: object, data: object, **_: object) -> None:
        asked.append(data)
        raise TrainingError("not now")

    monkeypatch.setattr(module, "train_run", no_training)
    notes = Notes()
    done = reproduce(
        ["cnn-cifar10"],
        out=Path("table"),
        resources=Resources(copy.parent, threads=1),
        watcher=notes,
    )
    assert asked == [str(copy)]
    [recipe] = done.to_dict()["recipes"]
    assert recipe["data"] == "CIFAR-10 (JPEG copy)"
    assert recipe["data_published"] == "CIFAR-10"
    assert any("using CIFAR-10 (JPEG copy)" in note for note in notes.texts)
    for text in (
        (done.folder / "reproduction.md").read_text(),
        reproduction_text(done.to_dict()),
    ):
        assert "on CIFAR-10 (JPEG copy), published for CIFAR-10" in text

    reasons = {finding.verdict.reason for finding in done.outcomes[0].findings}
    assert reasons == {"the training failed: not now"}
    assert done.exit_code == 1  # failed training does not reproduce anything


class Notes(Watcher):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def note(self, text: str) -> None:
        self.texts.append(text)


class InterruptsItself(Watcher):
    """Sends Ctrl-C in the middle of the first epoch."""

    every_batches = 1

    def advanced(self, standing: Standing) -> None:
        if standing.batch == 3:
            os.kill(os.getpid(), signal.SIGINT)


def test_an_interruption_keeps_what_was_finished(
    real_data: Path, in_a_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_run = module.train_run

    def second_is_interrupted(recipe: Any, data: Any, **options: Any) -> Any:
        if recipe.model == "mlp":
            options["watcher"] = InterruptsItself()
        return train_run(recipe, data, **options)

    monkeypatch.setattr(module, "train_run", second_is_interrupted)
    done = reproduce(
        [SOFTMAX, "mlp-fashion", "lenet-mnist"],
        epochs=1,
        out=Path("table"),
        resources=Resources(real_data, threads=1),
    )
    assert done.exit_code == 130
    first, second, third = json.loads(Path("table/reproduction.json").read_text())["recipes"]
    assert first["figures"][0]["verdict"] == "reproduced"
    assert "tenfold resume table/mlp-fashion" in second["figures"][0]["reason"]
    assert third["figures"][0]["reason"] == "interrupted before it began"


def test_ctrl_c_outside_training_also_ends_it(
    in_a_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_run", interrupted)
    done = reproduce([SOFTMAX, "mlp-fashion"], out=Path("table"), resources=Resources(threads=1))
    assert done.exit_code == 130
    assert [o.findings[0].verdict.reason for o in done.outcomes] == [
        "interrupted",
        "interrupted before it began",
    ]


def test_sigterm_has_its_own_exit_code(in_a_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def terminated(*_: object, **__: object) -> None:
        raise InterruptedRunError("stopped", remedy="resume", signal_number=15)

    monkeypatch.setattr(module, "train_run", terminated)
    assert reproduce([SOFTMAX], out=Path("table"), resources=Resources(threads=1)).exit_code == 143


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": ["lenet-minst"]}, "did you mean 'lenet-mnist'"),
        ({"names": ["default"]}, "not a recipe with published figures"),
        ({"epochs": 3, "full": True}, "--full and --epochs exclude each other"),
        ({"epochs": 0}, "epochs is 0"),
        ({"out": Path()}, "already exists and is not an empty folder"),
    ],
)
def test_wrong_usage(options: dict[str, Any], message: str, in_a_folder: Path) -> None:
    (in_a_folder / "something").touch()
    with pytest.raises(UsageError, match=re.escape(message)):
        reproduce(options.pop("names", [SOFTMAX]), **options)
    assert [path.name for path in in_a_folder.iterdir()] == ["something"]
