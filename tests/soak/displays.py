"""Lose a run's streams, take away its terminal, and send it every signal.

    python tests/soak/displays.py --instants 20

Each case starts `tenfold train` as a process. A display that is lost must not end the training; a
signal either stops it with all that it has done saved, or kills it, or does nothing. What is left
is then resumed, and the results are compared with those of a run that nobody disturbed. The exit
code is 0 if every case ended as it should.
"""

from __future__ import annotations

import argparse
import collections
import fcntl
import functools
import os
import pty
import random
import resource
import select
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ignored_signals import heed_ignored_signals
from kill import EVERYTHING, state_of

PROGRAM = [sys.executable, "-m", "tenfold"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm"}

MOST_SECONDS = 300
"""A process that takes longer hangs."""

SAVED = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
"""Signals that ask a run to save and stop, and the exit codes."""

PAUSES = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
HARMLESS = {
    *(signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH),
    *(signal.SIGPIPE, signal.SIGXFSZ),  # Python ignores these two
}
SIGNALS = [
    number for number in sorted(signal.valid_signals()) if number < getattr(signal, "SIGRTMIN", 32)
]


@dataclass
class Ended:
    """A process that has ended.

    Attributes:
        code: its exit code, negative for a signal.
        out: what it wrote to standard output, if that was kept.
        err: what it wrote to standard error, if that was kept.
    """

    code: int
    out: str = ""
    err: str = ""


def training(run: Path, *more: str) -> list[str]:
    """The command that trains a run."""
    options = ["--recipe", str(EVERYTHING), "--threads", "1", "--out", str(run)]
    return [*PROGRAM, "train", *options, "--checkpoint-every", "7", *more]


def resumed(run: Path) -> Ended:
    """A run, resumed to its end; or trained, if it had not begun."""
    begun = (run / "run.json").exists()
    line = [*PROGRAM, "resume", str(run)] if begun else training(run)
    return ended(subprocess.Popen(line, env=ENVIRONMENT, stdout=-1, stderr=-1, text=True))


def ended(process: subprocess.Popen[str]) -> Ended:
    """Wait for a process whose output is kept."""
    out, err = process.communicate()
    return Ended(process.returncode, out or "", err or "")


# --- Streams ----------------------------------------------------------------------------------

STREAMS = {
    "standard error is closed": ("{} 2>&-", 0),
    "standard error is full": ("{} 2>/dev/full", 0),
    "standard error can only be read": ("{} 2</dev/null", 0),
    "standard error has a reader who leaves": ("{} 2> >(head -1 >/dev/null)", 0),
    "standard error has a reader who has left": ("{} 2> >(true); exit $?", 0),
    "standard input is closed": ("{} <&-", 0),
    "standard input is at its end": ("{} </dev/null", 0),
    "standard output is closed": ("{} >&-", 1),
    "standard output is full": ("{} >/dev/full", 1),
    "standard output can only be read": ("{} </dev/null >&0", 1),
    "standard output has a reader who has left": ("{} | true; exit ${{PIPESTATUS[0]}}", 1),
    "both have a reader of one line": ("{} 2>&1 | head -1; exit ${{PIPESTATUS[0]}}", 1),
    "all are closed": ("{} <&- >&- 2>&-", 1),
    "all are full": ("{} </dev/full >/dev/full 2>&1", 1),
    "in the background, without a terminal": ("setsid {} & wait $!", 0),
}
"""By name, for a shell: how a process loses a stream, and its exit code, which is not 0 only if the
result cannot be written."""


def lose_streams(name: str, run: Path) -> str:
    """Train with lost streams; returns what is wrong, if anything."""
    line, code = STREAMS[name]
    command = line.format(shlex.join(training(run, "--log-every", "1")))
    found = ended(
        subprocess.Popen(["bash", "-c", command], env=ENVIRONMENT, stdout=-1, stderr=-1, text=True)
    )
    if found.code != code:
        return f"the exit code is {found.code}, wanted {code}: {found.err[-500:]}"
    if "Traceback" in found.err:
        return f"a traceback: {found.err[-500:]}"
    if not _has_finished(run):
        return "the training did not end"
    lost = [line for line in found.err.splitlines() if line.startswith("tenfold: ")]
    if code and "2>" not in line and (len(lost) != 1 or "cannot be written" not in lost[0]):
        return f"wanted one line about the result, found {lost}"
    return ""


# --- Terminals --------------------------------------------------------------------------------


class Terminal:
    """A terminal, and a process that runs in it.

    Attributes:
        process: the process.
        shown: all that it has shown so far.
    """

    def __init__(self, line: list[str], rows: int, columns: int, **environment: str) -> None:
        self._master, slave = pty.openpty()
        self._deadline = time.monotonic() + MOST_SECONDS
        self.resize(rows, columns)
        self.shown = b""
        self.process = subprocess.Popen(
            line,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**ENVIRONMENT, **environment},
            preexec_fn=_own_terminal,
        )
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        """Change its size; the process is told by a signal."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self._master, keys)

    def read(self, seconds: float) -> bool:
        """Read what is shown for some time; returns whether the process has closed it."""
        self._require_time()
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self._master], [], [], left)[0]:
                try:
                    data = os.read(self._master, 65536)
                except OSError:  # Linux's error once nobody has it open
                    return True
                if not data:
                    return True
                self.shown += data
        return False

    def read_until(self, text: bytes) -> None:
        """Read until something is shown, or the process ends."""
        while text not in self.shown and not self.read(0.02):
            pass

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait, without reading, until something is so."""
        while not condition():
            self._require_time()
            time.sleep(0.05)

    def _require_time(self) -> None:
        if time.monotonic() > self._deadline:
            self.process.kill()
            raise TimeoutError(f"it hangs; it has shown {self.shown[-1000:]!r}")

    def close(self) -> None:
        """Let the terminal disappear."""
        os.close(self._master)

    def ended(self) -> Ended:
        """Read to the end."""
        while not self.read(1.0):
            pass
        self.close()
        return Ended(self.process.wait(MOST_SECONDS), err=self.shown.decode(errors="replace"))


def _own_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def narrow(columns: int) -> Callable[[Path], Ended]:
    """Training on a terminal that is some columns wide."""

    def on(run: Path) -> Ended:
        return Terminal(training(run), 24, columns).ended()

    return on


def resized(run: Path) -> Ended:
    """Training on a terminal whose size changes all the time."""
    terminal, dice = Terminal(training(run, "--log-every", "1"), 24, 80), random.Random(0)
    while not terminal.read(0.02):
        terminal.resize(dice.randint(1, 50), dice.randint(1, 200))
    return terminal.ended()


def dumb(run: Path) -> Ended:
    """Training on a terminal that understands no escape sequences."""
    found = Terminal(training(run), 24, 80, TERM="dumb").ended()
    assert "\x1b" not in found.err, found.err
    return found


def disappears(run: Path) -> Ended:
    """Training on a terminal that disappears: the kernel sends SIGHUP."""
    terminal = Terminal(training(run), 24, 80)
    terminal.read_until(b"epoch 1")
    terminal.close()
    return Ended(terminal.process.wait(MOST_SECONDS))


def disappears_under_a_shell(run: Path) -> Ended:
    """The same below a shell, which sends a second SIGHUP. Its exit code is lost with the shell."""
    terminal = Terminal(["bash", "--norc", "-i"], 24, 80)
    terminal.type(shlex.join(training(run)).encode() + b"\n")
    terminal.read_until(b"epoch 1/")
    terminal.close()
    terminal.process.wait(MOST_SECONDS)
    terminal.wait_for(lambda: not _is_training(run))
    return Ended(SAVED[signal.SIGHUP] if _has_status(run, "interrupted") else 0)


def unread_terminal(run: Path) -> Ended:
    """Training on a terminal that nobody reads until the run has its model."""
    terminal = Terminal(training(run, "--log-every", "1"), 24, 80)
    terminal.wait_for((run / "model.safetensors").exists)
    return terminal.ended()


def disappears_unnoticed(run: Path) -> Ended:
    """The same for a process that ignores SIGHUP."""
    ignoring = ["env", "--ignore-signal=HUP", *training(run, "--log-every", "1")]
    terminal = Terminal(ignoring, 24, 80)
    terminal.read_until(b"epoch 1")
    terminal.close()
    return Ended(terminal.process.wait(MOST_SECONDS))


def stopped(run: Path) -> Ended:
    """Training on a terminal that is stopped with Ctrl-S, until the run has its model."""
    terminal = Terminal(training(run, "--log-every", "1"), 24, 80)
    terminal.read_until(b"epoch 1")
    terminal.type(b"\x13")
    while not (run / "model.safetensors").exists() and not terminal.read(0.05):
        pass
    terminal.type(b"\x11")
    found = terminal.ended()
    shown = found.err.partition("some lines are missing here")
    assert shown[1], found.err
    assert "\x1b[?25h" in shown[0], found.err  # the cursor, which the bar has hidden
    return found


def unread(run: Path) -> Ended:
    """Training with a full pipe that nobody reads."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    line = training(run, "--log-every", "1")
    process = subprocess.Popen(line, env=ENVIRONMENT, stdout=-1, stderr=writer, text=True)
    os.close(writer)
    found = ended(process)
    os.close(reader)
    return found


def ctrl_c(run: Path) -> Ended:
    """Ctrl-C on a terminal, while a progress bar is shown."""
    terminal = Terminal(training(run), 24, 80)
    terminal.read_until(b"epoch 1")
    terminal.type(b"\x03")
    return terminal.ended()


TERMINALS: dict[str, tuple[Callable[[Path], Ended], int]] = {
    "80 columns": (narrow(80), 0),
    "20 columns": (narrow(20), 0),
    "1 column": (narrow(1), 0),
    "no columns": (narrow(0), 0),
    "10,000 columns": (narrow(10_000), 0),
    "resized all the time": (resized, 0),
    "dumb": (dumb, 0),
    "disappears": (disappears, 129),
    "disappears, below a shell": (disappears_under_a_shell, 129),
    "is not read": (unread_terminal, 0),
    "disappears, and SIGHUP is ignored": (disappears_unnoticed, 1),
    "stopped with Ctrl-S": (stopped, 0),
    "a pipe that nobody reads": (unread, 0),
    "Ctrl-C": (ctrl_c, 130),
}
"""By name: training on a terminal, and its exit code."""


def use_terminal(name: str, run: Path) -> str:
    """Train on a terminal; returns what is wrong, if anything."""
    act, code = TERMINALS[name]
    found = act(run)
    if found.code != code:
        return f"the exit code is {found.code}, wanted {code}: {found.err[-500:]}"
    if code in (0, 1) and not _has_finished(run):
        return "the training did not end"
    return f"a traceback: {found.err[-1500:]}" if "Traceback" in found.err else ""


# --- Signals ----------------------------------------------------------------------------------


def send_signal(number: int, after: float, begun: bool, run: Path) -> tuple[str, str]:
    """Train, and send a signal.

    Args:
        number: of the signal.
        after: the seconds after which it is sent.
        begun: whether they count from when the run has begun, instead of the process.
        run: the run's folder.

    Returns:
        What became of it, and what is wrong, if anything.
    """
    process = subprocess.Popen(
        training(run),
        env=ENVIRONMENT,
        stdout=-1,
        stderr=-1,
        text=True,
        preexec_fn=_as_in_a_shell,
    )
    while begun and not (run / "run.json").exists() and process.poll() is None:
        time.sleep(0.001)
    time.sleep(after)
    process.send_signal(number)
    if number in PAUSES:
        time.sleep(0.1)
        process.send_signal(signal.SIGCONT)
    found = ended(process)
    if found.code == 0:
        return "finished", ""
    if number in HARMLESS | PAUSES:
        return "ended", f"the exit code is {found.code}: {found.err[-500:]}"
    if number == signal.SIGINT and _is_starting(found):
        return "Python was starting", ""
    if found.code == -number:
        if number in SAVED and _is_training(run):
            return "killed", "a run was killed that should have been saved"
        return "killed", ""
    if found.code != SAVED.get(signal.Signals(number)):
        return "ended", f"the exit code is {found.code}: {found.err[-500:]}"
    last = found.err.splitlines()[-1:] or [""]
    said = sum(line.startswith("tenfold: ") for line in found.err.splitlines())
    if said != 1 or not last[0].startswith("tenfold: ") or "Traceback" in found.err:
        return "stopped", f"wanted one line, found {found.err[-500:]!r}"
    return "saved" if "saved" in last[0] else "interrupted", ""


def _as_in_a_shell() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _is_starting(found: Ended) -> bool:
    """Whether Python was interrupted before any line of tenfold's was run."""
    return found.code == -signal.SIGINT and (not found.err or "/tenfold/" not in found.err)


def _is_training(run: Path) -> bool:
    return _has_status(run, "running")


def _has_finished(run: Path) -> bool:
    return _has_status(run, "finished")


def _has_status(run: Path, status: str) -> bool:
    try:
        return f'"status": "{status}"' in (run / "run.json").read_text()
    except FileNotFoundError:
        return False


# --- All --------------------------------------------------------------------------------------


def difference(run: Path, wanted: dict[str, object]) -> str:
    """Resume what is left of a run; returns in what it differs from an undisturbed one."""
    found = resumed(run)
    if found.code != 0:
        return f"it could not be resumed: {found.err[-500:]}"
    state = state_of(run)
    differing = [key for key in wanted if state.get(key) != wanted[key]]
    return f"its results differ: {', '.join(differing[:5])}" if differing else ""


@dataclass
class Soak:
    """All cases, in processes beside each other.

    Attributes:
        work: a folder for the runs.
        wanted: the results of the run that nobody disturbed.
        seconds: the time that it took.
        outcomes: what became of each kind of case.
        wrong: what was wrong.
    """

    work: Path
    wanted: dict[str, object]
    seconds: float
    outcomes: collections.Counter[str]
    wrong: list[str]

    def case(self, name: str, act: Callable[[Path], tuple[str, str]]) -> None:
        """One case."""
        run = self.work / "".join(each if each.isalnum() else "-" for each in name)
        try:
            outcome, wrong = act(run)
            wrong = wrong or difference(run, self.wanted)
        except Exception as error:  # noqa: BLE001 - the other cases go on
            outcome, wrong = "an error", repr(error)
        shutil.rmtree(run, ignore_errors=True)
        self.outcomes[f"{name.partition(' after ')[0]}: {outcome}"] += 1
        if wrong:
            self.wrong.append(f"{name}: {wrong}")
            print(self.wrong[-1], file=sys.stderr, flush=True)


def begin(work: Path) -> Soak:
    """Train the run that nobody disturbs, twice: the first time, files are not in memory yet."""
    for name in ("first", "second"):
        start = time.perf_counter()
        found = resumed(work / name)
        assert found.code == 0, found.err
        seconds = time.perf_counter() - start
    wanted = state_of(work / "second")
    assert wanted == state_of(work / "first")
    return Soak(work, wanted, seconds, collections.Counter(), [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--instants", type=int, default=20, help="for each signal")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="processes at once")
    parser.add_argument("--only", default="", help="cases whose name contains this")
    options = parser.parse_args()
    heed_ignored_signals()
    dice, start = random.Random(options.seed), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="tenfold-displays-") as folder:
        soak = begin(Path(folder).resolve())
        cases: list[tuple[str, Callable[[Path], tuple[str, str]]]] = []
        for name in STREAMS:
            cases.append((name, lambda run, name=name: ("trained", lose_streams(name, run))))
        for name in TERMINALS:
            terminal = f"terminal: {name}"
            cases.append((terminal, lambda run, name=name: ("trained", use_terminal(name, run))))
        for number in SIGNALS:
            for place in range(options.instants):
                begun = place % 2 == 1
                after = dice.uniform(0, (0.5 if begun else 1.05) * soak.seconds)
                name = f"{signal.Signals(number).name} after {after:.4f} s"
                cases.append((name, functools.partial(send_signal, number, after, begun)))
        chosen = [case for case in cases if options.only in case[0]]
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda case: soak.case(*case), chosen))
    for name, count in sorted(soak.outcomes.items()):
        print(f"{count:6} {name}")
    print(
        f"{len(chosen)} cases, {len(soak.wrong)} of them wrong, in "
        f"{time.perf_counter() - start:.0f} s"
    )
    sys.exit(1 if soak.wrong or not chosen else 0)


if __name__ == "__main__":
    main()
