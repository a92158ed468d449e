"""File contents as typed objects, and the errors for wrong contents."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import ConfigDict, Field, PositiveInt, field_validator

from tenfold.errors import FileRefusedError
from tenfold.storage import Facts, checked


class Inner(Facts):
    model_config = ConfigDict(extra="forbid")

    share: Annotated[float, Field(ge=0, le=1)]


class Sample(Facts):
    name: str = "a"
    device: str = Field("cpu", pattern=r"^\S")
    count: PositiveInt = 1
    loss: float = 1.0
    exact: bool = True
    kind: Literal["flushed", "kept"] = "kept"
    table: dict[str, int] = Field(default_factory=dict)
    inner: Inner = Inner(share=0.5)
    names: list[str] = Field(["a"], min_length=1, max_length=3)
    pair: Annotated[tuple[float, float], Field(strict=False)] = (0.0, 1.0)

    @field_validator("names")
    @classmethod
    def _not_x(cls, names: list[str]) -> list[str]:
        if "x" in names:
            raise ValueError("none may be called x")
        return names


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"name": 3}, "name is 3, wanted a string in quotes"),
        ({"device": ""}, "device is '', wanted a name"),
        ({"count": "1"}, "count is '1', wanted a whole number"),
        ({"count": True}, "count is True, wanted a whole number"),
        ({"count": 1.0}, "count is 1.0, wanted a whole number"),
        ({"count": 0}, "count is 0, wanted more than 0"),
        ({"loss": "low"}, "loss is 'low', wanted a number"),
        ({"loss": float("nan")}, "loss is nan, wanted a finite number"),
        ({"loss": float("inf")}, "loss is inf, wanted a finite number"),
        ({"loss": 10**400}, f"loss is {'1' + '0' * 78}…, wanted a number"),
        ({"exact": 1}, "exact is 1, wanted true or false"),
        ({"kind": "lost"}, "kind is 'lost', wanted 'flushed' or 'kept'"),
        ({"table": []}, "table is [], wanted a table"),
        ({"table": {"a": None}}, "table.a is None, wanted a whole number"),
        ({"inner": 3}, "inner is 3, wanted a table"),
        ({"inner": {}}, "inner.share is missing"),
        ({"inner": {"share": 1.5}}, "inner.share is 1.5, wanted at most 1"),
        ({"inner": {"share": 1, "more": 2}}, "unknown key inner.more"),
        ({"names": "abc"}, "names is 'abc', wanted a list"),
        ({"names": []}, "names is [], wanted a list of 1 or more"),
        ({"names": list("abcd")}, "names is ['a', 'b', 'c', 'd'], wanted a list of 3 or fewer"),
        ({"names": ["a", 1]}, "names.1 is 1, wanted a string in quotes"),
        ({"names": ["x"]}, "names: none may be called x"),
        ({"pair": 1}, "pair is 1, wanted a list"),
        ({"pair": [0.5]}, "pair is [0.5], wanted a longer list"),
        ({"pair": [0, 1, 2]}, "pair is [0, 1, 2], wanted a list of 2 or fewer"),
        ({"pair": [0, "1"]}, "pair.1 is '1', wanted a number"),
        ([], "it is [], wanted a table"),
        (None, "it is None, wanted a table"),
    ],
    ids=str,
)
def test_what_was_found_and_what_was_wanted(value: Any, sentence: str) -> None:
    with pytest.raises(FileRefusedError) as raised:
        checked(Sample, value, "sample.json", remedy="mend it")
    assert str(raised.value) == f"sample.json: {sentence}; mend it"


def test_only_the_first_problem_is_reported_and_shortened() -> None:
    with pytest.raises(FileRefusedError) as raised:
        checked(Sample, {"name": ["x" * 10_000], "count": 0}, "sample.json")
    assert "count" not in str(raised.value)
    assert len(str(raised.value)) < 200


def test_control_characters_are_shown_as_codes() -> None:
    with pytest.raises(FileRefusedError) as raised:
        checked(Sample, {"count": "\x1b[2J", "table": {"\x1b": 1}}, "sample.json")
    assert str(raised.value).isprintable()


def test_correct_values_are_not_converted() -> None:
    found = checked(Sample, {"loss": 3, "pair": [0, 1], "names": ["caf\udce9"]}, "sample.json")
    assert (found.loss, found.pair, found.names) == (3.0, (0.0, 1.0), ["caf\udce9"])
