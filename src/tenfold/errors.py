"""tenfold's exceptions, and helpers for writing their messages.

Each message is one sentence: the place, what was found, what was wanted, and what to do. Each
class carries the exit code of the command line.
"""

from __future__ import annotations

import difflib
import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

LONGEST_WORD, LONGEST_SENTENCE = 200, 4000
"""Maximum length of one word and of a whole message, in characters: names can be arbitrarily long.
"""

LONGEST_REMEDY = 20_000
"""Maximum length of a remedy: a command with a shortened path in it would not work."""

_SAME_BEGINNING, _ALIKE = 4, 0.65
"""Length of the common prefix, and minimum similarity ratio, of similar names."""

_WANTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "greater_than_equal": "at least {ge:,}",
    "greater_than": "more than {gt:,}",
    "less_than_equal": "at most {le:,}",
    "less_than": "less than {lt:,}",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "a string in quotes",
    "string_pattern_mismatch": "a name",
    "string_too_short": "a string of {min_length} or more characters",
    "string_too_long": "a string of {max_length} or fewer characters",
    "bool_type": "true or false",
    "dict_type": "a table",
    "model_type": "a table",
    "union_tag_not_found": "a table with {discriminator}",
    "union_tag_invalid": "{discriminator} to be one of {expected_tags}",
    "list_type": "a list",
    "tuple_type": "a list",
    "missing": "a longer list",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of {max_length} or fewer",
}
"""What was wanted, in plain words, by pydantic's error type."""


class TenfoldError(Exception):
    """Base class of tenfold's errors; the message is safe to print on any terminal.

    Args:
        message: the place, what was found and what was wanted, without a full stop.
        remedy: what the reader can do about it, as an imperative; may be empty.
    """

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        self.message = _shown(message)
        self.remedy = printable(remedy, LONGEST_REMEDY)
        super().__init__(f"{self.message}; {self.remedy}" if remedy else self.message)


class UsageError(TenfoldError):
    """Wrong usage: an unknown name, a value out of range, an invalid recipe."""

    exit_code = 2


class NotNativeError(UsageError):
    """A network or setup that the compiled kernels cannot run, here or at all; PyTorch can."""


class DataError(TenfoldError):
    """Data that cannot be found, read or trained on."""

    exit_code = 3


class FileRefusedError(TenfoldError):
    """A checkpoint, bundle or run that is damaged, foreign or incompatible."""

    exit_code = 4


class FileUnreadableError(FileRefusedError):
    """A file that may be sound, but cannot be read now: no permission, or too many open files."""


class NewerFormatError(FileRefusedError):
    """A file that a newer tenfold wrote; falling back to an older file would not be equivalent."""


class StorageError(TenfoldError):
    """A file that could not be written: full disk, missing permission, failed sync."""


class ExportError(TenfoldError):
    """An exported model that does not compute what the model computes."""


class TrainingError(TenfoldError):
    """Training that cannot continue: a loss that is not finite, or out of memory."""


class StoppedAtOnce(SystemExit):
    """A second signal, which asks not even to save."""


class InterruptedRunError(TenfoldError):
    """A run stopped by a signal, after its state was saved.

    Args:
        message: where it stopped.
        remedy: the command that continues it.
        signal_number: the signal received, 2 for SIGINT, 15 for SIGTERM.
    """

    def __init__(self, message: str, *, remedy: str, signal_number: int) -> None:
        super().__init__(message, remedy=remedy)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number

    def __reduce__(self) -> tuple[object, ...]:
        # Unpickling must skip __init__, which would be missing the signal number.
        return Exception.__new__, (type(self), *self.args), vars(self)


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the closest known name, or all of them."""
    choices = sorted(known)
    similar = nearest(name, choices)
    return f"did you mean {similar!r}?" if similar else f"choose one of: {', '.join(choices)}"


def nearest(name: object, known: Iterable[str]) -> str:
    """The known name closest to an unknown one; empty if none is close.

    Names with the same prefix win: `resnet18` is closer to `resnet-small` than to `lenet`. Names
    longer than `LONGEST_WORD` are close to none, because comparing them could take hours.
    """
    text = str(name).casefold()
    if len(text) > LONGEST_WORD:
        return ""

    def likeness(other: str) -> tuple[bool, float]:
        begin_alike = text[:_SAME_BEGINNING] == other[:_SAME_BEGINNING].casefold()
        ratio = difflib.SequenceMatcher(None, other.casefold(), text).ratio()
        return begin_alike and len(text) >= _SAME_BEGINNING, ratio

    choices = (other for other in known if len(other) <= LONGEST_WORD)
    scored = max(((*likeness(other), other) for other in choices), default=(False, 0.0, ""))
    return scored[2] if scored[0] or scored[1] >= _ALIKE else ""


def wanted(problem: Mapping[str, Any]) -> str:
    """What was wanted instead of a wrong value, in plain words.

    Args:
        problem: one of pydantic's error dicts; "missing" here means a list entry.
    """
    words = _WANTED.get(problem["type"])
    if words is None:
        return str(problem["msg"]).removeprefix("Input should be ")
    whole = {  # 1 and not 1.0
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in problem.get("ctx", {}).items()
    }
    return words.format(**whole)


def printable(name: object, limit: int = 200) -> str:
    """A name from outside, safe to print: control characters escaped, cut to `limit` characters."""
    text = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode()
        for c in str(name)
    )
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def encodable(name: str) -> str:
    """A name that can be written as UTF-8; bytes that are not are shown by their numbers."""
    return name.encode(errors="backslashreplace").decode()


def json_line(value: object) -> str:
    """A value as JSON on one line, safe to print: strings escape unprintable characters."""
    line = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in line)


def counted(n: int, noun: str) -> str:
    """A number and a noun with a regular plural: `1 image`, `2,000 images`."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def percent(share: float | int | None, digits: int = 1) -> str:
    """A share as percent; what is not all, or more than nothing, is not shown as such."""
    if share is None:
        return "–"
    least = 10.0**-digits
    value = 100 * share
    if 0 < value < least:
        return f"<{least:.{digits}f} %"
    if 100 - least < value < 100:
        return f">{100 - least:.{digits}f} %"
    return f"{value:.{digits}f} %"


def shell_word(path: object) -> str:
    """A path as one printable word of a shell command, which no command takes for an option."""
    text = str(path)
    return shell_quoted(f"./{text}" if text.startswith("-") else text)


def shell_quoted(text: str) -> str:
    r"""A text as one printable word of a shell command.

    Unprintable characters and bytes are written as in `$'\x0a'`, which bash and zsh understand.
    """
    if text.isprintable():
        return shlex.quote(text)
    escaped = (f"\\{c}" if c in "\\'" else c if c.isprintable() else _as_bytes(c) for c in text)
    return f"$'{''.join(escaped)}'"


def _as_bytes(character: str) -> str:
    is_byte = "\udc80" <= character <= "\udcff"  # of a file's name that is not UTF-8
    encoded = character.encode(errors="surrogateescape" if is_byte else "surrogatepass")
    return "".join(f"\\x{byte:02x}" for byte in encoded)


def set_option(key: str, value: object) -> str:
    """The command-line option that sets a recipe's key or a model's argument."""
    return f"--set {shell_quoted(f'{key}={value}')}"


def listing(items: Sequence[str], limit: int = 20) -> str:
    """The first `limit` items joined by commas, and the number of items left out."""
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def quoted(names: Sequence[str], limit: int = 20) -> str:
    """The same for names from outside, each in quotes, so that one reads as a name."""
    return listing([repr(name) for name in names], limit)


def reason_of(error: Exception) -> str:
    """The system's own error text."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _shown(sentence: str) -> str:
    """A sentence that may contain names from outside, made safe to print and cut to length."""
    words = re.sub(rf"\S{{{LONGEST_WORD + 1},}}", _shortened, sentence)
    return printable(words, LONGEST_SENTENCE)


def _shortened(word: re.Match[str]) -> str:
    """Both ends of a word: the end of a path says most, and closing quotes must stay."""
    half = LONGEST_WORD // 2
    return f"{word[0][:half]}…{word[0][1 - half :]}"
