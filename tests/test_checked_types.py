"""Tests notice wrong types and shapes."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import jaxtyping
import pytest
import torch

from checked_types import check_types_of

SOURCE = '''
from __future__ import annotations
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from contextlib import contextmanager
from jaxtyping import Float, Int64
from torch import Tensor
if TYPE_CHECKING:
    from nowhere import Unknown

def length(text: str) -> int:
    """Its length."""
    return len(text) if text != "wrong" else text

def total(numbers: list[int], of: Unknown = None) -> int:
    return sum(map(int, numbers))

def both(one: Float[Tensor, "n m"], other: Float[Tensor, "n"]) -> Float[Tensor, "n m"]:
    return one if other.sum() == 0 else one.T

def rows(table: Float[Tensor, "n m"], chosen: Int64[Tensor, "n"], *rest: int, start: int = 0,
         **names: str) -> Iterator[Tensor]:
    yield from table[start:]

class Counts:
    @contextmanager
    def counting(self, start: int = 1) -> Iterator[int]:
        yield start

@dataclass
class Pair:
    one: Float[Tensor, "n"]
    other: Float[Tensor, "n"]

    @property
    def sum(self) -> str:
        return self.one + self.other
'''


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> object:
    """A package whose types are checked."""
    (tmp_path / "packaged.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    check_types_of("packaged")
    import packaged

    yield packaged
    del sys.modules["packaged"]


def test_types(package) -> None:
    assert package.length("right") == 5
    assert package.length.__doc__ == "Its length."
    for wrong in (5, "wrong"):
        with pytest.raises(TypeError, match=r"length\(\)"):
            package.length(wrong)


def test_names_that_only_mypy_knows_are_not_checked(package) -> None:
    assert package.total([1, 2], of="anything") == 3
    with pytest.raises(TypeError):
        package.total(["1", "2"])


def test_shapes_of_arguments_and_result_fit_together(package) -> None:
    assert package.both(torch.ones(2, 3), torch.zeros(2)).shape == (2, 3)
    assert package.both(torch.ones(4, 3), torch.zeros(4)).shape == (4, 3)  # another call
    with pytest.raises(TypeError, match="other"):
        package.both(torch.ones(2, 3), torch.zeros(3))
    with pytest.raises(TypeError, match="return"):
        package.both(torch.ones(2, 3), torch.ones(2))


def test_fields_and_methods(package) -> None:
    pair = package.Pair(torch.ones(2), torch.ones(2))
    with pytest.raises(TypeError, match="other"):
        package.Pair(torch.ones(2), torch.ones(3))
    with pytest.raises(TypeError, match="sum"):
        _ = pair.sum


def test_a_generator_is_checked_when_it_is_called(package) -> None:
    table, chosen = torch.ones(3, 2), torch.zeros(3, dtype=torch.int64)
    assert len(list(package.rows(table, chosen, 7, start=1, name="x"))) == 2
    for wrong in ({"start": "1"}, {"name": 7}):
        with pytest.raises(TypeError, match="rows"):
            package.rows(table, chosen, **wrong)
    with pytest.raises(TypeError, match="chosen"):
        package.rows(table, chosen[:2])
    with package.Counts().counting() as start:
        assert start == 1
    with pytest.raises(TypeError, match="start"):
        package.Counts().counting("1")


def test_shapes_are_not_checked_while_a_network_is_traced(package, monkeypatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    assert package.both(torch.ones(2, 3), torch.zeros(3)).shape == (2, 3)


def test_no_random_numbers_are_taken(package) -> None:
    before = random.getstate()
    assert package.total([1, 2, 3]) == 6
    assert random.getstate() == before


def test_the_package_itself_is_checked() -> None:
    from tenfold.errors import listing

    with pytest.raises(TypeError, match="limit"):
        listing(["a"], "1")
