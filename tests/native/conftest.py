"""A small copy of the project for each test."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import Tree


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A small copy of the project with nothing built yet."""
    return Tree(tmp_path / "project")
