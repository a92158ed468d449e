"""Any value of an environment variable that tenfold reads is used, or refused in one sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from command_line import Tenfold

ODD = {
    "empty": "",
    "a space": " ",
    "two lines": "x\ny",
    "home": "~",
    "nobody's home": "~nobody/x",
    "a number": "-1",
    "nothing": "0",
    "one": "1",
    "a long number": "9" * 400,
    "a long name": "x" * 5000,
    "a long path": "/" + "/".join(["y" * 200] * 30),
    "a device": "/dev/zero",
    "no UTF-8": "\udcff\udcfe",
    "control characters": "\x1b[31m",
    "a place that is not there": "not/there",
    "a pattern": "*",
}
"""Values by what is odd about them."""

COMMANDS = {
    "TENFOLD_DATA": ["data mnist --offline", "data", "info", "train cifar10 --offline"],
    "TENFOLD_CACHE": ["data photos", "data mnist --offline", "info"],
    "HOME": ["data photos"],
    "TENFOLD_NATIVE": ["info"],
    "CXX": ["info"],
    "COLUMNS": ["--help", "train --help"],
    "LINES": ["--help"],
    "XDG_CACHE_HOME": ["data photos"],
}
"""By variable, the commands that read it."""


@pytest.fixture
def photos(tmp_path: Path) -> None:
    for number in range(8):
        folder = tmp_path / "photos" / f"class {number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8), 20 * number).save(folder / f"{number}.png")


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
@pytest.mark.parametrize("variable", COMMANDS)
@pytest.mark.usefixtures("photos")
def test_any_value_is_used_or_refused_in_one_sentence(
    variable: str, value: str, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv("TENFOLD_CACHE")
    monkeypatch.delenv("TENFOLD_DATA", raising=False)  # where it has data, no cache is searched
    monkeypatch.setenv(variable, value)
    for command in COMMANDS[variable]:
        answer = tenfold(*command.split())
        errors = [line for line in answer.err.splitlines() if not line.startswith("note: ")]
        assert len(errors) == (answer.code != 0), answer.err
        assert all(line.isprintable() for line in answer.err.splitlines())
        assert all(line.isprintable() for line in answer.out.splitlines())


LIBRARIES = {
    "OMP_NUM_THREADS": "0",
    "OMP_DYNAMIC": "x",
    "OMP_STACKSIZE": "x",
    "OMP_WAIT_POLICY": "perhaps",
    "GOMP_SPINCOUNT": "-1",
    "COLUMNS": "9" * 400,
    "PYTHONIOENCODING": "ascii",
    "CUBLAS_WORKSPACE_CONFIG": "x",
    "LC_ALL": "nowhere.UTF-8",
}
"""Variables that libraries read, with values that they do not understand."""


def test_libraries_do_not_complain_beside_us(tmp_path: Path) -> None:
    line = [*("train", "digits", "--epochs", "1", "--model", "softmax"), "--engine", "torch", "-q"]
    answer = subprocess.run(
        [sys.executable, "-m", "tenfold", *line],
        env={**os.environ, **LIBRARIES},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stderr
    assert all(each.startswith("note: ") for each in answer.stderr.splitlines()), answer.stderr


@pytest.mark.parametrize("value", ["0", "1", "9", "-1", "x"])
def test_help_is_shown_in_any_number_of_columns(
    value: str, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", value)
    answer = tenfold("train", "--help")
    assert "--epochs" in answer.out
    assert not answer.out.startswith("\n\n")


def test_a_cache_in_thousands_of_folders_is_not_made(
    tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path) + "/a" * 2500)
    answer = tenfold("train", "digits", "--model", "softmax", "--epochs", "1", "--engine", "torch")
    assert answer.code == 0, answer.err
    assert not (tmp_path / "a").exists()
