"""What is at a path, whatever its name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tenfold
from tenfold.paths import exists, is_file, is_folder

ROOT = Path(tenfold.__file__).parent
OWN_FILES = {ROOT / "native/built.py", ROOT / "native/library.py"}
"""Modules that look only for tenfold's own files, and are used before it is installed."""
SOURCES = sorted({*ROOT.rglob("*.py")} - OWN_FILES)


def test_what_is_at_a_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "dangling").symlink_to("gone")
    asks = (exists, is_file, is_folder)
    found = {path.name: [ask(path) for ask in asks] for path in tmp_path.iterdir()}
    assert found == {
        "file": [True, True, False],
        "link": [True] * 2 + [False],
        "dangling": [False] * 3,
    }
    assert [ask(str(tmp_path)) for ask in asks] == [True, False, True]


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "x/" * 5000, "\0", "\udcff", ""])
def test_there_is_nothing_at_an_impossible_path(name: str) -> None:
    for ask in (exists, is_file, is_folder):
        assert not ask(name)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_module_asks_the_path_itself(path: Path) -> None:
    """In some versions of Python, that raises an error for a long name."""
    asked = re.findall(r"(\S*)\.(?:is_file|is_dir|exists)\(", path.read_text())
    assert {before.rpartition("(")[2] for before in asked} <= {"entry", "os.path"}
