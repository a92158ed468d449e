"""Runs on folders with files that cannot be read."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from bad_inputs.makers.pictures import picture, pictures
from command_line import Tenfold
from stopping import StopsAt
from tenfold.errors import DataError, FileRefusedError, InterruptedRunError
from tenfold.recipes import load_recipe
from tenfold.runs import resume_run, train_run
from tenfold.runs.resources import Resources
from tenfold.training.watching import Watcher

COMMAND = ("train", "photos", "--recipe", "softmax-fashion", "--epochs", "2", "--batch-size", "4")


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twenty sound pictures, three that are not."""
    monkeypatch.chdir(tmp_path)
    pictures(cat=10, dog=10)(tmp_path)
    folder = tmp_path / "photos"
    (folder / "cat" / "text.png").write_text("hello")
    (folder / "cat" / "empty.png").write_bytes(b"")
    (folder / "dog" / "cut.png").write_bytes(picture()[:40])
    return folder


class Told(Watcher):
    """Keeps the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


BAD = {"cat/text.png", "cat/empty.png", "dog/cut.png"}


@pytest.mark.parametrize("command", [("data", "photos"), COMMAND], ids=["data", "train"])
def test_all_are_named_at_once(photos: Path, tenfold: Tenfold, command: tuple[str, ...]) -> None:
    answer = tenfold(*command)
    assert answer.code == 3
    (line,) = answer.err.splitlines()
    assert "3 of 23 images cannot be read: " in line
    assert all(name in line for name in BAD)
    assert line.endswith(
        "; replace or remove them, or leave out what is bad: tenfold data, train and evaluate "
        "have --skip-bad, in Python skip_bad=True"
    )
    assert not Path("runs").exists()
    error = json.loads(tenfold(*command, "--json").out)["error"]
    assert error["bad_files"].keys() == BAD
    assert "hello" in error["bad_files"]["cat/text.png"]


def test_more_than_a_note_names_are_listed_in_a_file(photos: Path, tenfold: Tenfold) -> None:
    for number in range(20):
        (photos / "cat" / f"bad {number}.png").write_bytes(b"")
    answer = tenfold("data", "photos", "--skip-bad")
    found = re.search(r"left out 23 images .*; all are listed in (.*\.csv)", answer.out)
    assert found
    rows = list(csv.DictReader(Path(found[1]).read_text(encoding="utf-8").splitlines()))
    names = {"cat/text.png", "dog/cut.png", "cat/bad 19.png"}
    assert names <= {row["file"] for row in rows}
    facts = json.loads(tenfold("data", "photos", "--skip-bad", "--json").out)
    assert len(rows) == len(facts["bad_files"]) == 23
    assert names <= facts["bad_files"].keys()


def test_they_are_left_out_and_the_run_remembers_them(photos: Path, tenfold: Tenfold) -> None:
    answer = tenfold(*COMMAND, "--skip-bad", "--out", "run")
    assert answer.code == 0, answer.err
    assert "left out 3 images that cannot be read: " in answer.err
    facts = json.loads(Path("run/run.json").read_text())["data"]
    assert facts["skipped"].keys() == BAD
    assert sum(facts["n"].values()) == 20
    again = tenfold("evaluate", "run", "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out)["n_test"] == facts["n"]["test"]


def test_the_same_ones_are_left_out_when_a_run_is_resumed(photos: Path, tmp_path: Path) -> None:
    """Although one of them has been repaired since; and the bits are those of a whole run."""
    recipe = load_recipe("softmax-fashion", {"epochs": 4, "batch_size": 4, "skip_bad": True})
    resources = Resources(device="cpu", threads=1)
    whole = train_run(recipe, str(photos), out=tmp_path / "whole", resources=resources)
    with pytest.raises(InterruptedRunError):
        train_run(
            recipe, str(photos), out=tmp_path / "run", resources=resources, watcher=StopsAt(6)
        )
    (photos / "cat" / "text.png").write_bytes(picture())
    run = resume_run(tmp_path / "run")
    assert run.facts.data.skipped == whole.facts.data.skipped
    assert run.figures | {"seconds": 0} == whole.figures | {"seconds": 0}
    weights = [each.model.bundle.weights for each in (whole, run)]
    assert {k: bytes(v.data) for k, v in weights[0].items()} == {
        k: bytes(v.data) for k, v in weights[1].items()
    }


def test_a_class_that_was_left_out_stays_out(photos: Path, tenfold: Tenfold) -> None:
    """None of its pictures can be read, so the run has two of the three classes."""
    (photos / "owl").mkdir()
    (photos / "owl" / "text.png").write_text("hello")
    answer = tenfold(*COMMAND, "--skip-bad", "--out", "run")
    assert answer.code == 0
    assert "no image of 'owl' is left, so the class was left out" in answer.err
    assert tenfold("evaluate", "run").code == 0
    assert tenfold("resume", "run", "--epochs", "3").code == 0
    assert json.loads(Path("run/run.json").read_text())["data"]["classes"] == ["cat", "dog"]


def test_the_options_of_evaluate_are_for_other_data(photos: Path, tenfold: Tenfold) -> None:
    """Of other data, a column may have to be named; its own is read as the run read it."""
    assert tenfold(*COMMAND, "--skip-bad", "--out", "run").code == 0
    answer = tenfold("evaluate", "run", "--labels", "nowhere.csv")
    assert answer.code == 2
    assert "--labels is for other data than the run's own; name that data" in answer.err
    Path("other").mkdir()
    for number in range(4):
        Path(f"other/{number}.png").write_bytes(picture())
    rows = "".join(f"{number}.png,gray,{'cat' if number < 2 else 'dog'}\n" for number in range(4))
    Path("other/t.csv").write_text(f"name,color,animal\n{rows}")
    answer = tenfold("evaluate", "run", "other", "--labels", "other/t.csv:animal", "--json")
    assert answer.code == 0, answer.err
    assert json.loads(answer.out)["n_test"] == 4


def test_a_file_that_breaks_later_stops_a_resume(photos: Path, tmp_path: Path) -> None:
    recipe = load_recipe("softmax-fashion", {"epochs": 4, "batch_size": 4, "skip_bad": True})
    with pytest.raises(InterruptedRunError):
        train_run(
            recipe,
            str(photos),
            out=tmp_path / "run",
            resources=Resources(device="cpu", threads=1),
            watcher=StopsAt(6),
        )
    (photos / "dog" / "3.png").write_bytes(b"")
    with pytest.raises(FileRefusedError, match="the train images or labels have changed") as raised:
        resume_run(tmp_path / "run")
    assert raised.value.remedy == "undo the change, or accept it: add --accept data"
    told = Told()
    resume_run(tmp_path / "run", accept=["data"], watcher=told)
    assert any("accepted: the train images or labels have changed" in note for note in told.notes)
    assert any("val and test may now have images that the run was" in note for note in told.notes)


def test_more_than_twenty_are_listed_in_a_file(photos: Path, tenfold: Tenfold) -> None:
    for number in range(30):
        (photos / "dog" / f"bad,{number}.png").write_text("hello")
    answer = tenfold("data", "photos")
    assert answer.code == 3
    assert "33 of 53 images cannot be read" in answer.err
    assert len(re.findall(r"bad,\d+\.png", answer.err)) < 25
    found = re.search(r"all are listed in (.*?\.csv); ", answer.err)
    assert found is not None
    with Path(found[1]).open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["file", "reason"]
    assert {row[0] for row in rows[1:]} == BAD | {f"dog/bad,{n}.png" for n in range(30)}
    assert len(json.loads(tenfold("data", "photos", "--json").out)["error"]["bad_files"]) == 33


def test_a_folder_without_a_sound_picture_is_refused_in_any_case(
    tenfold: Tenfold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        (tmp_path / "photos" / name / "1.png").write_text("hello")
    answer = tenfold("train", "photos", "--skip-bad")
    assert answer.code == 3
    assert "2 of 2 images cannot be read" in answer.err
    assert "--skip-bad" not in answer.err


def test_python_gets_all_of_them(photos: Path) -> None:
    with pytest.raises(DataError) as raised:
        train_run(load_recipe("softmax-fashion"), str(photos))
    assert raised.value.bad_files.keys() == BAD  # type: ignore[attr-defined]
