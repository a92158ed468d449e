"""The processes of `kill.py`: forked, new, or two at once; each may be killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NoReturn

from deaths import (
    RESUMING,
    STARTING,
    Death,
    Disk,
    Progress,
    mark_in,
    seconds_of,
    time_writing,
)
from setups import Setup, written

from tenfold.errors import FileRefusedError
from tenfold.runs import resume_run, train_run
from tenfold.runs.folder import RunFolder
from tenfold.runs.resources import Resources

CHECKPOINT_EVERY = "7"
"""In batches; chosen so that resuming starts in the middle of an epoch."""

MOST_SECONDS = 300
"""A process that takes longer hangs."""

IMPORTING, TWO_AT_ONCE = "imports", "two resumes at once"

REFUSED = 3
"""Exit code of a process that found that another one was writing the run."""


@dataclass(frozen=True)
class Session:
    """A process that starts or resumes a run.

    Attributes:
        run: the run's folder.
        every: when to save, see `train_run`.
        epochs: the new number for a resumed run; None to leave it.
        whole: whether a new run has all epochs.
        log: the name of the file for its output.
    """

    run: Path
    every: str = CHECKPOINT_EVERY
    epochs: int | None = None
    whole: bool = False
    log: str = "log"


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
        code: its exit code; None if it was killed.
        phase: the last one.
        died: how it was killed, if it was.
        writing: when it surely held the run's lock, from and until; None if that is not known.
    """

    code: int | None
    phase: str
    died: str = "at a random instant"
    writing: tuple[float, float] | None = None


class Processes:
    """Starts and resumes runs of one recipe in processes, and kills them.

    Args:
        setup: what to train.
        threads: of the runs.
        work: a folder to be made.
        dice: decides when to kill new processes, and two at once.

    Attributes:
        recipe: with all epochs.
        seconds: how long each phase takes, and by the empty name, a whole process.
    """

    def __init__(self, setup: Setup, threads: int, work: Path, dice: random.Random) -> None:
        self.work, self.dice = work, dice
        self.resources = Resources(device="cpu", threads=threads, engine=setup.engine)
        work.mkdir()
        self.data = written(setup.data, work)
        self.recipe = setup.recipe
        begins_with = {"epochs": setup.first_epochs or self.recipe.epochs}
        self.begins_with = self.recipe.model_copy(update=begins_with)
        (work / "recipe.toml").write_text(self.begins_with.to_toml())
        self.seconds = dict[str, float]()

    def log(self, name: str = "log") -> str:
        """What a process has written, by default the output of the last one."""
        return (self.work / name).read_text()

    def session(self, session: Session, death: Death | None = None) -> Ended:
        """Start or resume a run in a forked process, and let it die."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._act(session, death, writer)
        os.close(writer)
        awaited = None if death is None or death.call is not None else death.phase
        marks = list[tuple[float, str]]()
        with os.fdopen(reader) as lines:
            for line in chain([""], lines):  # the empty one is the phase of a whole process
                phase = mark_in(line)[1] if line else ""
                if death is not None and phase == awaited:
                    time.sleep(death.share * self.seconds[phase])
                    os.kill(child, signal.SIGKILL)
                    awaited = None
                if line:
                    marks.append(mark_in(line))
        for phase in {phase for _, phase in marks}:
            if (seconds := seconds_of(phase, marks)) is not None:
                self.seconds[phase] = seconds
        phase = marks[-1][1] if marks else STARTING
        return Ended(_exit_code(child), phase, death.how if death else "")

    def _act(
        self, session: Session, death: Death | None, descriptor: int, gate: int | None = None
    ) -> NoReturn:
        """In the child: start or resume the run, and never return.

        Args:
            session: what to do.
            death: when to die.
            descriptor: gets the phases.
            gate: a pipe to wait for.
        """
        code, run = 1, session.run
        known = set(sys.modules)
        signal.alarm(MOST_SECONDS)
        with (self.work / session.log).open("w") as log:
            sys.stdout = sys.stderr = log
            try:
                has_begun = RunFolder(run).facts.exists()
                progress = Progress(descriptor, RESUMING if has_begun else STARTING)
                at_an_instant = gate is not None or (death is not None and death.call is None)
                calls = [] if at_an_instant else Disk(run, death, progress).calls
                if gate is not None:
                    os.read(gate, 1)
                if has_begun:
                    resume_run(run, epochs=session.epochs, checkpoint_every=session.every)
                else:
                    train_run(
                        self.recipe if session.whole else self.begins_with,
                        self.data,
                        out=run,
                        resources=self.resources,
                        checkpoint_every=session.every,
                    )
                if death is None:
                    (self.work / "calls.json").write_text(json.dumps(calls))
                    new = [name for name in sys.modules if name not in known]
                    (self.work / "modules.json").write_text(json.dumps(new))
                code = 0
            except FileRefusedError as error:
                traceback.print_exc()
                code = REFUSED if "another process is writing this run" in str(error) else 1
            except BaseException:  # noqa: BLE001 - no exception may leave the child
                traceback.print_exc()
        os._exit(code)

    def learn_how_long_imports_take(self, run: Path) -> Ended:
        """Train a run by the command line, and note when it has begun."""
        start = time.monotonic()
        process = self._new_process(Session(run))
        while process.poll() is None and not RunFolder(run).facts.exists():
            time.sleep(0.001)
        self.seconds[IMPORTING] = time.monotonic() - start
        return Ended(process.wait(MOST_SECONDS), IMPORTING)

    def _new_process(self, session: Session) -> subprocess.Popen[bytes]:
        """Start or resume a run by the command line."""
        if RunFolder(session.run).facts.exists():
            line = ["resume", str(session.run)]
            line += ["--epochs", str(session.epochs)] if session.epochs else []
        else:
            line = ["train", self.data, "--recipe", str(self.work / "recipe.toml")]
            line += ["--out", str(session.run), "--device", "cpu"]
            line += ["--threads", str(self.resources.threads), "--engine", self.resources.engine]
        line += ["--checkpoint-every", session.every] if session.every else []
        with (self.work / session.log).open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tenfold", *line, "--quiet"], stdout=log, stderr=log
            )

    def importing(self, session: Session) -> Ended:
        """Start or resume a run by the command line, and kill it before it has begun."""
        facts = RunFolder(session.run).facts
        before = facts.stat().st_ino if facts.exists() else None
        process = self._new_process(session)
        try:
            process.wait(self.dice.random() * self.seconds[IMPORTING])
        except subprocess.TimeoutExpired:
            process.kill()
        code = process.wait()
        has_begun = (facts.stat().st_ino if facts.exists() else None) != before
        return Ended(
            None if code == -signal.SIGKILL else code,
            "after the imports" if has_begun else IMPORTING,
        )

    def two_at_once(self, sessions: tuple[Session, Session]) -> list[Ended]:
        """Resume a run in two processes at the same moment, and kill none, one or both of them."""
        gate, opens = os.pipe()
        pipes = [os.pipe() for _ in sessions]
        children = []
        for session, (_, writer) in zip(sessions, pipes, strict=True):
            child = os.fork()
            if child == 0:
                os.close(opens)
                self._act(session, None, writer, gate)
            children.append(child)
        for descriptor in (opens, gate, *(writer for _, writer in pipes)):
            os.close(descriptor)
        self._kill_some(children)
        ended = []
        for child, (reader, _) in zip(children, pipes, strict=True):
            with os.fdopen(reader) as lines:
                marks = list(map(mark_in, lines))
            ended.append(Ended(_exit_code(child), TWO_AT_ONCE, writing=time_writing(marks)))
        return ended

    def _kill_some(self, children: list[int]) -> None:
        start = time.monotonic()
        longest = self.dice.choice((2 * self.seconds[RESUMING], self.seconds[""]))
        dying = self.dice.sample(children, self.dice.choice((0, 1, 2)))
        instants = sorted(self.dice.uniform(0, longest) for _ in dying)
        for child, instant in zip(dying, instants, strict=True):
            time.sleep(max(0.0, start + instant - time.monotonic()))
            os.kill(child, signal.SIGKILL)


def _exit_code(child: int) -> int | None:
    """Wait for a child; returns its exit code, None if it was killed."""
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return None if code == -signal.SIGKILL else code
