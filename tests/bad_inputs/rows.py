"""The tables of wrong inputs: the format of a row, and what must hold for every row.

Every wrong input gives one clear sentence and the right exit code, and leaves nothing behind. Each
row of the tables in the test files creates its input in an empty folder, runs one command there,
and gives the expected exit code and words. The words are those that a reader acts on: the place,
what was found, what was wanted, what to do.
"""

from __future__ import annotations

import json
import os
import shlex
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from bad_inputs.makers.files import Maker
from command_line import Tenfold


@dataclass(frozen=True)
class Row:
    """One wrong input.

    Attributes:
        id: its name.
        command: the arguments of `tenfold`, as a shell line.
        code: the exit code.
        words: what the message must contain.
        make: creates the input in the folder that the command runs in.
        leaves: what may be new afterwards; nothing below it may be left half-written
            either.
    """

    id: str
    command: str
    code: int
    words: tuple[str, ...]
    make: Maker | None = None
    leaves: tuple[str, ...] = ()


def check(row: Row, tenfold: Tenfold, folder: Path) -> None:
    """Create the input of a row in an empty folder and run its command there."""
    if row.make is not None:
        row.make(folder)
    before, beside = contents(folder), set(folder.parent.iterdir())

    answer = tenfold(*shlex.split(row.command))

    assert answer.code == row.code, answer.err
    (message,) = errors(answer.err)
    if "--json" in row.command:
        found = json.loads(answer.out)
        if "predictions" in found:  # of the images that can be read, and why others cannot
            assert any("error" in each for each in found["predictions"])
        else:
            assert found["error"]["message"] in message
            assert found["error"]["exit_code"] == row.code
    else:
        assert answer.out == ""
    assert answer.err.endswith(f"{message}\n"), "the error comes after the notes"
    assert message.startswith("tenfold: ")
    assert "Traceback" not in answer.err
    assert not control_characters(answer.err)
    missing = [words for words in row.words if words not in message]
    assert not missing, message
    assert len(message) < 4200

    after = contents(folder)
    new = {name for name in after if after[name] != before.get(name)} | before.keys() - after.keys()
    assert {name for name in new if Path(name).parts[0] not in row.leaves} == set()
    assert not [name for name in after if name.endswith(".tmp")]
    assert set(folder.parent.iterdir()) == beside
    assert not list(Path(os.environ["TENFOLD_CACHE"]).rglob("*.tmp"))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file and folder below, with contents; links with their targets."""
    return {
        str(path.relative_to(folder)): str(path.readlink()).encode()
        if path.is_symlink()
        else path.read_bytes()
        if path.is_file()
        else None
        for path in folder.rglob("*")
        if path.name != ".lock"  # a run's lock file stays after release
    }


def control_characters(text: str) -> set[str]:
    """Characters that move the cursor, color the terminal or reverse the text direction."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")} - {"\n"}


def errors(err: str) -> list[str]:
    """The lines of standard error that are not notes."""
    return [line for line in err.splitlines() if not line.startswith("note: ")]
