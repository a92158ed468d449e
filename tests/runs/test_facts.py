"""`run.json`: its required contents, its older versions, and the errors for wrong ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tenfold.deployment.bundle import PreprocessingHeader
from tenfold.errors import FileRefusedError, NewerFormatError
from tenfold.models.layers import ReLU
from tenfold.models.own import OwnFacts
from tenfold.recipes.recipe import AugmentRecipe
from tenfold.runs.facts import FORMAT, PUT_BACK, AddedFacts, RunFacts, StartFacts, parse_facts

GOLDEN = Path(__file__).parent.parent / "golden"
PLACE = Path("run.json")

Keys = tuple[str | int, ...]


def version_1(name: str = "finished") -> dict[str, Any]:
    """A `run.json` that tenfold 0.1.0 wrote."""
    found: dict[str, Any] = json.loads((GOLDEN / name / "run.json").read_text())
    return found


def today() -> dict[str, Any]:
    """The same with today's names, and every key filled in."""
    facts = parse_facts(version_1(), PLACE)
    added = AddedFacts(place="/corrections", n=3, fingerprint="3" * 64)
    facts = facts.updated(
        data=facts.data.model_copy(update={"added": added}),
        replaced=facts.context,
        failure="the loss became nan",
        git_revision="0" * 40,
        start=StartFacts(
            place="/runs/a",
            sha256="2" * 64,
            preprocessing=PreprocessingHeader(mean=[0.5], std=[0.25]),
        ),
        own=OwnFacts(name="Net", file="net.py", sha256="4" * 64, parameters=["w"], frozen=["w"]),
        layers=(ReLU(input=-1),),
        advice=["the model is not learning"],
        digests={"model.safetensors": "1" * 64},
    )
    return facts.model_dump(mode="json")


FREE = {("test",), ("context", "recipe"), ("replaced", "recipe"), ("layers",)}
"""The contents of these are checked by their readers: a report, a recipe, a list of layers."""

KEYED = {
    ("data", "n"),
    ("data", "skipped"),
    ("data", "corrections"),
    ("context", "data"),
    ("replaced", "data"),
}
"""These have a key for each split."""

NULLABLE = {
    ("git_revision",), ("start",), ("start", "preprocessing"), ("data", "root"), ("data", "added"),
    ("replaced",), ("own",), ("layers",),
    ("figures",), ("test",), ("failure",), ("peak_memory",),
    *((("figures", key)) for key in (
        "best_epoch", "val_loss", "val_acc", "val_balanced_acc", "test_loss", "test_acc",
        "test_interval", "test_balanced_acc", "test_largest_share",
    )),
}  # fmt: skip


def places(value: object, place: Keys = ()) -> Iterator[tuple[Keys, object]]:
    """Every place whose type `run.json` defines, with its value."""
    if place:
        yield place, value
    if place in FREE:
        return
    inner = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else inner:
        yield from places(item, (*place, key))


def with_value(facts: dict[str, Any], place: Keys, value: object) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(facts))
    table: Any = copy
    for key in place[:-1]:
        table = table[key]
    if value is ...:
        del table[place[-1]]
    else:
        table[place[-1]] = value
    return copy


OTHER_TYPES: list[object] = ["words", True, 7, 0.5, [], {}, None]


def is_allowed(place: Keys, old: object, new: object) -> bool:
    """Whether any value of this type is allowed there."""
    if new is None:
        return place in NULLABLE or place == ("data", "root")
    if type(new) is type(old):
        return True
    if place == ("peak_memory",) and new == 7:
        return True
    if old is None and place[0] == "figures":  # shares, which version 1 did not have
        return new == 0.5
    if old is None:  # the folder of known data sets
        return isinstance(new, str)
    return isinstance(old, float) and type(new) is int


WRONG_TYPES = [
    (place, other)
    for place, value in places(today())
    if place[0] != "format"
    for other in OTHER_TYPES
    if not is_allowed(place, value, other)
]


@pytest.mark.parametrize(("place", "value"), WRONG_TYPES, ids=str)
def test_every_key_of_another_type_is_refused_by_name(place: Keys, value: object) -> None:
    with pytest.raises(FileRefusedError) as raised:
        parse_facts(with_value(today(), place, value), PLACE)
    name = ".".join(map(str, place))
    assert str(raised.value).startswith(f"run.json: {name} is {value!r}, wanted ")
    assert str(raised.value).endswith(f"; {PUT_BACK}")


def test_the_table_of_wrong_types_has_every_key() -> None:
    fields = RunFacts.model_fields.keys() - {"format"}
    assert {place[0] for place, _ in WRONG_TYPES} == fields
    assert len(WRONG_TYPES) > 300


@pytest.mark.parametrize(
    "place",
    [
        place
        for place, _ in places(today())
        if isinstance(place[-1], str) and place[:-1] not in KEYED
    ],
    ids=str,
)
def test_every_key_that_is_missing_is_named_unless_the_run_may_lack_it(place: Keys) -> None:
    facts = with_value(today(), place, ...)
    optional = {"why_not_native", "skipped", "corrections", "renamed", "val_balanced_acc", "start"}
    optional |= {
        "added",
        "left_out",
        "preprocessing",
        "by_image",
        "chosen",
        "concern",
        "own",
        "code",
        "file",
        "frozen",
        "layers",
        "advice",
        "peak_memory",
    }
    may_lack = (
        place[-1] in optional
        or place == ("own", "sha256")
        or (
            place[0] in ("replaced", "figures", "test", "failure", "digests")
            and (len(place) == 1 or str(place[1]).startswith("test_"))
        )
    )
    if may_lack or place[0] == "digests":
        parse_facts(facts, PLACE)
        return
    name = ".".join(map(str, place))
    said = "its format is None" if name == "format" else f"{name} is missing"
    with pytest.raises(FileRefusedError, match=rf"^run\.json: {said}"):
        parse_facts(facts, PLACE)


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("conditions", "device"), "", "conditions.device is '', wanted a name"),
        (("conditions", "device"), " cpu", "conditions.device is ' cpu', wanted a name"),
        (("conditions", "engine"), "", "conditions.engine is '', wanted a name"),
        (("conditions", "threads"), 0, "conditions.threads is 0, wanted more than 0"),
        (("sessions", 0, "from_step"), -1, "sessions.0.from_step is -1, wanted at least"),
        (("sessions", 0, "denormals"), "lost", "is 'lost', wanted 'flushed' or 'kept'"),
        (("status",), "done", "status is 'done', wanted 'running', 'interrupted', 'failed'"),
        (("parameters",), -1, "parameters is -1, wanted at least 0"),
        (("data", "image_shape"), [8, 8], "data.image_shape is [8, 8], wanted a longer list"),
        (("data", "image_shape"), [1, 0, 8], "data.image_shape.1 is 0, wanted more than 0"),
        (("figures", "epochs"), 0, "figures.epochs is 0, wanted more than 0"),
        (("figures", "test_acc"), "0.9", "figures.test_acc is '0.9', wanted a number"),
        (("figures", "test_acc"), 1.5, "figures.test_acc is 1.5, wanted at most 1"),
        (("figures", "test_interval"), [0.9], "is [0.9], wanted a longer list"),
        (("figures", "test_interval"), [0, 1, 1], "is [0, 1, 1], wanted a list of 2 or fewer"),
        (("figures", "train_loss"), float("nan"), "train_loss is nan, wanted a finite number"),
        (("figures", "seconds"), float("inf"), "seconds is inf, wanted a finite number"),
    ],
    ids=str,
)
def test_errors_are_in_plain_words(place: Keys, value: object, said: str) -> None:
    with pytest.raises(FileRefusedError) as raised:
        parse_facts(with_value(today(), place, value), PLACE)
    assert said in str(raised.value)
    assert "valid" not in str(raised.value)  # a word from pydantic's messages


@pytest.mark.parametrize("value", [None, 3, "run", [], [{}]], ids=str)
def test_anything_but_an_object_is_refused(value: object) -> None:
    with pytest.raises(FileRefusedError, match=r"^run\.json: not a JSON object; restore"):
        parse_facts(value, PLACE)


@pytest.mark.parametrize("version", [None, 0, -1, "2", 1.0, 2.0, True, []], ids=repr)
def test_no_other_format_is_read(version: object) -> None:
    with pytest.raises(
        FileRefusedError, match=rf"^run\.json: its format is .*, wanted {FORMAT}; restore"
    ):
        parse_facts({**today(), "format": version}, PLACE)


@pytest.mark.parametrize("version", [FORMAT + 1, 10**30])
def test_a_newer_format_has_its_own_error(version: int) -> None:
    """Even if nothing else in the file is as expected."""
    with pytest.raises(
        NewerFormatError, match=f"this tenfold reads up to {FORMAT}; install a newer"
    ):
        parse_facts({"format": version, "sessions": "elsewhere"}, PLACE)


class TestVersion1:
    @pytest.mark.parametrize("name", ["finished", "folder", "interrupted"])
    def test_it_is_read_with_todays_names(self, name: str) -> None:
        old = version_1(name)
        assert old["format"] == 1
        facts = parse_facts(old, PLACE)
        assert facts.format == FORMAT
        for conditions in (facts.conditions, *facts.sessions):
            assert conditions.denormals == old["conditions"]["tiny_numbers"]
            assert (conditions.engine, conditions.engine_version) == ("torch", 1)
            assert conditions.threads == old["conditions"]["threads"]
        assert facts.digests == {}
        assert facts.status == old["status"]
        assert facts.data.n == old["data"]["n"]
        recipe = old["context"]["recipe"]
        newer = {"stem_pool": False} if recipe["model"] == "resnet-small" else {}
        assert facts.context.model_dump() == {
            "recipe": {
                "duplicates_together": False,
                "start": "",
                "weights": "",
                "freeze": False,
                "views": 0,
                "limit": 0,
                "resize": "crop",
                "depth": 16,
                **recipe,
                "normalize": "dataset" if recipe["normalize"] else "none",
                "augment": {**AugmentRecipe().model_dump(), **recipe["augment"]},
                "model_args": {**newer, **recipe["model_args"]},
            },
            "data": old["context"]["data"],
            "classes": old["context"]["classes"],
        }
        assert facts.test == old.get("test")
        figures = {} if facts.figures is None else facts.figures.to_dict()
        later = {"val_balanced_acc", "test_balanced_acc", "test_largest_share"}
        kept = {key: value for key, value in figures.items() if key not in later}
        assert kept == (old.get("figures") or {})
        assert all(figures[key] is None for key in later & figures.keys())

    @pytest.mark.parametrize("name", ["finished", "folder", "interrupted"])
    def test_it_is_written_in_todays_format_and_reads_the_same(self, name: str) -> None:
        facts = parse_facts(version_1(name), PLACE)
        written = json.loads(json.dumps(facts.model_dump(mode="json"), allow_nan=False))
        assert written["format"] == FORMAT
        assert parse_facts(written, PLACE) == facts

    @pytest.mark.parametrize("key", ["sessions", "conditions", "context", "data"])
    def test_it_is_checked_like_todays(self, key: str) -> None:
        for value in (None, 3, "words"):
            with pytest.raises(FileRefusedError, match=rf"^run\.json: {key} is "):
                parse_facts({**version_1(), key: value}, PLACE)
        with pytest.raises(FileRefusedError, match=r"sessions\.0 is 3, wanted a table"):
            parse_facts({**version_1(), "sessions": [3]}, PLACE)


def test_unknown_keys_are_kept() -> None:
    """A later tenfold may write more keys in the same format."""
    facts = parse_facts({**today(), "host": "a"}, PLACE)
    assert facts.updated(status="running").model_dump(mode="json")["host"] == "a"


def test_figures_of_a_missing_split_are_left_out() -> None:
    facts = parse_facts(today(), PLACE)
    assert facts.figures is not None
    assert "test_acc" in facts.figures.to_dict()
    without = facts.figures.model_copy(update={"n_test": 0})
    assert not [key for key in without.to_dict() if key.startswith("test_")]


def test_nothing_in_it_can_be_changed_in_place() -> None:
    facts = parse_facts(today(), PLACE)
    with pytest.raises(ValueError, match="frozen"):
        facts.status = "running"  # type: ignore[misc]
