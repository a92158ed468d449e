"""The two output streams, whatever has become of them.

What is shown to a person must not decide the fate of a run: `Display` drops what cannot be shown. A
result is different: `Results` raises an error if it cannot be written.
"""

from __future__ import annotations

import _thread
import io
import json
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import Any, TypeAlias

from tenfold.errors import StorageError, reason_of

Stream: TypeAlias = Any
"""Anything with the methods of a text file: programs put their own in place of `sys.stderr`."""

LONGEST_WAIT = 5.0
"""Seconds that a display waits for a reader who does not read: a stopped terminal, a pager, a lost
connection. After that, what does not fit at once is dropped."""

WAIT_AGAIN_AFTER = 60.0
"""Seconds after the last wait until a display has as much patience again."""

_GAP = "\n(the display was stopped: some lines are missing here)\n"

_SHOW_CURSOR = "\x1b[?25h"
"""Makes the cursor of a terminal visible; that may be one of the things that were dropped."""

_SHORT = 0.1
"""Seconds that are no wait: another thread may take as long where all cores are busy."""

_PIECE = 256
"""Bytes written at once: if a pipe has room at all, it has room for as many."""


class _Piece:
    """Some bytes for another thread to write.

    Attributes:
        written: number of bytes that were.
        is_wanted: whether they are still to be written.
    """

    def __init__(self, descriptor: int, data: bytes) -> None:
        self._descriptor, self._data = descriptor, data
        self.written, self.is_wanted = 0, True
        self._is_done, self._waking = False, _thread.allocate_lock()
        self._waking.acquire()

    def write(self) -> None:
        """Write as many as possible at once, which may wait for ever."""
        if self.is_wanted:
            with suppress(OSError):
                self.written = os.write(self._descriptor, self._data)
        self._is_done = True
        self._waking.release()

    def is_done_within(self, seconds: float) -> bool:
        """Wait until it has been written, but no longer."""
        if not self._is_done:
            self._waking.acquire(timeout=seconds)
        return self._is_done


def _write_all(pieces: SimpleQueue[_Piece]) -> None:
    """Write pieces until the process ends."""
    while True:
        pieces.get().write()


class Display:
    """Text for a person; what cannot be shown is dropped, and no error is raised.

    Args:
        stream: where to show it, such as `sys.stderr`; None if there is no such place.
    """

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._is_writing = self._has_gap = False
        self._patience, self._waited_at = LONGEST_WAIT, 0.0
        self._pieces: SimpleQueue[_Piece] | None = None  # of the thread that writes to a terminal
        self._piece: _Piece | None = None
        self._process = 0

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
            # While a text is shown, the garbage collector may run code that writes, too.
            if self._stream is not None and not self._is_writing:
                self._is_writing = True
                try:
                    self._show(self._stream, text)
                finally:
                    self._is_writing = False
        return len(text)

    def flush(self) -> None:
        """Show what the stream still holds."""
        with suppress(Exception):
            if self._stream is not None:
                self._stream.flush()

    def report_gap(self) -> None:
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
            text = f"{_SHOW_CURSOR if stream.isatty() else ''}{_GAP}{text}"
        data = memoryview(text.encode(self.encoding, stream.errors or "backslashreplace"))
        while data and not self._has_gap:
            written = self._write_some(descriptor, data[:_PIECE])
            data = data[written:]
            self._has_gap = not written

    def _write_some(self, descriptor: int, data: memoryview) -> int:
        """Write some bytes; returns how many, 0 if there is no room for any."""
        with self._waiting() as seconds:
            if not _has_room(descriptor, seconds):
                return 0
        if not os.isatty(descriptor):
            return os.write(descriptor, data)
        # A terminal may have room, but too little: then writing waits, which no other thread must.
        # `KeyboardInterrupt` may be raised anywhere here; the thread has no part in that.
        pieces = self._pieces_of_writer()
        if pieces is None:
            return 0
        last, piece = self._piece, _Piece(descriptor, bytes(data))
        with self._waiting() as seconds:
            if last is not None and not last.is_done_within(seconds):
                return 0
        pieces.put(piece)
        self._piece = piece
        with self._waiting() as seconds:
            piece.is_wanted = piece.is_done_within(max(seconds, _SHORT))
        return piece.written

    def _pieces_of_writer(self) -> SimpleQueue[_Piece] | None:
        """What a thread of this process writes one after the other; None if there is none."""
        if self._process != os.getpid():  # a forked process does not have the thread
            pieces: SimpleQueue[_Piece] = SimpleQueue()
            self._pieces = self._piece = None
            try:
                _thread.start_new_thread(_write_all, (pieces,))
            except RuntimeError:  # no more threads
                return None
            self._pieces, self._process = pieces, os.getpid()
        return self._pieces

    @contextmanager
    def _waiting(self) -> Iterator[float]:
        """Give the seconds that the block may wait, and count those that it does."""
        began = time.monotonic()
        if began >= self._waited_at + WAIT_AGAIN_AFTER:
            self._patience = LONGEST_WAIT
        yield max(0.0, self._patience)
        taken = time.monotonic() - began
        if taken > _SHORT:
            self._patience, self._waited_at = self._patience - taken, began + taken


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
        """Write a text; characters that the encoding lacks are written as in JSON.

        Raises:
            TypeError: it is not a text; click asks whether bytes can be written.
        """
        if not isinstance(text, str):
            raise TypeError(f"found {type(text).__name__}, wanted str")
        with self._required():
            stream = self._open_stream()
            try:
                stream.write(text)
            except UnicodeEncodeError:
                stream.write(_in(stream.encoding, text))
        return len(text)

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
        except Exception as error:  # a stream of a program's own may raise anything
            with suppress(Exception):  # what it still holds would fail again at the program's end
                redirect_to_devnull(self._open_stream().fileno())
            raise StorageError(
                f"the result cannot be written to standard output: {reason_of(error)}"
            ) from error


def _in(encoding: str, text: str) -> str:
    """A text that an encoding has all characters of: others are escaped as in JSON."""

    def shown(character: str) -> str:
        try:
            character.encode(encoding)
        except UnicodeEncodeError:
            return json.dumps(character)[1:-1]
        return character

    return "".join(map(shown, text))


def redirect_to_devnull(descriptor: int) -> None:
    """Let writes to a file have no effect, so that what a stream still holds raises no error."""
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
        display.report_gap()
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
