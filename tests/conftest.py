"""What every test module gets: checked shapes, one thread, and the place of the real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("tenfold", "beartype.beartype")

def pytest_configure() -> None:
    import torch

    torch.set_num_threads(1)  # the tests run beside each other


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, in torchvision's layout; skips where there is none."""
    folder = Path(os.environ.get("TENFOLD_DATA", ""))
    if not os.environ.get("TENFOLD_DATA") or not folder.is_dir():
        pytest.skip("the real data sets are not here: set TENFOLD_DATA to their folder")
    return folder.resolve()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's cache."""
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path_factory.mktemp("cache")))
