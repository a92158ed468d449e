"""What a type checker makes of tenfold, of itself and where somebody uses it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.resources import files
from pathlib import Path

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


def test_types(tmp_path: Path) -> None:
    """In one run of mypy, which takes most of its time to read what PyTorch has.

    What the README writes and every public name are known, names that are not there are refused,
    and nothing is wrong with tenfold itself.
    """
    for name, text in FILES.items():
        (tmp_path / f"{name}.py").write_text(f"{text}\n")
    command = [sys.executable, "-m", "mypy", "-p", "tenfold"]
    answer = subprocess.run(
        [*command, *(word for name in FILES for word in ("-m", name))],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(tmp_path)},
    )
    assert answer.returncode == 1, answer.stdout + answer.stderr
    # With the folder of an earlier test, where mypy remembers the file from that.
    found = re.findall(r"^(?:.*/)?(.*): error: (.*)$", answer.stdout, re.MULTILINE)
    assert found == [
        (f"unknown.py:{line}", 'Module has no attribute "nonsense"  [attr-defined]')
        for line in range(2, len(UNKNOWN) + 2)
    ]


def test_type_checkers_of_users_look_at_tenfold() -> None:
    """Which they do only if the package says so (PEP 561), wherever it is installed."""
    assert (files("tenfold") / "py.typed").is_file()
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    assert "py.typed" in package_data["package-data"]["tenfold"]
