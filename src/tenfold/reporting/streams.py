"""The two output streams, whatever has become of them.

What is shown to a person must not decide the fate of a run: `Display` drops what cannot be shown. A
result is different: `Results` raises an error if it cannot be written.
"""

from __future__ import annotations

import io
import os
import select
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

from tenfold.errors import StorageError, reason_of

Stream: TypeAlias = Any
"""Anything with the methods of a text file: programs put their own in place of `sys.stderr`."""

LONGEST_WAIT = 5.0
"""Seconds to wait for a reader who does not read: a stopped terminal, a pager, a lost connection.
After that, what is shown is dropped until there is room again."""

_GAP = "\n(the display was stopped: some lines are missing here)\n"

_SHOW_CURSOR = "\x1b[?25h"
"""Makes the cursor of a terminal visible; that may be one of the things that were dropped."""

_PIECE = 256
"""Bytes written at once. If a pipe or a terminal has room at all, it has room for as many."""


class Display:
    """Text for a person; what cannot be shown is dropped, and no error is raised.

    Args:
        stream: where to show it, such as `sys.stderr`; None if there is no such place.
    """

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream
        self._lock, self._has_gap = threading.Lock(), False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)

    @property
    def encoding(self) -> str:
        """The stream's encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def isatty(self) -> bool:
        """Whether a person looks at it."""
        with suppress(Exception):
            return bool(self._stream is not None and self._stream.isatty())
        return False

    def write(self, text: str) -> int:
        """Show a text, or as much of it as possible."""
        with suppress(Exception), self._lock:
            if self._stream is not None:
                self._show(self._stream, text)
        return len(text)

    def flush(self) -> None:
        """Show what the stream still holds."""
        with suppress(Exception):
            if self._stream is not None:
                self._stream.flush()

    def tell_of_gap(self) -> None:
        """Say so if the last texts could not be shown, if that is possible now."""
        if self._has_gap:
            self.write("")

    def _show(self, stream: Stream, text: str) -> None:
        if not _is_plain(stream):
            stream.write(text)
            return
        stream.flush()
        descriptor = stream.fileno()
        if self._has_gap and _has_room(descriptor, 0.0):
            self._has_gap = False
            cursor = _SHOW_CURSOR if stream.isatty() else ""
            text = f"{cursor}{_GAP}{text}"
        data = memoryview(text.encode(self.encoding, stream.errors or "backslashreplace"))
        while data and not self._has_gap:
            if _has_room(descriptor, LONGEST_WAIT):
                data = data[os.write(descriptor, data[:_PIECE]) :]
            else:
                self._has_gap = True


def display_on(stream: Stream | None) -> Display:
    """A stream as a display, or itself if it is one already."""
    return stream if isinstance(stream, Display) else Display(stream)


class Results:
    """Text that a command was called for, such as `sys.stdout`.

    Args:
        stream: where to write it; None if there is no such place.

    Raises:
        StorageError: by `write` and `flush`, if it cannot be written.
    """

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the stream has
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text."""
        with self._required():
            return int(self._open_stream().write(text))

    def flush(self) -> None:
        """Write what the stream still holds."""
        with self._required():
            if self._stream is not None:
                self._stream.flush()

    def _open_stream(self) -> Stream:
        if self._stream is None:
            raise ValueError("it is closed")
        return self._stream

    @contextmanager
    def _required(self) -> Iterator[None]:
        """Turn an error inside the block into ours."""
        try:
            yield
        except (OSError, ValueError) as error:
            with suppress(Exception):  # what it still holds would fail again at the program's end
                _lead_nowhere(self._open_stream().fileno())
            raise StorageError(
                f"the result cannot be written to standard output: {reason_of(error)}"
            ) from error


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


@contextmanager
def standard_streams() -> Iterator[None]:
    """Let `sys.stdout` be `Results` and `sys.stderr` a `Display` inside the block."""
    before = sys.stdout, sys.stderr
    display = Display(sys.stderr)
    sys.stdout, sys.stderr = Results(sys.stdout), display
    try:
        yield
    finally:
        display.tell_of_gap()
        sys.stdout, sys.stderr = before


def _is_plain(stream: Stream) -> bool:
    """Whether a stream does no more than write to a file, a pipe or a terminal."""
    if type(stream) is not io.TextIOWrapper or not hasattr(select, "poll"):
        return False
    return isinstance(getattr(stream.buffer, "raw", stream.buffer), io.FileIO)


def _has_room(descriptor: int, seconds: float) -> bool:
    """Whether writing will not block, at the latest after some seconds."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(1000 * seconds))
