"""The list of runs: which folders are found, and what is wrong with others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import Tenfold
from tenfold.errors import UsageError
from tenfold.reporting.listing import COLUMNS, listing_text
from tenfold.runs import open_run
from tenfold.runs.folder import RunFolder
from tenfold.runs.listing import list_runs

SLOW = [f"slow/seed-{seed}" for seed in range(3)]
FAST = [f"fast/seed-{seed}" for seed in range(4)]


def names(folder: Path) -> list[str]:
    return [run.name for run in list_runs(folder).runs]


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    facts = json.loads((run / "run.json").read_text())
    change(facts)
    (run / "run.json").write_text(json.dumps(facts))


@pytest.fixture
def some(compared: Path, tmp_path: Path) -> Path:
    """Copies of some runs, to be changed, in a folder that a reproduction might have made."""
    for name in ("single", "wide"):
        shutil.copytree(compared / name, tmp_path / "reproduction-001" / name)
    return tmp_path


def test_runs_and_groups_are_found_with_the_newest_last(compared: Path) -> None:
    found = list_runs(compared)
    assert sorted(run.name for run in found.runs) == sorted([*SLOW, *FAST, "single", "wide"])
    assert [run.created for run in found.runs] == sorted(run.created for run in found.runs)
    assert found.problems == {}
    assert f"{compared.name}/fast/seed-0" in names(compared.parent)


def test_figures_are_those_of_the_run(compared: Path) -> None:
    listed = {run.name: run for run in list_runs(compared).runs}["single"]
    run = open_run(compared / "single")
    assert listed.to_dict() == {
        "name": "single",
        "run": str(compared / "single"),
        "created": run.facts.created,
        "data": "digits",
        "model": "softmax",
        "status": "finished",
        "epochs_done": 4,
        "epochs": 4,
        **{
            key: run.figures[key]
            for key in ("val_acc", "test_acc", "test_interval", "n_test", "seconds")
        },
    }


def test_a_run_itself_can_be_listed(compared: Path) -> None:
    assert names(compared / "single") == ["single"]
    assert names(compared / "slow") == ["seed-0", "seed-1", "seed-2"]


def test_an_unfinished_run_has_its_epochs(some: Path) -> None:
    def begin_again(facts: dict[str, Any]) -> None:
        facts |= {"status": "running", "figures": None, "test": None, "digests": {}}

    edit(some / "reproduction-001" / "single", begin_again)
    lines = (some / "reproduction-001" / "single" / "metrics.jsonl").read_bytes().splitlines(True)
    (some / "reproduction-001" / "single" / "metrics.jsonl").write_bytes(b"".join(lines[:3]))
    found = {run.name: run for run in list_runs(some).runs}["reproduction-001/single"]
    assert (found.status, found.epochs_done, found.epochs) == ("crashed", 3, 4)
    with RunFolder(some / "reproduction-001" / "single").locked():
        (found, _) = list_runs(some).runs
        assert found.status == "running"
    line = listing_text(list_runs(some)).splitlines()[1].split()
    assert line[-6:] == ["crashed", "3/4", "-", "-", "-", "-"]


@pytest.mark.parametrize(
    ("break_it", "said", "listed"),
    [
        (lambda run: (run / "run.json").write_text("{"), "not JSON", False),
        (lambda run: (run / "run.json").unlink(), "no such file", False),
        (lambda run: (run / "run.json").write_text('{"a": 1}'), "its format is None", False),
        (lambda run: edit(run, lambda facts: facts.pop("data")), "data is missing", False),
        (lambda run: edit(run, lambda facts: facts.update(format=99)), "version 99", False),
        (
            lambda run: edit(run, lambda facts: facts["figures"].update(test_acc=1.0)),
            "these are not the results that the run ended with",
            True,
        ),
    ],
)
def test_a_damaged_run_does_not_stop_the_list(
    break_it: Callable[[Path], object], said: str, listed: bool, some: Path, tenfold: Tenfold
) -> None:
    break_it(some / "reproduction-001" / "single")
    found = list_runs(some)
    assert list(found.problems) == ["reproduction-001/single"]
    assert said in found.problems["reproduction-001/single"]
    assert ("reproduction-001/single" in names(some)) is listed
    answer = tenfold("runs", str(some))
    assert answer.code == 0
    assert "reproduction-001/wide" in answer.out
    assert "note: reproduction-001/single: " in answer.err
    assert said in answer.err
    assert "1.0000" not in answer.out


def test_what_is_no_run_is_passed_over(some: Path) -> None:
    (some / "photos" / "cats").mkdir(parents=True)
    (some / "photos" / "cats" / "1.png").write_bytes(b"")
    (some / ".hidden").mkdir()
    shutil.copytree(some / "reproduction-001" / "single", some / ".hidden" / "run")
    shutil.copytree(some / "reproduction-001" / "single", some / "a" / "b" / "c" / "too-deep")
    (some / "loop").symlink_to(some / "loop")
    assert names(some) == ["reproduction-001/single", "reproduction-001/wide"]
    assert list_runs(some).problems == {}


def test_links_are_followed_unless_they_lead_back(some: Path) -> None:
    elsewhere = Path(shutil.copytree(some / "reproduction-001", some / ".elsewhere"))
    (some / "linked").symlink_to(elsewhere)
    (some / "here").symlink_to(some)
    (some / "up").symlink_to(some.parent)
    (elsewhere / "back").symlink_to(some)
    assert sorted(names(some)) == [
        "linked/single",
        "linked/wide",
        "reproduction-001/single",
        "reproduction-001/wide",
    ]


def test_a_folder_that_may_not_be_entered_is_passed_over(
    some: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(folder: Path) -> Any:
        if folder.name == "reproduction-001":
            raise PermissionError
        return scan(folder)

    scan = os.scandir
    shutil.copytree(some / "reproduction-001" / "wide", some / "mine")
    monkeypatch.setattr("tenfold.runs.listing.os.scandir", scandir)
    assert names(some) == ["mine"]


def test_folders_without_runs(tenfold: Tenfold, tmp_path: Path) -> None:
    answer = tenfold("runs")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.startswith("no runs in runs; train one with: tenfold train digits")
    (tmp_path / "empty").mkdir()
    assert "no runs in empty; " in tenfold("runs", "empty").out
    assert json.loads(tenfold("runs", "empty", "--json").out) == {
        "schema": 1,
        "folder": str(tmp_path / "empty"),
        "runs": [],
        "problems": {},
    }
    answer = tenfold("runs", "missing")
    assert answer.code == 2
    assert "missing: no such folder; name a folder that has runs in it" in answer.err
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="this is a file"):
        list_runs(tmp_path / "file")


def test_columns_are_left_out_for_a_narrow_terminal(compared: Path) -> None:
    found = list_runs(compared)
    wide, narrow = listing_text(found), listing_text(found, 60)
    assert wide.splitlines()[0].split() == list(COLUMNS)
    assert narrow.splitlines()[0].split() == ["run", "status", "epochs", "val_acc", "test_acc"]
    assert max(map(len, narrow.splitlines())) <= 60 < max(map(len, wide.splitlines()))
    assert all(name in narrow for name in [*SLOW, *FAST])


def test_it_imports_no_pytorch(compared: Path) -> None:
    code = (
        "import sys; sys.argv = ['tenfold', 'runs', sys.argv[1]]\n"
        "import tenfold.cli\n"
        "try: tenfold.cli.main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'matplotlib') if m in sys.modules])\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(compared)], capture_output=True, text=True, check=True
    )
    assert answer.stdout.splitlines()[-1] == "[]"
    assert len(answer.stdout.splitlines()) == 2 + 9
