"""Every command and every block of Python in the README runs as it stands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from command_line import Tenfold

README = (Path(__file__).parent.parent / "README.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.removeprefix("$ ").split("#")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ tenfold ") and "tenfold serve" not in line  # which does not end
]


def test_the_readme_has_what_is_tested_here() -> None:
    assert len(PYTHON) == 3
    assert len(COMMANDS) == 16


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One block after the other; later ones use what earlier ones made."""
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)


def test_commands(tenfold: Tenfold) -> None:
    for command in COMMANDS:
        answer = tenfold(*shlex.split(command)[1:])
        assert answer.code == 0, f"{command}: {answer.err}"
        assert answer.out, command


def test_the_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
