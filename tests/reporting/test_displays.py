"""Output that cannot be shown is dropped; a result that cannot be written is an error."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import pytest

import tenfold as package
from tenfold.errors import StorageError
from tenfold.recipes import Recipe
from tenfold.reporting import streams
from tenfold.reporting.streams import Display, Results, display_on, standard_streams
from tenfold.reporting.terminal import PlainWatcher

fcntl = pytest.importorskip("fcntl", reason="there are no pipes and terminals to set here")
pty = pytest.importorskip("pty", reason="there are no terminals here")


class Broken:
    """A stream all of whose methods raise an error."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def _fail(self, *_: object) -> None:
        raise self.error

    write = flush = isatty = fileno = _fail


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


BROKEN: dict[str, Any] = {
    "none": None,
    "closed": closed(),
    "an object without methods": object(),
    "a broken pipe": Broken(BrokenPipeError(32, "Broken pipe")),
    "no terminal": Broken(OSError(5, "Input/output error")),
    "an error of its own": Broken(RuntimeError("the widget is gone")),
}
"""Streams that programs may have put in place of `sys.stderr`."""

each_broken = pytest.mark.parametrize("stream", BROKEN.values(), ids=BROKEN)


@each_broken
def test_what_cannot_be_shown_is_dropped(stream: object) -> None:
    display = Display(stream)
    assert display.write("text") == 4
    display.flush()
    display.report_gap()
    assert not display.isatty()


@each_broken
def test_training_goes_on_whatever_the_stream(
    stream: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    run = package.train(
        recipe=Recipe(model="softmax", data="digits", epochs=2), out=tmp_path / "run", threads=1
    )
    assert run.status == "finished"


def test_an_error_that_is_no_exception_ends_the_program_as_usual() -> None:
    class Stops(Broken):
        def _fail(self, *_: object) -> None:
            raise KeyboardInterrupt

        write = _fail

    with pytest.raises(KeyboardInterrupt):
        Display(Stops(ValueError())).write("text")


def test_a_display_is_not_wrapped_again() -> None:
    display = display_on(io.StringIO())
    assert display_on(display) is display


def test_other_attributes_are_the_streams_own() -> None:
    stream = io.StringIO()
    for wrapped in (Display(stream), Results(stream)):
        wrapped.write("one")
        assert wrapped.getvalue() == stream.getvalue()
    assert Display(None).encoding == "utf-8"


@pytest.fixture
def pipe() -> Iterator[tuple[int, TextIO]]:
    """The end to read, and the end to write, of a pipe that holds 4 KiB."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w") as stream:
        yield reader, stream
    os.close(reader)


needs_pipes = pytest.mark.skipif(
    not hasattr(fcntl, "F_SETPIPE_SZ"), reason="the size of a pipe cannot be set here"
)


@needs_pipes
@pytest.mark.parametrize("unbuffered", [False, True])
def test_a_reader_who_does_not_read_is_not_waited_for(
    pipe: tuple[int, TextIO], unbuffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LONGEST_WAIT", 0.01)
    reader, stream = pipe
    if unbuffered:  # as with `python -u`
        raw = os.fdopen(stream.fileno(), "wb", buffering=0, closefd=False)
        stream = io.TextIOWrapper(raw, write_through=True)
    display = Display(stream)
    for number in range(200):
        display.write(f"line {number:04d}, and {80 * 'x'}\n")
    begun = os.read(reader, 65536).decode()
    assert begun.startswith("line 0000, and xxx")
    display.write("seen again\n")
    assert os.read(reader, 65536).decode() == f"{streams._GAP}seen again\n"
    display.write("as usual\n")
    assert os.read(reader, 65536).decode() == "as usual\n"


@needs_pipes
def test_a_gap_at_the_end_is_told(
    pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "LONGEST_WAIT", 0.01)
    reader, stream = pipe
    monkeypatch.setattr(sys, "stderr", stream)
    with standard_streams():
        watcher = PlainWatcher()
        for _ in range(100):
            watcher.note("x" * 90)
        os.read(reader, 65536)
    assert os.read(reader, 65536).decode() == streams._GAP


@needs_pipes
def test_texts_are_shown_in_order_and_whole(pipe: tuple[int, TextIO]) -> None:
    reader, stream = pipe
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 65536)
    display, lines = Display(stream), [f"{number} é 中 {'y' * number}\n" for number in range(300)]
    shown = b""
    for line in lines:
        display.write(line)
        shown += os.read(reader, 65536)
    assert shown.decode() == "".join(lines)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("text", ["short", "long" * 10_000], ids=["short", "long"])
def test_a_result_that_does_not_fit_is_an_error_once(text: str) -> None:
    with Path("/dev/full").open("w") as full:
        results = Results(full)
        wanted = "cannot be written to standard output: No space left on device"

        def write() -> None:
            results.write(text)
            results.flush()

        with pytest.raises(StorageError, match=wanted):
            write()
        results.flush()  # so that it does not fail again when the program ends


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (None, "it is closed"),
        (closed(), "I/O operation on closed file"),
        (Broken(BrokenPipeError(32, "Broken pipe")), "Broken pipe"),
        (Broken(RuntimeError("whatever")), "whatever"),
    ],
    ids=["none", "closed", "a broken pipe", "of a program's own"],
)
def test_a_result_that_cannot_be_written_is_an_error(stream: object, reason: str) -> None:
    with pytest.raises(StorageError) as caught:
        Results(stream).write("é")
    assert str(caught.value) == f"the result cannot be written to standard output: {reason}"


def test_asking_for_bytes_loses_no_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    with path.open("w") as stream:
        results = Results(stream)
        with pytest.raises(TypeError):
            results.write(b"")  # type: ignore[arg-type]
        results.write("text")
    assert path.read_text() == "text"


def test_a_stream_need_not_say_how_much_it_wrote() -> None:
    class Silent(io.StringIO):
        def write(self, text: str) -> None:  # type: ignore[override]
            super().write(text)

    stream = Silent()
    assert Results(stream).write("text") == 4
    assert stream.getvalue() == "text"


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    buffer = io.BytesIO()
    results = Results(io.TextIOWrapper(buffer, encoding="latin-1"))
    results.write(json.dumps({"é": "中😀"}, ensure_ascii=False))
    results.flush()
    written = buffer.getvalue().decode("latin-1")
    assert written.startswith('{"é": "\\u4e2d')
    assert json.loads(written) == {"é": "中😀"}


@needs_pipes
@pytest.mark.parametrize("length", [3, 79, 255])
def test_a_terminal_that_nobody_reads_is_not_waited_for(
    length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have room for a byte, but not for the two of a line's end."""
    monkeypatch.setattr(streams, "LONGEST_WAIT", 0.01)
    master, slave = pty.openpty()
    done = threading.Event()

    def show() -> None:
        with os.fdopen(slave, "w") as stream:
            display = Display(stream)
            for _ in range(100_000 // length):
                display.write(f"{'x' * length}\n")
        done.set()

    threading.Thread(target=show, daemon=True).start()
    assert done.wait(60), "it waits for ever"
    os.close(master)


@needs_pipes
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there is no timer here")
def test_an_interrupt_at_any_instant_of_a_write_does_no_harm() -> None:
    """Ctrl-C while a line is written to a terminal: the next line is still shown, and at once."""
    code = """
        import os, pty, random, signal, sys, threading, time
        from tenfold.reporting import streams

        streams.LONGEST_WAIT = 60.0
        master, slave = pty.openpty()
        shown = []

        def read():
            while data := os.read(master, 65536):
                shown.append(data)

        threading.Thread(target=read, daemon=True).start()
        wrong = []
        sys.unraisablehook = wrong.append
        display = streams.Display(os.fdopen(slave, "w"))
        display.write("first")
        dice, interrupted = random.Random(0), 0
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        for number in range(1500):
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, dice.uniform(1e-6, 2e-4))
                    display.write("x" * 100)
                    time.sleep(4e-4)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                interrupted += 1
        display.write("the last line")
        while b"the last line" not in b"".join(shown):
            time.sleep(0.01)
        print(interrupted > 100, display._has_gap, wrong)
    """
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=50
    )
    assert answer.stdout == "True False []\n", answer.stderr


def test_a_terminal_that_is_read_again_shows_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if there is no patience left."""
    monkeypatch.setattr(streams, "LONGEST_WAIT", 0.0)
    monkeypatch.setattr(streams, "_SHORT", 60.0)  # however busy the machine is
    master, slave = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        with suppress(OSError):
            while data := os.read(master, 65536):
                shown.append(data)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    lines = [f"{number} {'x' * 300}" for number in range(5)]
    with os.fdopen(slave, "w") as stream:
        display = Display(stream)
        for line in lines:
            display.write(f"{line}\n")
    reader.join(60)
    os.close(master)
    assert b"".join(shown).decode().splitlines() == lines


@needs_pipes
def test_patience_comes_back(pipe: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LONGEST_WAIT", 0.2)
    now = 1000.0
    monkeypatch.setattr(streams, "time", SimpleNamespace(monotonic=lambda: now))
    waits: list[float] = []

    def wait(_: int, seconds: float) -> bool:
        nonlocal now
        waits.append(seconds)
        now += 0.15 if seconds else 0
        return False

    monkeypatch.setattr(streams, "_has_room", wait)
    display = Display(pipe[1])
    for _ in range(3):
        display._has_gap = False
        display.write("x")
    assert waits == pytest.approx([0.2, 0.05, 0])
    now += streams.WAIT_AGAIN_AFTER
    display._has_gap = False
    display.write("x")
    assert waits[-1] == pytest.approx(0.2)


def test_what_is_written_while_a_text_is_shown_is_dropped() -> None:
    """As by the garbage collector, which reports errors to `sys.stderr`."""

    class Nested(io.StringIO):
        def write(self, text: str) -> int:
            display.write("nested")
            return super().write(text)

    stream = Nested()
    display = Display(stream)
    display.write("text")
    assert stream.getvalue() == "text"


def test_the_streams_are_put_back() -> None:
    before = sys.stdout, sys.stderr
    with standard_streams():
        assert isinstance(sys.stdout, Results)
    assert (sys.stdout, sys.stderr) == before
