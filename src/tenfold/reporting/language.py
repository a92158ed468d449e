"""The language of what a person reads on the command line: English or Chinese.

What programs read stays English: JSON, CSV, the files of a run, and what exceptions say in Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tenfold.errors import TenfoldError, printable

VARIABLE = "TENFOLD_LANG"
"""The environment variable that chooses the language; without it, the locale does."""

ENGLISH, CHINESE = "en", "zh"

_LOCALE = ("LC_ALL", "LC_MESSAGES", "LANG")
"""Environment variables that name the locale; the first of them that is set counts."""

_IN_CHINESE = "训练：“图片”"
"""What a stream that shows Chinese can encode."""

Say = Callable[[str], str]
"""What turns an English text into one in the language of its reader."""


def language(stream: Any) -> str:  # noqa: ANN401 - anything with the methods of a text file
    """The language of what is shown on a stream; English if it has no Chinese characters."""
    chosen = _chosen() or _of_locale()
    return chosen if chosen == ENGLISH or _shows_chinese(stream) else ENGLISH


def note_on_language() -> str:
    """What to say of a language that is asked for and unknown; or nothing."""
    wanted = os.environ.get(VARIABLE, "")
    if not wanted or _chosen():
        return ""
    return f"{VARIABLE} is {printable(repr(wanted), 40)}, wanted {ENGLISH} or {CHINESE}"


def speaker(stream: Any) -> Say:  # noqa: ANN401
    """What says a text in the language of a stream."""
    if language(stream) == ENGLISH:
        return str
    from tenfold.reporting.translation import translator

    return translator(CHINESE).text


def in_lines(text: str, stream: Any) -> str:  # noqa: ANN401
    """Results of several lines in the language of a stream."""
    if language(stream) == ENGLISH:
        return text
    from tenfold.reporting.translation import translator

    return translator(CHINESE).lines(text)


def error_line(error: TenfoldError, stream: Any) -> str:  # noqa: ANN401
    """An error's message and remedy in the language of a stream."""
    if language(stream) == ENGLISH:
        return str(error)
    from tenfold.reporting.translation import translator

    return translator(CHINESE).error(error)


def _chosen() -> str:
    """The language that `TENFOLD_LANG` names; empty if it names none."""
    named = _language_in(os.environ.get(VARIABLE, ""))
    return named if named in (ENGLISH, CHINESE) else ""


def _of_locale() -> str:
    named = next(filter(None, (os.environ.get(name) for name in _LOCALE)), "")
    return CHINESE if _language_in(named) == CHINESE else ENGLISH


def _language_in(tag: str) -> str:
    """The language in a name such as `zh`, `zh_CN.UTF-8` or `zh-Hans`."""
    return tag.strip().lower().replace("-", "_").partition("_")[0].partition(".")[0]


def _shows_chinese(stream: Any) -> bool:  # noqa: ANN401
    try:
        _IN_CHINESE.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
