"""The help of the command line in the language of its reader."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tenfold.reporting.columns import WORD
from tenfold.reporting.language import ENGLISH, language

_TITLES = (
    "ARGUMENTS_PANEL_TITLE",
    "OPTIONS_PANEL_TITLE",
    "COMMANDS_PANEL_TITLE",
    "DEFAULT_STRING",
    "REQUIRED_LONG_STRING",
)
"""What typer's help says by itself."""

_OF_COMMANDS = ("help", "epilog", "rich_help_panel")
"""What a command says in help."""

_OF_USAGE = ("Usage: ", "[OPTIONS]", "COMMAND [ARGS]...")


@contextmanager
def help_in_language(command: Any, context: Any) -> Iterator[None]:  # noqa: ANN401 - typer's own
    """Let a command's help be in the language of standard output inside the block.

    Args:
        command: a command or group of typer's.
        context: of the call.
    """
    chosen = language(sys.stdout)
    if chosen == ENGLISH:
        yield
        return
    changes = [*_texts(command, context, chosen), *_line_breaks()]
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in before:
            setattr(owner, name, value)


def _texts(command: Any, context: Any, chosen: str) -> Iterator[tuple[object, str, object]]:  # noqa: ANN401
    """The attributes with texts of help, and their values in another language."""
    from typer import rich_utils

    from tenfold.reporting.translation import translator

    say = translator(chosen).help
    inside = [command.get_command(context, name) for name in getattr(command, "commands", ())]
    owners = [
        *((rich_utils, name) for name in _TITLES),
        *((each, name) for each in (command, *inside) for name in _OF_COMMANDS),
        *((each, "help") for each in command.get_params(context)),
    ]
    for owner, name in owners:
        text = getattr(owner, name, None)
        if isinstance(text, str):
            yield owner, name, say(text)
    usage = command.get_usage(context)
    for words in _OF_USAGE:
        usage = usage.replace(words, say(words))
    yield command, "get_usage", lambda _context: usage


def _line_breaks() -> Iterator[tuple[object, str, object]]:
    """What lets Rich break lines between Chinese characters, which are two columns wide."""
    import rich._wrap
    from rich.text import Text

    def rstrip_end(text: Text, size: int) -> None:
        if text.cell_len > size:  # Rich compares the number of characters
            text.rstrip()

    yield rich._wrap, "re_word", WORD
    yield Text, "rstrip_end", rstrip_end
