"""Programs that tests use and that are no Python packages."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def need(name: str) -> str:
    """The path of a program; if missing, skip the test, or fail in continuous integration.

    `.ci/run` installs everything needed.
    """
    found = shutil.which(name)
    return found or cannot_be_tested(f"{name} is not installed")


def cannot_be_tested(reason: str) -> NoReturn:
    """Skip, or fail in continuous integration, where everything must be tested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
