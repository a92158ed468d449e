"""What a type checker makes of tenfold where somebody uses it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from test_public_names import PUBLIC
from test_readme import PYTHON

ROOT = Path(__file__).parent.parent

KNOWN = [f"{module}.{name}" for module, names in PUBLIC.items() for name in sorted(names)]
UNKNOWN = [f"{module}.nonsense" for module in PUBLIC]

FILES = {
    "readme": "\n".join(PYTHON),
    "known": "\n".join(["import tenfold", *KNOWN]),
    "unknown": "\n".join(["import tenfold", *UNKNOWN]),
}
"""What users write, with `import tenfold` and no more."""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What mypy says of each file; as users run it, so without our own settings."""
    folder = tmp_path_factory.mktemp("user")
    for name, text in FILES.items():
        (folder / f"{name}.py").write_text(f"{text}\n")
    cache = ROOT / ".mypy_cache" / "users"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", f"--cache-dir={cache}"]
    answer = subprocess.run(
        [*command, *(f"{name}.py" for name in FILES)], capture_output=True, text=True, cwd=folder
    )
    assert answer.returncode in (0, 1), answer.stderr
    found = re.findall(r"^(\w+)\.py:(\d+): error: (.*)$", answer.stdout, re.MULTILINE)
    return {
        name: [f"line {line}: {text}" for file, line, text in found if file == name]
        for name in FILES
    }


@pytest.mark.parametrize("name", [name for name in FILES if name != "unknown"])
def test_what_the_readme_writes_and_every_public_name_are_known(
    name: str, complaints: dict[str, list[str]]
) -> None:
    assert complaints[name] == []


def test_names_that_are_not_there_are_refused(complaints: dict[str, list[str]]) -> None:
    assert complaints["unknown"] == [
        f'line {line}: Module has no attribute "nonsense"  [attr-defined]'
        for line in range(2, len(UNKNOWN) + 2)
    ]
