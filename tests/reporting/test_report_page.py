"""The report of a run: its figures beside scikit-learn's, and that it never costs a run."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_recall_fscore_support,
)

import tenfold
from small_bundles import weights_of
from stopping import StopsAt
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.load import load_splits
from tenfold.errors import InterruptedRunError, TrainingError, UsageError
from tenfold.reporting import after
from tenfold.reporting.pages import report as report_module
from tenfold.runs.run import Run
from tenfold.training.watching import Watcher

VOID = {"meta", "img", "br", "input", "line", "rect", "circle", "path", "polyline"}


class Page(HTMLParser):
    """A page's text, links, pictures and charts; its elements must be nested properly."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words: list[str] = []
        self.found: dict[str, list[dict[str, str | None]]] = {}
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.setdefault(tag, []).append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.setdefault(tag, []).append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Two epochs make enough mistakes."""
    folder = tmp_path_factory.mktemp("runs") / "digits"
    return tenfold.train("digits", recipe="digits-quick", epochs=4, out=folder, quiet=True)


@pytest.fixture(scope="module")
def facts(run: Run) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run.folder / "report.json").read_text())
    return found


@pytest.fixture(scope="module")
def table(run: Run) -> list[dict[str, str]]:
    with (run.folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def page(run: Run) -> Page:
    return Page(run.folder / "report.html")


def test_the_figures_are_scikit_learns_on_the_listed_answers(facts, table, run):
    rows = [row for row in table if row["split"] == "test"]
    true, answers = ([row[key] for row in rows] for key in ("true", "predicted"))
    found, classes = facts["judged_on"], list(run.facts.data.classes)
    assert found["split"] == "test"
    assert found["n_test"] == len(rows) == 359
    assert found["test_acc"] == accuracy_score(true, answers) < 1
    assert found["test_balanced_acc"] == pytest.approx(balanced_accuracy_score(true, answers))
    assert found["confusion"] == confusion_matrix(true, answers, labels=classes).tolist()
    wanted = precision_recall_fscore_support(true, answers, labels=classes, zero_division=np.nan)
    for each, precision, recall, f1, n in zip(found["per_class"], *wanted, strict=True):
        assert each["n"] == n
        given = [each["precision"], each["recall"], each["f1"]]
        assert given == [pytest.approx(value) for value in (precision, recall, f1)]


def test_the_answers_are_those_of_the_model(table, run):
    splits = load_splits("digits").splits
    assert splits.test is not None
    chances = run.model.predict_proba(splits.test)
    rows = [row for row in table if row["split"] == "test"]
    assert [row["predicted"] for row in rows] == run.model.predict(splits.test)
    given = np.array([float(row["probability"]) for row in rows])
    assert given == pytest.approx(chances.max(axis=1), abs=1e-6)
    assert [int(row["index"]) for row in rows] == list(range(len(rows)))
    assert [row["correct"] for row in rows] == [
        str(int(row["true"] == row["predicted"])) for row in rows
    ]


def test_the_validation_images_are_listed_after_the_test_images(table, facts):
    splits = [row["split"] for row in table]
    n = facts["trained_on"]["n"]
    assert splits == ["test"] * n["test"] + ["val"] * n["val"]


def test_it_has_the_figures_of_the_run(facts, run):
    assert {key: facts[key] for key in run.figures} == run.figures
    assert facts["judged_on"]["test_loss"] == run.figures["test_loss"]
    assert facts["judged_on"]["calibration"]["raw"]["nll"] == pytest.approx(
        run.figures["test_loss"], rel=1e-6
    )
    assert len(facts["history"]) == 4


def test_the_temperature_is_that_of_the_model_and_fits_validation_better(facts, run, table):
    found = facts["judged_on"]["calibration"]
    assert found["temperature"] == run.model.bundle.header.temperature != 1
    assert found["n_fitted"] == facts["trained_on"]["n"]["val"]
    logits = run.model.logits(load_splits("digits").splits.test.image_array)
    assert run.model.predict_proba(load_splits("digits").splits.test) == pytest.approx(
        np.exp(logits / found["temperature"])
        / np.exp(logits / found["temperature"]).sum(1, keepdims=True),
        abs=1e-6,
    )


def test_the_costliest_mistakes_come_first(facts, table):
    found = facts["judged_on"]["costliest_mistakes"]
    chances = [each["probability_of_true"] for each in found]
    assert chances == sorted(chances)
    wrong = {int(row["index"]) for row in table if row["split"] == "test" and row["correct"] == "0"}
    assert {each["index"] for each in found} <= wrong
    assert len(found) == min(24, len(wrong))


def test_confused_classes_are_counted(facts):
    found, confusion = facts["judged_on"]["confused"], np.array(facts["judged_on"]["confusion"])
    classes = facts["judged_on"]["classes"]
    np.fill_diagonal(confusion, 0)
    assert found[0]["n"] == confusion.max()
    for pair in found:
        row, column = classes.index(pair["true"]), classes.index(pair["predicted"])
        assert pair["n"] == confusion[row, column]
        assert 1 <= len(pair["indices"]) <= pair["n"]


def test_the_page_says_what_matters(page, facts):
    text = page.text
    assert f"{100 * facts['test_acc']:.1f} %" in text
    assert "of 359 test images are recognized" in text
    for words in (
        "nearest class mean",
        "always the largest class",
        "Costliest mistakes",
        "Confusion matrix",
        "Can its probabilities be trusted?",
        "The test images decided nothing.",
        "tenfold train --recipe",
        facts["trained_on"]["fingerprint"],
    ):
        assert words in text


def test_the_page_needs_nothing_but_itself(page):
    assert not set(page.found) & {"script", "link", "iframe", "object", "base"}
    assert all(str(each["src"]).startswith("data:image/png;base64,") for each in page.found["img"])
    assert all(str(each["href"]).startswith("#") for each in page.found["a"])
    assert "url(" not in (page.rawdata or "")


def test_pictures_and_charts_have_words(page):
    assert all(each["alt"] for each in page.found["img"])
    ids = {each["id"] for name in ("title", "desc") for each in page.found[name] if "id" in each}
    assert [each["role"] for each in page.found["svg"]] == 5 * ["img"]
    named = [str(each["aria-labelledby"]).split() for each in page.found["svg"]]
    assert sorted(word for words in named for word in words) == sorted(map(str, ids))


def test_links_lead_to_sections(page):
    ids = [each["id"] for tag in page.found.values() for each in tag if "id" in each]
    assert len(set(ids)) == len(ids)
    assert {str(each["href"])[1:] for each in page.found["a"]} == {
        h["id"] for h in page.found["h2"]
    }


def test_it_is_made_again_the_same(run, tenfold):
    before = {name: (run.folder / name).read_bytes() for name in NAMES}
    for name in NAMES:
        (run.folder / name).unlink()
    answer = tenfold("report", str(run.folder))
    assert (answer.code, answer.out) == (0, f"{run.folder / 'report.html'}\n")
    assert {name: (run.folder / name).read_bytes() for name in NAMES} == before


NAMES = ("report.html", "report.json", "predictions.csv")


def test_a_finished_run_gets_the_report_that_it_lacks(run, tmp_path, tenfold):
    """As if its process had died while the report was written."""
    folder = Path(shutil.copytree(run.folder, tmp_path / "copy"))
    (folder / "report.html").unlink()
    assert tenfold("resume", str(folder), "--no-report").code == 0
    assert not (folder / "report.html").exists()
    answer = tenfold("resume", str(folder))
    assert answer.code == 0
    assert "report copy/report.html" in answer.out
    assert (folder / "report.html").exists()


def test_an_unfinished_run_has_no_report(tmp_path, tenfold):
    with pytest.raises(InterruptedRunError):
        train(tmp_path / "run", watcher=StopsAt(3))
    answer = tenfold("report", "run")
    assert answer.code == 4
    assert "run: the run has not finished (status: interrupted)" in answer.err
    assert "finish it with: tenfold resume run" in answer.err


def test_a_failed_run_has_no_report_and_is_not_finished(tmp_path, tenfold):
    """It would fail again."""
    with pytest.raises(TrainingError, match="the loss"):
        train(tmp_path / "run", lr=1e6, optimizer="sgd")
    answer = tenfold("report", "run")
    assert answer.code == 4
    assert "run: the run has failed, so there is nothing to report: " in answer.err
    assert "the loss" in answer.err
    assert "resume" not in answer.err


def train(out: Path, data: object = None, **changes: Any) -> Run:
    given = {"recipe": "digits-quick", "epochs": 1, "quiet": True} | changes
    return tenfold.train(data, out=out, **given)


def test_without_the_wish_there_is_none(tmp_path, tenfold):
    answer = tenfold(
        "train",
        "digits",
        "--recipe",
        "digits-quick",
        "--epochs",
        "1",
        "--no-report",
        "--out",
        "run",
    )
    assert answer.code == 0
    assert not [name for name in NAMES if (tmp_path / "run" / name).exists()]
    assert "report.html" not in answer.out


as_it_is = after._try
"""Elsewhere, tests fail if a report does."""


@pytest.mark.parametrize(
    "error", [ValueError("a bug"), MemoryError(), OSError(28, "No space left on device")]
)
def test_a_report_that_fails_does_not_fail_the_run(error, tmp_path, monkeypatch):
    def fail(*_: object) -> str:
        raise error

    monkeypatch.setattr(report_module, "report_page", fail)
    monkeypatch.setattr(after, "_try", as_it_is)
    watcher = StopsAt()
    run = train(tmp_path / "run", watcher=watcher)
    assert (run.status, tenfold.open_run(run.folder).status) == ("finished", "finished")
    (note,) = [note for note in watcher.notes if note.startswith("the report")]
    assert note.startswith(f"the report could not be written: {error!r}; try again with: ")
    monkeypatch.undo()
    assert not (run.folder / "report.html").exists()
    tenfold.resume(run.folder, quiet=True)
    assert (run.folder / "report.html").exists()


def pictures(n: int, classes: tuple[str, ...], seed: int, names: bool = True) -> ImageDataset:
    generator = np.random.default_rng(seed)
    labels = np.arange(n) % len(classes)
    images = generator.integers(0, 60, (n, 3, 8, 8)) + 150 * (labels % 2)[:, None, None, None]
    return ImageDataset(
        images.astype(np.uint8),
        labels,
        classes,
        names=[f"{classes[label]}/<b>{place}.png" for place, label in enumerate(labels)]
        if names
        else None,
    )


HOSTILE = ("<script>alert(1)</script>", "=1+1", "数字", "a\x1b[2J\n", "long " * 100)


def test_names_of_any_kind_are_shown_safely(tmp_path):
    splits = Splits(pictures(50, HOSTILE, 0), pictures(20, HOSTILE, 1), pictures(40, HOSTILE, 2))
    run = train(tmp_path / "run", splits)
    page = Page(run.folder / "report.html")
    assert "script" not in page.found
    assert "数字" in page.text
    assert "\x1b" not in page.text
    assert "train again" not in page.text  # the data has no name
    with (run.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert not [row for row in rows if row["true"].startswith("=")]
    assert len(rows) == 60


def digits_with_a_wrong_label_at_the_end() -> Splits:
    """One image more than a number of steps of 64, so that it has a step of its own."""
    digits = load_digits()
    images = (digits.images * 15.9).astype(np.uint8)[:, None]
    labels = digits.target.astype(np.int64)
    labels[1280] = (labels[1280] + 1) % 10
    names = tuple(map(str, range(10)))
    train, test = (
        ImageDataset(images[some], labels[some], names) for some in (slice(1281), slice(1281, None))
    )
    return Splits(train, None, test.renamed("test"))


@pytest.mark.parametrize("remedy", [{}, {"schedule": "cosine"}, {"batch_size": 65}], ids=str)
def test_weights_that_the_last_step_has_spoiled(remedy: dict[str, Any], tmp_path: Path) -> None:
    watcher = StopsAt()
    run = tenfold.train(
        digits_with_a_wrong_label_at_the_end(),
        **{
            "model": "softmax",
            "epochs": 3,
            "lr": 0.3,
            "batch_size": 64,
            "optimizer": "sgd",
            "schedule": "constant",
            "shuffle": False,
            "val": 0.0,
            **remedy,
        },
        out=tmp_path / "run",
        watcher=watcher,
    )
    text = Page(run.folder / "report.html").text
    spoiled = (
        "with the weights at its end: its last steps went too far, the very last with only 1 "
        "image; try --set schedule=cosine, which ends near 0, or --batch-size 65, which leaves no "
        "step so small"
    )
    beaten = "choosing the class whose mean training image is nearest is right for"
    assert [any(words in note for note in watcher.notes) for words in (spoiled, beaten)] == [
        not remedy
    ] * 2
    assert (spoiled in text, beaten.capitalize() in text) == (not remedy,) * 2
    assert (spoiled in run.facts.concern) == (not remedy)
    assert "while the model learned, in epoch 3" in text


def test_advice_on_the_training_stays_with_the_run(tmp_path: Path) -> None:
    dead = {"model": "mlp", "optimizer": "sgd", "lr": 5.0, "seed": 0, "threads": 1}
    at_once: list[list[str]] = []

    class Reads(Watcher):
        def note(self, text: str) -> None:
            if "zero in every layer" in text:
                at_once.append(json.loads((tmp_path / "run/run.json").read_text())["advice"])

    run = tenfold.train("digits", epochs=3, out=tmp_path / "run", watcher=Reads(), **dead)
    (advice,) = run.facts.advice
    assert at_once == [[advice]]  # so it is not lost if the process is killed
    assert advice.startswith("the gradient is zero in every layer")
    assert advice[1:] in Page(run.folder / "report.html").text
    assert json.loads((run.folder / "report.json").read_text())["advice"] == [advice]
    further = tenfold.resume(run, epochs=4, quiet=True)
    assert further.facts.advice[0] == advice


def test_without_test_images_it_is_judged_on_validation(tmp_path):
    classes = ("dark", "light")
    splits = Splits(pictures(50, classes, 0), pictures(20, classes, 1))
    run = train(tmp_path / "run", splits, test=0.0)
    assert "of 20 validation images are recognized" in Page(run.folder / "report.html").text
    assert json.loads((run.folder / "report.json").read_text())["judged_on"]["split"] == "val"


def test_without_held_out_images_there_is_no_judgement(tmp_path):
    run = train(tmp_path / "run", Splits(pictures(50, ("dark", "light"), 0)), test=0.0, val=0.0)
    page = Page(run.folder / "report.html")
    assert "are recognized" not in page.text
    assert "no images were held out to choose by" in page.text
    assert json.loads((run.folder / "report.json").read_text())["judged_on"] is None
    assert (run.folder / "predictions.csv").read_text().count("\n") == 1
    assert run.model.bundle.header.temperature == 1


@pytest.mark.parametrize("n", [40, 400])
def test_many_classes_have_a_map_instead_of_a_table(n, tmp_path):
    classes = tuple(f"class {number}" for number in range(n))
    run = train(tmp_path / "run", Splits(pictures(n, classes, 0), None, pictures(n, classes, 1)))
    page = Page(run.folder / "report.html")
    maps = [each for each in page.found["svg"] if each["class"] == "map"]
    assert len(maps) == (n == 40)
    assert "class 39" in page.text
    assert (run.folder / "report.html").stat().st_size < 3_000_000


@pytest.fixture
def on_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on a file, in a folder `run` beside it."""
    monkeypatch.chdir(tmp_path)
    np.savez(
        tmp_path / "data.npz",
        images=np.random.default_rng(0).integers(0, 256, (60, 8, 8), dtype=np.uint8),
        labels=np.arange(60) % 3,
    )
    return train(tmp_path / "run", str(tmp_path / "data.npz")).folder


def test_without_its_data_a_report_stays_as_it_is(on_a_file, tmp_path, tenfold):
    before = {name: (on_a_file / name).read_bytes() for name in NAMES}
    (tmp_path / "data.npz").rename(tmp_path / "moved.npz")
    answer = tenfold("report", "run")
    assert answer.code == 3
    assert "the run's data is no longer at" in answer.err
    assert answer.err.rstrip().endswith("say where it is now: tenfold report run --data PLACE")
    assert {name: (on_a_file / name).read_bytes() for name in NAMES} == before
    assert tenfold("report", "run", "--data", "moved.npz").code == 0
    assert {name: (on_a_file / name).read_bytes() for name in NAMES} == before
    other = tenfold("report", "run", "--data", "digits")
    assert (other.code, other.out) == (3, "")
    assert "the given data is not what the run was trained with" in other.err


def test_without_data_and_report_there_is_what_the_folder_has(on_a_file, tmp_path, tenfold):
    wanted = json.loads((on_a_file / "report.json").read_text())["judged_on"]
    table = (on_a_file / "predictions.csv").read_bytes()
    (on_a_file / "report.html").unlink()
    (tmp_path / "data.npz").unlink()
    answer = tenfold("report", "run")
    assert answer.code == 0
    assert "the run's data is no longer at" in answer.err
    page = Page(on_a_file / "report.html")
    assert (
        "There are no pictures, and no figures that need them. The run's data is no longer at "
        f"{tmp_path / 'data.npz'}."
    ) in page.text
    assert "of 12 test images are recognized" in page.text
    assert "img" not in page.found
    found = json.loads((on_a_file / "report.json").read_text())["judged_on"]
    for key in ("test_acc", "test_loss", "confusion", "per_class"):
        assert found[key] == wanted[key]
    pairs = [{(p["true"], p["predicted"], p["n"]) for p in x["confused"]} for x in (found, wanted)]
    assert pairs[0] == pairs[1]
    assert (on_a_file / "predictions.csv").read_bytes() == table  # it is still true


@pytest.mark.parametrize("option", [["--threads", "0"], ["--device", "nonsense"]])
def test_a_wrong_option_costs_no_report(option, run, tmp_path, tenfold):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    before = (folder / "report.html").read_bytes()
    assert tenfold("report", "run", *option).code == 2
    assert (folder / "report.html").read_bytes() == before


def test_a_report_of_other_results_is_written_again(run, tmp_path, tenfold):
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    before = {name: (folder / name).read_bytes() for name in NAMES}
    assert tenfold("resume", "run", "--epochs", "5", "--no-report").code == 0
    assert not [name for name in NAMES if (folder / name).exists()]  # they were of other results
    for name, data in before.items():
        (folder / name).write_bytes(data)
    assert tenfold("resume", "run").code == 0
    found = json.loads((folder / "report.json").read_text())
    assert found["test_acc"] == json.loads((folder / "run.json").read_text())["figures"]["test_acc"]
    assert "train again with the same recipe" in found["commands"]
    assert "Its schedule was changed on the way: " in " ".join(found["recipe_in_words"])
    sentences = json.loads(before["report.json"])["recipe_in_words"]
    assert "Its schedule was changed" not in " ".join(sentences)


def test_data_of_python_is_passed_again(tmp_path):
    splits = Splits(pictures(50, ("dark", "light"), 0), None, pictures(20, ("dark", "light"), 1))
    made = train(tmp_path / "run", splits, val=0.0)
    before = (made.folder / "report.html").read_bytes()
    with pytest.raises(UsageError, match=r"passed in Python; pass it again: tenfold\.report"):
        tenfold.report(made)
    assert tenfold.report(made, splits).path == made.folder / "report.html"
    assert (made.folder / "report.html").read_bytes() == before
    (made.folder / "report.html").unlink()
    tenfold.resume(made, data=splits, quiet=True)
    assert (made.folder / "report.html").read_bytes() == before


def test_the_newest_check_of_the_same_data_is_told(run, tmp_path, tenfold):
    for number, data, count in ((1, "digits", 3), (2, "digits", 5), (3, "other", 7)):
        folder = tmp_path / "checks" / f"{number}"
        folder.mkdir(parents=True)
        found = {"data": data, "n": {"train": 1797}, "counts": {"duplicates": count, "new": 1}}
        (folder / "findings.json").write_text(json.dumps(found))
    (tmp_path / "checks" / "4").mkdir()
    (tmp_path / "checks" / "4" / "findings.json").write_text("[1]")
    folder = shutil.copytree(run.folder, tmp_path / "run")
    assert tenfold("report", "run").code == 0
    text = Page(Path(folder) / "report.html").text
    assert "checks/2/check.html" in text
    assert "The same image several times: 5" in text


def test_commands_on_the_page_work(run, tmp_path, tenfold: Callable[..., Any]):
    shutil.copytree(run.folder, tmp_path / "run")
    assert tenfold("report", "run").code == 0
    commands = json.loads((tmp_path / "run" / "report.json").read_text())["commands"]
    again = commands["train again, to the same bits"].split()
    assert tenfold(*again[1:], "--out", "again", "--quiet").code == 0
    assert weights_of(tmp_path / "again") == weights_of(tmp_path / "run")
    for name in ("evaluate again", "make this report again", "train further"):
        assert tenfold(*commands[name].split()[1:]).code == 0
