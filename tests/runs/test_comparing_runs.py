"""Runs side by side: which belong together, what differs, and which test is made."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import tenfold as package
from command_line import Tenfold
from small_groups import ONE_THREAD, small_recipe
from small_images import digits
from tenfold.data import ImageDataset, Splits
from tenfold.errors import FileRefusedError, UsageError
from tenfold.evaluation.comparing import Paired, Welch
from tenfold.runs import open_run, train_run
from tenfold.runs.comparing import compare_runs
from tenfold.runs.predicted import predictions_of
from tenfold.runs.seeds import train_seeds

UNFINISHED = {"figures": None, "test": None, "digests": {}}


def test_two_runs_are_compared_image_by_image(compared: Path) -> None:
    places = [compared / "single", compared / "wide"]
    found = compare_runs(places)
    first, second = (predictions_of(open_run(place)).correct for place in places)
    (test,) = found.tests
    assert isinstance(test.result, Paired)
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    assert (test.result.first_only, test.result.second_only, test.result.n) == (b, c, 359)
    assert test.result.p == pytest.approx(stats.binomtest(b, b + c).pvalue)
    accuracies = [open_run(place).figures["test_acc"] for place in places]
    assert test.result.difference == pytest.approx(accuracies[1] - accuracies[0])
    assert test.corrected == test.result.p
    single = found.candidates[0]
    assert single.interval == tuple(open_run(places[0]).figures["test_interval"])
    assert single.summaries == {}


def test_groups_are_compared_by_their_means(compared: Path) -> None:
    found = compare_runs([compared / "slow", compared / "fast"])
    assert [(each.name, each.seeds) for each in found.candidates] == [
        ("A", (0, 1, 2)),
        ("B", (0, 1, 2, 3)),
    ]
    values = [[run.figures["test_acc"] for run in each.runs] for each in found.candidates]
    (test,) = found.tests
    wanted = stats.ttest_ind(values[1], values[0], equal_var=False)
    assert isinstance(test.result, Welch)
    assert test.result.p == pytest.approx(wanted.pvalue, rel=1e-4)
    assert test.result.interval == pytest.approx(tuple(wanted.confidence_interval()), rel=1e-5)
    low, high = stats.t.interval(0.95, 3, np.mean(values[1]), stats.sem(values[1]))
    assert found.candidates[1].interval == pytest.approx((low, min(1, high)), rel=1e-6)
    assert found.candidates[1].figures["test_acc"] == pytest.approx(np.mean(values[1]))


def test_runs_that_differ_only_in_the_seed_are_together_however_they_are_named(
    compared: Path,
) -> None:
    places = [
        compared / "fast" / "seed-2",
        compared / "slow" / "seed-1",
        compared / "fast" / "seed-0",
        compared / "slow" / "seed-0",
    ]
    found = compare_runs(places)
    assert [each.seeds for each in found.candidates] == [(2, 0), (1, 0)]
    assert found.candidates[0].place == f"{places[0]}, {places[2]}"
    assert isinstance(found.tests[0].result, Welch)


def relabeled(n: int) -> Splits:
    """Digits, where as many zeros and ones among the training images have the other's label."""
    train, test = digits(300), digits(400).select(np.arange(300, 400), split="test")
    labels = train.label_array.copy()
    for label in (0, 1):
        labels[np.flatnonzero(train.label_array == label)[:n]] = 1 - label
    return Splits(
        ImageDataset(train.image_array, labels, train.classes, split="train", source="digits"),
        None,
        test,
    )


@pytest.fixture(scope="module")
def on_two_data_sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Groups on training images of equal number and name, of which some have other labels."""
    folder = tmp_path_factory.mktemp("relabeled")
    for name, n, val, seed in (
        ("whole", 0, 0.0, 0),
        ("whole-relabeled", 5, 0.0, 2),
        ("divided", 0, 0.1, 0),
        ("divided-relabeled", 5, 0.1, 0),
    ):
        recipe = small_recipe(data="", epochs=1, val=val, seed=seed)
        train_seeds(recipe, relabeled(n), seeds=2, out=folder / name, resources=ONE_THREAD)
    return folder


@pytest.mark.parametrize("kind", ["whole", "divided"])
def test_runs_on_other_images_are_not_taken_together(kind: str, on_two_data_sets: Path) -> None:
    found = compare_runs([on_two_data_sets / kind, on_two_data_sets / f"{kind}-relabeled"])
    assert [len(each.runs) for each in found.candidates] == [2, 2]
    assert found.recipes.keys() <= {"seed"}
    assert found.notes == found.divided == ()
    assert found.data["train"] == [["A"], ["B"]]
    assert found.data["test"] == [["A", "B"]]


def test_runs_on_other_validation_images_are_not_taken_together(tmp_path: Path) -> None:
    whole = relabeled(0)
    for name, start in (("one", 0), ("other", 30)):
        val = whole.train.select(np.arange(start, start + 30), split="val")
        splits = Splits(whole.train.select(np.arange(60, len(whole.train))), val, whole.test)
        recipe = small_recipe(data="", epochs=1, seed=start)
        train_seeds(recipe, splits, seeds=2, out=tmp_path / name, resources=ONE_THREAD)
    found = compare_runs([tmp_path / "one", tmp_path / "other"])
    assert [len(each.runs) for each in found.candidates] == [2, 2]
    assert found.divided == ()


def test_what_is_held_out_from_only_some_is_not_called_divided(on_two_data_sets: Path) -> None:
    found = compare_runs([on_two_data_sets / "divided", on_two_data_sets / "whole"])
    assert found.divided == ()
    assert (found.data["train"], found.data["val"]) == ([["A"], ["B"]], [["A"]])


def test_a_smaller_number_of_images_is_not_divided_alike(
    on_two_data_sets: Path, tmp_path: Path
) -> None:
    """Though the rest is divided by the seed, too."""
    fewer = relabeled(0)
    fewer = Splits(fewer.train.select(np.arange(297)), None, fewer.test)
    recipe = small_recipe(data="", epochs=1, seed=4)
    train_seeds(recipe, fewer, seeds=2, out=tmp_path / "fewer", resources=ONE_THREAD)
    found = compare_runs([on_two_data_sets / "divided", tmp_path / "fewer"])
    assert [len(each.runs) for each in found.candidates] == [2, 2]
    assert found.divided == ()


def test_a_repeated_group_is_not_tested(on_two_data_sets: Path, tmp_path: Path) -> None:
    recipe = small_recipe(data="", epochs=1)
    train_seeds(recipe, relabeled(0), seeds=3, out=tmp_path / "again", resources=ONE_THREAD)
    found = compare_runs([on_two_data_sets / "divided", tmp_path / "again"])
    assert found.divided == ("train", "val")
    assert found.tests[0].why_not == (
        "runs of B repeat those of A (seeds 0, 1), so the two are not independent"
    )


@pytest.fixture(scope="module")
def with_copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A group on images that are there twice, so that each seed holds out another number."""
    data = digits(400)
    once, twice = np.arange(240), np.repeat(np.arange(240, 300), 2)
    splits = Splits(
        data.select(np.concatenate([once, twice])),
        None,
        data.select(np.arange(300, 400), split="test"),
    )
    folder = tmp_path_factory.mktemp("copies") / "group"
    recipe = small_recipe(data="", epochs=1, batch_size=10_000)
    train_seeds(recipe, splits, seeds=4, out=folder, resources=ONE_THREAD)
    return folder


def test_a_group_on_equal_images_is_one_candidate(with_copies: Path, compared: Path) -> None:
    runs = package.open_seeds(with_copies).runs
    facts = [run.facts for run in runs]
    assert len({each.data.n["train"] for each in facts}) > 1
    everything = [each.data.n["train"] == each.context.recipe["batch_size"] for each in facts]
    assert any(everything)
    assert not all(everything)
    for places in ([with_copies], [run.folder for run in runs]):
        found = compare_runs([*places, compared / "fast"])
        assert [each.seeds for each in found.candidates] == [(0, 1, 2, 3), (0, 1, 2, 3)]


def test_a_group_is_never_torn_apart(compared: Path, tmp_path: Path) -> None:
    """Though one of its seeds is there already."""
    group = Path(shutil.copytree(compared / "slow", tmp_path / "group"))
    found = compare_runs([compared / "slow" / "seed-1", group])
    assert [each.seeds for each in found.candidates] == [(1,), (0, 1, 2)]
    assert found.notes[-1].startswith("B has the recipe and a seed of A, so it is a repetition")


def test_another_batch_size_is_no_other_seed(tmp_path: Path) -> None:
    for seed, size in ((0, 32), (1, 64)):
        recipe = small_recipe(epochs=1, batch_size=size, seed=seed)
        train_run(recipe, out=tmp_path / f"{size}", resources=ONE_THREAD)
    found = compare_runs([tmp_path / "32", tmp_path / "64"])
    assert found.recipes["batch_size"] == {"A": 32, "B": 64}


def test_a_run_that_does_not_belong_to_its_group(compared: Path, tmp_path: Path) -> None:
    group = Path(shutil.copytree(compared / "slow", tmp_path / "group"))
    package.resume(group / "seed-1", epochs=3, quiet=True)
    with pytest.raises(FileRefusedError, match="another recipe than its group: epochs"):
        compare_runs([group, compared / "fast"])


def test_a_repetition_is_no_further_seed(compared: Path, tmp_path: Path) -> None:
    again = Path(shutil.copytree(compared / "slow" / "seed-0", tmp_path / "again"))
    found = compare_runs([compared / "slow" / "seed-0", again])
    assert len(found.candidates) == 2
    assert isinstance(found.tests[0].result, Paired)
    assert (found.tests[0].result.p, found.tests[0].result.interval[0] < 0) == (1, True)
    assert found.recipes == found.conditions == {}
    assert [note.partition(",")[0] for note in found.notes] == ["B has the recipe and a seed of A"]
    link = tmp_path / "link"
    link.symlink_to(again)
    found = compare_runs([again, link, compared / "wide"])
    assert len(found.candidates) == 2
    assert found.notes == (f"{link} was named twice, and counts once",)


def test_only_what_differs_is_told(compared: Path) -> None:
    found = compare_runs([compared / "single", compared / "wide", compared / "slow"])
    assert found.recipes["model"] == {"A": "softmax", "B": "mlp", "C": "softmax"}
    assert found.recipes["epochs"] == {"A": 4, "B": 2, "C": 2}
    assert found.recipes["seed"] == {"A": "0", "B": "0", "C": "0 to 2"}
    assert found.recipes["model_args.hidden"]["A"] is None
    assert not found.recipes.keys() & {"batch_size", "data", "optimizer", "val"}
    assert found.conditions == {}
    assert found.data["test"] == [["A", "B", "C"]]
    assert found.data["train"] == [["A", "B"], ["C"]]


def test_a_run_and_a_group_are_not_tested(compared: Path) -> None:
    found = compare_runs([compared / "slow", compared / "single"])
    assert found.tests[0].why_not == (
        "B is a single run, and A has 3 seeds; train B with several seeds too, or name one run of A"
    )
    found = compare_runs([compared / "slow"])
    assert found.tests == ()
    assert "differ only in their seeds" in found.notes[0]


def test_several_tests_are_corrected(compared: Path) -> None:
    found = compare_runs(
        [compared / "single", compared / "wide", compared / "slow" / "seed-0", compared / "fast"]
    )
    p = [test.result.p for test in found.tests if test.result is not None]
    assert len(p) == 2
    corrected = [test.corrected for test in found.tests]
    assert corrected == [
        pytest.approx(min(1, max(p[0] * (1 + (p[0] < p[1])), 2 * min(p)))),
        pytest.approx(min(1, max(p[1] * (1 + (p[1] <= p[0])), 2 * min(p)))),
        None,
    ]
    assert [(test.first, test.second) for test in found.tests] == [("A", x) for x in "BCD"]


def test_other_test_images(compared: Path, tmp_path: Path) -> None:
    data = digits(500)
    splits = [
        Splits(data.select(np.arange(300)), None, data.select(np.arange(start, 500), split="test"))
        for start in (300, 310)
    ]
    recipe = small_recipe(data="", epochs=1)
    for number, each in enumerate(splits):
        train_run(recipe, each, out=tmp_path / f"{number}", resources=ONE_THREAD)
    found = compare_runs([tmp_path / "0", tmp_path / "1"])
    assert found.tests[0].why_not == "they were tested on different images"
    assert found.divided == ()
    assert found.data == {"train": [["A", "B"]], "val": [["A", "B"]], "test": [["A"], ["B"]]}
    other = small_recipe(data="", epochs=1, lr=0.3)
    train_run(other, splits[0], out=tmp_path / "2", resources=ONE_THREAD)
    found = compare_runs([tmp_path / "0", tmp_path / "2"])
    assert found.tests[0].why_not.endswith(
        "the run's data was passed in Python; write its predictions again in Python: "
        f"tenfold.report('{tmp_path / '0'}', data)"
    )
    train_run(small_recipe(test=0.0), out=tmp_path / "3", resources=ONE_THREAD)
    found = compare_runs([tmp_path / "0", tmp_path / "3"])
    assert found.tests[0].why_not == "B has no test images"
    assert found.candidates[1].interval is None


def test_a_run_that_has_not_finished(compared: Path, tmp_path: Path) -> None:
    group = Path(shutil.copytree(compared / "slow", tmp_path / "group"))
    change_facts(group / "seed-0", **UNFINISHED, status="interrupted")
    shutil.rmtree(group / "seed-1")
    found = compare_runs([compared / "wide", group])
    assert [len(each.ended) for each in found.candidates] == [1, 1]
    assert found.tests[0].result is not None
    assert len(found.notes) == 2
    assert "the run with seed 1 has not begun; train it with: tenfold resume" in found.notes[0]
    assert found.notes[1].endswith(
        f"seed-0 has no final figures (status: interrupted); finish it with: tenfold resume {group}"
    )
    found = compare_runs([compared / "fast", group])
    assert found.tests[0].why_not == (
        "only one run of B has ended, and A has 4; name one run of A, or finish the others with: "
        f"tenfold resume {group}"
    )
    shutil.rmtree(group / "seed-2")
    found = compare_runs([compared / "wide", group])
    assert found.tests[0].why_not == "B has no final figures"


def test_a_run_of_a_group_that_has_failed(compared: Path, tmp_path: Path) -> None:
    group = Path(shutil.copytree(compared / "slow", tmp_path / "group"))
    change_facts(group / "seed-0", **UNFINISHED, status="failed", failure="the loss is infinite")
    found = compare_runs([group, compared / "fast"])
    (note,) = found.notes
    assert note == (
        f"{group / 'seed-0'} has no final figures (status: failed: the loss is infinite)"
    )
    assert isinstance(found.tests[0].result, Welch)
    change_facts(group / "seed-1", **UNFINISHED, status="failed", failure="the loss is infinite")
    found = compare_runs([compared / "fast", group])
    assert found.tests[0].why_not == "only one run of B has ended, and A has 4; name one run of A"


def test_groups_without_any_deviation_are_not_tested(compared: Path, tmp_path: Path) -> None:
    for name, accuracy in (("slow", 0.5), ("fast", 0.75)):
        shutil.copytree(compared / name, tmp_path / name)
        for folder in (tmp_path / name).glob("seed-*"):
            facts = json.loads((folder / "run.json").read_text())
            change_facts(folder, figures=facts["figures"] | {"test_acc": accuracy}, digests={})
    found = compare_runs([tmp_path / "slow", tmp_path / "fast"])
    assert found.tests[0].result is None
    assert found.tests[0].why_not == (
        "all runs of A have the same accuracy, and so have those of B, so they do not say how far "
        "apart chance alone brings them"
    )
    found = compare_runs([tmp_path / "slow", compared / "fast"])
    assert isinstance(found.tests[0].result, Welch)


def test_the_figures_of_a_group_are_those_of_all_its_runs(compared: Path) -> None:
    found = compare_runs([compared / "slow", compared / "single"])
    group, single = found.candidates
    assert not group.figures.keys() & {"test_interval", "train_acc", "train_loss"}
    assert (group.figures["epochs"], group.figures["n_test"]) == (2, 359)
    assert single.figures == open_run(compared / "single").figures
    facts = found.to_dict()["candidates"]
    assert [each["interval"] for each in facts] == [
        list(group.summaries["test_acc"].interval),
        list(single.figures["test_interval"]),
    ]


def test_the_same_pictures_in_another_size(compared: Path, tmp_path: Path) -> None:
    train_run(small_recipe(epochs=1, image_size=(10, 10)), out=tmp_path / "l", resources=ONE_THREAD)
    found = compare_runs([compared / "single", tmp_path / "l"])
    assert found.tests[0].why_not == (
        "they were tested on the same source, but on images of 8x8 and 10x10"
    )


def test_conditions_of_all_runs_of_a_group(compared: Path, tmp_path: Path) -> None:
    group = Path(shutil.copytree(compared / "slow", tmp_path / "group"))
    facts = json.loads((group / "seed-2" / "run.json").read_text())
    change_facts(group / "seed-2", conditions=facts["conditions"] | {"threads": 2})
    found = compare_runs([compared / "single", group])
    assert found.conditions == {"threads": {"A": 1, "B": [1, 2]}}


def test_data_that_has_gone(compared: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(compared / "single", tmp_path / "run"))
    (run / "predictions.csv").unlink(missing_ok=True)
    facts = json.loads((run / "run.json").read_text())
    change_facts(run, data=facts["data"] | {"source": str(tmp_path / "gone")})
    found = compare_runs([run, compared / "wide"])
    assert found.tests[0].why_not.endswith(
        f"write its predictions again with the same data: tenfold report {run} --data PLACE"
    )


@pytest.mark.parametrize("seed", [None, "x", [1], True])
def test_a_run_without_a_seed(compared: Path, tmp_path: Path, seed: object) -> None:
    run = Path(shutil.copytree(compared / "single", tmp_path / "run"))
    context = json.loads((run / "run.json").read_text())["context"]
    context["recipe"]["seed"] = seed
    if seed is None:
        del context["recipe"]["seed"]
    change_facts(run, context=context)
    with pytest.raises(FileRefusedError, match="seed of its recipe is"):
        compare_runs([run, compared / "wide"])


def change_facts(folder: Path, **changes: object) -> None:
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(facts | changes))


def test_where_the_page_goes(tenfold: Tenfold, compared: Path, tmp_path: Path) -> None:
    words = ["compare", str(compared / "single"), str(compared / "wide"), "--html"]
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    assert tenfold(*words, str(tmp_path / "link.html")).code == 0
    assert (tmp_path / "link.html").is_symlink()
    assert "<svg" in (tmp_path / "page.html").read_text()
    os.mkfifo(tmp_path / "pipe")
    answer = tenfold(*words, str(tmp_path / "pipe"))
    assert (answer.code, answer.out) == (1, "")
    assert "pipe: this is a device or a pipe, wanted a file; choose another name" in answer.err
    assert (tmp_path / "pipe").is_fifo()


def test_wrong_places(compared: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 run to compare, wanted two or more"):
        compare_runs([compared / "single"])
    with pytest.raises(UsageError, match=r"1 run to compare, .*; .*single was named twice, and"):
        compare_runs([compared / "single", compared / "single"])
    with pytest.raises(UsageError, match="0 runs to compare"):
        compare_runs([])
    with pytest.raises(FileRefusedError, match="not a run folder"):
        compare_runs([compared / "single", tmp_path])
    with pytest.raises(FileRefusedError, match="no such folder"):
        compare_runs([compared / "single", tmp_path / "none"])


def test_on_the_command_line_and_in_python(tenfold: Tenfold, compared: Path) -> None:
    words = ["compare", str(compared / "single"), str(compared / "wide")]
    answer = tenfold(*words)
    assert (answer.code, answer.err) == (0, "")
    found = package.compare(compared / "single", open_run(compared / "wide"), html="out/page.html")
    assert answer.out == f"{found}\n"
    facts = json.loads(tenfold(*words, "--json").out)
    assert facts == {"schema": 1, **json.loads(json.dumps(found.to_dict()))}
    assert facts["tests"][0]["test"] == "mcnemar"
    assert [each["name"] for each in facts["candidates"]] == ["A", "B"]
    written = tenfold(*words, "--html", "page.html")
    assert written.out.endswith("\n\npage  page.html\n")
    assert Path("page.html").read_text() == Path("out/page.html").read_text()
    groups = package.compare(package.open_seeds(compared / "slow"), compared / "fast")
    assert json.loads(json.dumps(groups.to_dict()))["tests"][0]["test"] == "welch"
    assert groups._repr_html_().startswith('<iframe sandbox title="Comparison" srcdoc="&lt;!DOC')
    assert repr(groups) == f"Comparison({compared / 'slow'}, {compared / 'fast'})"
    for command in ("runs", "compare"):
        answer = tenfold(command, "--help")
        assert (answer.code, answer.err) == (0, "")
        assert f"Usage: tenfold {command}" in answer.out
    answer = tenfold("compare", str(compared / "slow"), "--json")
    assert json.loads(answer.out)["tests"] == []
    assert "note: all runs differ only in their seeds" in answer.err
    assert str(package.compare(compared / "slow")).endswith(
        "\n\nnote: all runs differ only in their seeds, so there is nothing to test: the "
        "differences between them are chance"
    )
