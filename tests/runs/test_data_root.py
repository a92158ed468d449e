"""The data set folder that a run searches: the one given, then its own, then the
environment's, in Python as on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

import tenfold as package
from command_line import Tenfold
from tenfold.errors import DataError


@pytest.fixture
def roots(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """One with Fashion-MNIST in it, and an empty one."""
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "FashionMNIST").symlink_to(real_data / "FashionMNIST")
    return full, empty


def test_the_order_in_which_folders_are_searched(
    roots: tuple[Path, Path], real_data: Path, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, empty = roots
    monkeypatch.setenv("TENFOLD_DATA", str(full))
    run = package.train(
        recipe="softmax-fashion", epochs=1, out="run", threads=1, quiet=True, download=False
    )
    assert run.facts.data.root == str(full)  # even if the environment named it
    found = package.evaluate("run", threads=1).test_acc
    assert found == run.figures["test_acc"]

    monkeypatch.setenv("TENFOLD_DATA", str(empty))
    assert package.evaluate("run", threads=1).test_acc == found
    printed = tenfold("evaluate", "run", "--offline", "--threads", "1")
    assert f"test_acc {found:.4f}" in printed.out

    named = tenfold("evaluate", "run", "--offline", "--data-root", str(empty))
    assert named.code == DataError.exit_code
    assert "its files are not on this machine" in named.err

    (empty / "MNIST").symlink_to(
        real_data / "MNIST"
    )  # other data is not searched for in the run's own folder
    with pytest.raises(DataError, match="mnist: some images are of '0', '1'"):
        package.evaluate("run", "mnist", threads=1)
    assert package.evaluate("run", "fashion-mnist", threads=1).test_acc == found

    full.rename(full.with_name("moved"))
    monkeypatch.setenv("TENFOLD_DATA", str(full.with_name("moved")))
    assert package.evaluate("run", threads=1).test_acc == found


def test_a_folder_that_is_not_searched_is_not_recorded(tmp_path: Path) -> None:
    run = package.train(
        "digits", epochs=1, data_root="nowhere", out=tmp_path / "run", threads=1, quiet=True
    )
    assert run.facts.data.root is None
