"""Error messages, exit codes, and text from outside in messages."""

import copy
import inspect
import pickle
from random import Random
from typing import Annotated

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from tenfold import errors
from tenfold.errors import (
    LONGEST_SENTENCE,
    LONGEST_WORD,
    DataError,
    InterruptedRunError,
    StorageError,
    TenfoldError,
    TrainingError,
    UsageError,
    did_you_mean,
    listing,
    printable,
    quoted,
    wanted,
)

EXIT_CODES = {
    "TenfoldError": 1,
    "UsageError": 2,
    "NotNativeError": 2,
    "DataError": 3,
    "FileRefusedError": 4,
    "FileUnreadableError": 4,
    "NewerFormatError": 4,
    "StorageError": 1,
    "ExportError": 1,
    "TrainingError": 1,
}
"""As documented for the command line."""


def family() -> dict[str, type]:
    classes = inspect.getmembers(errors, inspect.isclass)
    return {name: kind for name, kind in classes if issubclass(kind, Exception)}


def test_every_error_is_a_tenfold_error():
    assert family().keys() == EXIT_CODES.keys() | {"InterruptedRunError"}
    assert all(issubclass(kind, TenfoldError) for kind in family().values())


@pytest.mark.parametrize("name", EXIT_CODES)
def test_exit_codes(name):
    assert family()[name]("something").exit_code == EXIT_CODES[name]


@pytest.mark.parametrize(("signal_number", "code"), [(2, 130), (15, 143)])
def test_an_interrupted_run_ends_with_its_signals_code(signal_number, code):
    error = InterruptedRunError("stopped", remedy="resume it", signal_number=signal_number)
    assert error.exit_code == code


def test_the_remedy_follows_the_message():
    error = DataError("a.png: it is cut off", remedy="replace the file")
    assert str(error) == "a.png: it is cut off; replace the file"
    assert (error.message, error.remedy) == ("a.png: it is cut off", "replace the file")
    assert str(DataError("a.png: it is cut off")) == "a.png: it is cut off"


@pytest.mark.parametrize("duplicate", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
@pytest.mark.parametrize(
    "error",
    [
        DataError("found this", remedy="do that"),
        TrainingError("found this"),
        InterruptedRunError("stopped", remedy="resume it", signal_number=15),
    ],
)
def test_errors_can_be_pickled(error, duplicate):
    other = duplicate(error)
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert (other.message, other.remedy) == (error.message, error.remedy)
    assert other.exit_code == error.exit_code


def test_one_kind_of_error_can_be_caught_alone():
    with pytest.raises(StorageError):
        raise StorageError("disk full")
    assert not issubclass(UsageError, DataError)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("fashion-minst", "fashion-mnist"), ("mnists", "mnist"), ("cifar-10", "cifar10")],
)
def test_a_misspelled_name_gets_the_nearest_suggested(name, nearest):
    known = ["mnist", "fashion-mnist", "cifar10", "digits"]
    assert did_you_mean(name, known) == f"did you mean {nearest!r}?"


def test_names_of_any_length_are_compared_in_little_time():
    """Comparing two that are as long as these would take minutes."""
    dice = Random(0)
    one, other = ("".join(chr(256 + dice.randrange(300)) for _ in range(200_000)) for _ in "ab")
    assert did_you_mean(one, ["lenet", other]).startswith("choose one of: lenet, ")
    assert did_you_mean("lenett", ["lenet", one]) == "did you mean 'lenet'?"


def test_a_name_unlike_any_other_gets_all_names_listed():
    assert did_you_mean("zzz", {"b": 1, "a": 2}) == "choose one of: a, b"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name é 猫 🐈", "plain name é 猫 🐈"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\x00", "a\\nb\\tc\\x00"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("caf\udce9", "caf\\udce9"),
        (17, "17"),
    ],
)
def test_control_characters_never_reach_a_terminal(name, shown):
    assert printable(name) == shown
    shown.encode()


def test_very_long_names_are_cut():
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 10_000) == "x" * 199 + "…"
    assert len(printable("\x1b" * 10_000, 40)) == 40


def test_an_error_message_is_safe_on_any_terminal():
    error = DataError("\x1b[2J\u202e.png: it is\ncaf\udce9", remedy="rename \x07")
    assert str(error) == "\\x1b[2J\\u202e.png: it is\\ncaf\\udce9; rename \\x07"
    assert (error.message, error.remedy) == tuple(str(error).split("; "))


def test_very_long_words_of_an_error_are_cut_in_the_middle():
    path = f"/tmp/{'a' * 500}/photo.png"
    message = f"{path}: found {'9' * 300!r}, wanted 9"
    words = DataError(message).message.split(" ")
    assert [len(word) for word in words] == [LONGEST_WORD, 5, LONGEST_WORD, 6, 1]
    assert words[0].startswith("/tmp/aaa")
    assert words[0].endswith("a/photo.png:")
    assert "…" in words[0]
    assert words[2].endswith("9',")
    assert DataError("x" * LONGEST_WORD).message == "x" * LONGEST_WORD


def test_very_long_error_messages_are_cut():
    assert len(DataError("many words " * 10_000).message) == LONGEST_SENTENCE
    assert len(DataError("\x1b " * 10_000).message) == LONGEST_SENTENCE


def test_a_long_listing_counts_the_rest():
    assert listing([]) == ""
    assert listing(["a", "b"], 2) == "a, b"
    assert listing(["a", "b", "c", "d"], 2) == "a, b and 2 more"
    assert quoted(["a", "it's", "c"], 2) == "'a', \"it's\" and 1 more"


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (int, "3", "a whole number"),
        (int, 1.5, "a whole number"),
        (float, "x", "a number"),
        (Annotated[float, Field(allow_inf_nan=False)], float("nan"), "a finite number"),
        (Annotated[float, Field(ge=0, le=1)], 2, "at most 1"),
        (str, 3, "a string in quotes"),
        (Annotated[str, Field(pattern=r"^\S")], "", "a name"),
        (Annotated[str, Field(min_length=2)], "x", "a string of 2 or more characters"),
        (bool, 1, "true or false"),
        (dict[str, int], 3, "a table"),
        (list[str], "cat", "a list"),
        (tuple[int, int], 3, "a list"),
        (tuple[int, int], (3,), "a longer list"),
        (Annotated[list[str], Field(min_length=1)], [], "a list of 1 or more"),
        (Annotated[list[str], Field(max_length=1)], ["a", "b"], "a list of 1 or fewer"),
    ],
)
def test_pydantics_errors_in_plain_words(kind, value, words):
    with pytest.raises(ValidationError) as raised:
        TypeAdapter(kind).validate_python(value, strict=True)
    assert wanted(raised.value.errors()[0]) == words
