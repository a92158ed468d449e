"""Fixtures: a small copy of the project for each test, and one workshop for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from trees import Tree
from workshop import Workshop


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """A small copy of the project with nothing built yet."""
    return Tree(tmp_path / "project")


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Workshop:
    """One workshop for all processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "workshop"
    folder.mkdir(exist_ok=True)
    return Workshop(folder)
