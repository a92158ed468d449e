"""The files of a run folder, read back or refused by file and line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tenfold.errors import FileRefusedError, UsageError
from tenfold.runs import folder as folder_module
from tenfold.runs.facts import RunFacts
from tenfold.runs.folder import (
    MAX_TEXT_SIZE,
    RunFolder,
    existing_run,
    new_folder,
    plain_name,
)
from tenfold.runs.run import bundle_path

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A finished run of three epochs."""
    return RunFolder(Path(shutil.copytree(GOLDEN / "finished", tmp_path / "run")))


@pytest.fixture
def facts(folder: RunFolder) -> RunFacts:
    return folder.read_facts()


def rewrite(folder: RunFolder, line: int, **changes: Any) -> None:
    lines = [json.loads(each) for each in folder.metrics.read_text().splitlines()]
    lines[line - 1] = {
        key: value for key, value in (lines[line - 1] | changes).items() if value is not ...
    }
    folder.metrics.write_text("".join(f"{json.dumps(each)}\n" for each in lines))


def test_a_history_is_read_line_by_line(folder: RunFolder, facts: RunFacts) -> None:
    history = folder.read_history(facts)
    assert [each.epoch for each in history] == [1, 2, 3]
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [each.model_dump() for each in history] == [
        {**line, "val_balanced_acc": None} for line in lines
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train_loss": "2.3"}, "train_loss is '2.3', wanted a number"),
        ({"train_loss": None}, "train_loss is None, wanted a number"),
        ({"train_loss": float("nan")}, "train_loss is nan, wanted a finite number"),
        ({"val_loss": "low"}, "val_loss is 'low', wanted a number"),
        ({"train_acc": -1}, "train_acc is -1, wanted at least 0"),
        ({"val_acc": 1.5}, "val_acc is 1.5, wanted at most 1"),
        ({"epoch": 2.0}, "epoch is 2.0, wanted a whole number"),
        ({"lr": True}, "lr is True, wanted a number"),
        ({"seconds": ...}, "seconds is missing"),
    ],
    ids=str,
)
def test_a_wrong_line_of_the_history_is_named(
    changes: dict[str, Any], said: str, folder: RunFolder, facts: RunFacts
) -> None:
    rewrite(folder, 2, **changes)
    with pytest.raises(FileRefusedError) as raised:
        folder.read_history(facts)
    assert str(raised.value) == (
        f"{folder.metrics}: line 2 is damaged: {said}; write it again with: tenfold resume {folder}"
    )


@pytest.mark.parametrize("line", ["{", "3", "", '{"epoch": 1', "[" * 100_000], ids=len)
def test_a_line_of_the_history_that_is_not_a_table_is_named(
    line: str, folder: RunFolder, facts: RunFacts
) -> None:
    whole = folder.metrics.read_text()
    folder.metrics.write_text(f"{whole}{line}\n")
    with pytest.raises(
        FileRefusedError, match=r"line 4 is damaged: .*; write it again with: tenfold"
    ):
        folder.read_history(facts)


def test_only_an_unfinished_run_may_have_no_history(folder: RunFolder, facts: RunFacts) -> None:
    folder.metrics.unlink()
    assert folder.read_history(facts.updated(status="running")) == []
    assert folder.read_history(facts.updated(status="interrupted")) == []
    for status in ("finished", "stopped early"):
        with pytest.raises(FileRefusedError, match=r"metrics\.jsonl: no such file; write"):
            folder.read_history(facts.updated(status=status))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "not UTF-8 text; restore the file as tenfold wrote it"),
        (b" " * (MAX_TEXT_SIZE + 1), "larger than 67,108,864 bytes; restore the file"),
        (None, "no such file; restore the file as tenfold wrote it"),
    ],
    ids=["no text", "too long", "missing"],
)
def test_a_text_that_cannot_be_read_is_named(
    content: bytes | None, said: str, folder: RunFolder
) -> None:
    if content is None:
        folder.facts.unlink()
    else:
        folder.facts.write_bytes(content)
    with pytest.raises(FileRefusedError) as raised:
        folder.read_facts()
    assert str(raised.value).startswith(f"{folder.facts}: {said}")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_without_waiting(folder: RunFolder) -> None:
    folder.facts.unlink()
    os.mkfifo(folder.facts)
    with pytest.raises(
        FileRefusedError, match=r"run\.json: cannot be read: not a regular file; restore"
    ):
        folder.read_facts()


def test_the_next_number_is_above_all_existing_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a-002", "a-1000", "a-7", "a-b-2000", "a-003.txt"):
        (tmp_path / "runs" / name).mkdir(parents=True)
    assert new_folder(None, "a") == Path("runs/a-1001")
    assert new_folder(None, "a") == Path("runs/a-1002")
    assert new_folder(None, "a-b") == Path("runs/a-b-2001")
    assert new_folder(None, "c") == Path("runs/c-001")


def test_a_number_that_another_process_takes_meanwhile_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    real = folder_module.make_folder

    def slower(path: Path) -> bool:
        if path.name == "a-001":
            real(path)  # the other process
        return real(path)

    monkeypatch.setattr(folder_module, "make_folder", slower)
    assert new_folder(None, "a") == Path("runs/a-002")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("photos", "photos"),
        ("/data/my photos (2).tar.gz", "my-photos-2"),
        ("照片/手势 照片.zip", "手势-照片"),
        ("fotos de jose\u0301", "fotos-de-jos\u00e9"),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"),
        ("照" * 100, "照" * 40),
        ("..", "data"),
        ("\udcff\n:*?", "data"),
    ],
)
def test_a_folder_is_called_as_its_data(data: str, name: str) -> None:
    assert plain_name(data) == name


def test_a_run_of_a_similar_name_is_proposed(tmp_path: Path, folder: RunFolder) -> None:
    with pytest.raises(FileRefusedError, match="no such folder; did you mean") as caught:
        existing_run(folder.path.with_name(f"{folder.path.name}s"))
    assert caught.value.remedy == f"did you mean {str(folder.path)!r}?"
    with pytest.raises(FileRefusedError, match="no such folder or file; did you mean") as caught:
        bundle_path(folder.path.with_name(f"{folder.path.name}s"))
    assert caught.value.remedy == f"did you mean {str(folder.path)!r}?"
    with pytest.raises(FileRefusedError, match="name a folder that tenfold train has made"):
        existing_run(tmp_path / "elsewhere" / "x")


def test_only_a_run_suggests_continuing_it(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(
            UsageError, match=r"already exists and is not an empty folder; choose another folder$"
        ):
            new_folder(path, "a")
    with pytest.raises(UsageError, match=r"or continue the run in it with: tenfold resume"):
        new_folder(folder.path, "a")


def test_facts_survive_a_round_trip(folder: RunFolder, facts: RunFacts) -> None:
    """Including file names that are not Unicode."""
    data = facts.data.model_copy(update={"source": "caf\udce9", "classes": ["a", "\udce9"]})
    changed = facts.updated(data=data, failure="because")
    folder.write_facts(changed)
    assert folder.read_facts() == changed


def test_a_link_in_place_of_the_checkpoints_is_refused(tmp_path: Path) -> None:
    """Old checkpoints are removed there."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.checkpoints.symlink_to(elsewhere)
    said = r"checkpoints: this is a link to another folder"
    with pytest.raises(FileRefusedError, match=said), folder.locked():
        pass
