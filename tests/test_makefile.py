"""Where `make` installs tenfold, and with what; nothing is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def commands(target: str, *settings: str, active: Path | None = None, always: bool = True) -> str:
    """What `make` would run, next to an active environment or none."""
    environment = {
        key: value
        for key, value in os.environ.items()
        if key not in ("VIRTUAL_ENV", "CONDA_PREFIX", "MAKEFLAGS", "MAKELEVEL", "PIP_ARGS")
    }
    if active is not None:
        environment["VIRTUAL_ENV"] = str(active)
    answer = subprocess.run(
        ["make", *(["--always-make"] if always else []), "-n", target, *settings],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def environment(folder: Path, *, fails_at: str) -> Path:
    """An environment whose interpreter fails if an argument contains this text."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\ncase "$*" in *{fails_at}*) exit 1;; esac\n')
    python.chmod(0o755)
    return folder


@pytest.mark.parametrize(("target", "what"), [("train", '".[serve]"'), ("test", '".[dev]"')])
def test_without_an_active_environment_versions_are_pinned(target: str, what: str) -> None:
    said = commands(target, "PIP_ARGS=--quiet")
    assert f".venv/bin/python -m pip install --quiet -c constraints.txt -e {what}\n" in said


@pytest.mark.parametrize(("target", "what"), [("train", '".[serve]"'), ("test", '".[dev]"')])
def test_an_active_environment_with_pytorch_is_used(target: str, what: str, tmp_path: Path) -> None:
    active = environment(tmp_path / "own", fails_at="nothing")
    said = commands(target, "PIP_ARGS=--quiet", active=active)
    assert f"{active}/bin/python -m pip install --quiet  -e {what}\n" in said
    assert ".venv" not in said


def test_one_without_pip_is_used_by_uv(tmp_path: Path) -> None:
    active = environment(tmp_path / "own", fails_at="pip")
    assert f'uv pip install --python {active}/bin/python   -e ".[serve]"\n' in commands(
        "train", active=active
    )


def test_without_pip_and_uv_it_says_what_is_missing(tmp_path: Path) -> None:
    active = environment(tmp_path / "own", fails_at="pip")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("make", "sh", "bash", "rm", "cat", "grep", "python3"):
        (tools / tool).symlink_to(shutil.which(tool) or "/bin/false")
    answer = subprocess.run(
        ["make", "SHELL=sh", "train"],
        cwd=PROJECT,
        env={"PATH": str(tools), "VIRTUAL_ENV": str(active)},
        capture_output=True,
        text=True,
    )
    assert answer.returncode
    assert f"{active} has no pip: install uv, or make the environment anew\n" in answer.stderr
    assert "uv pip install" not in answer.stdout


def test_it_is_used_again_without_installing_until_another_project_has_used_it(
    tmp_path: Path,
) -> None:
    active = environment(tmp_path / "own", fails_at="nothing")
    libraries = PROJECT / "src" / "tenfold" / "native" / "libraries"
    if not (libraries / "built.json").exists():
        pytest.skip("tenfold is not installed from this folder")
    marker = active / "tenfold-installed"
    for project, installs in ((PROJECT, False), (tmp_path, True)):
        marker.write_text(f"{project}\n")
        said = commands("train", active=active, always=False)
        assert ("pip install" in said) == installs


def test_one_without_pytorch_is_not_used(tmp_path: Path) -> None:
    active = environment(tmp_path / "own", fails_at="torch")
    assert str(active) not in commands("train", active=active)


def test_cleaning_leaves_an_active_environment_alone(tmp_path: Path) -> None:
    active = environment(tmp_path / "own", fails_at="nothing")
    said = commands("clean", active=active)
    assert str(active) not in said
    assert "rm -rf .venv " in said
