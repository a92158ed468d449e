"""How `kill.py` kills: when a process dies, which phase it is in, and what a machine loses."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from tenfold.runs import reading, session
from tenfold.training import loop

STARTING = "the start of a new run"
RESUMING = "the start of a resume"
READING = "reading"
TRAINING = "training"
EVALUATING = "the final evaluation"
BUNDLING = "writing the bundle"
ENDING = "the end"

BY_PATH = ("mkdir", "open", "link", "replace", "rename", "unlink")
BY_DESCRIPTOR = ("write", "fsync", "close")


@dataclass(frozen=True)
class Death:
    """When a process dies: at an instant, or at a call that changes the disk.

    Attributes:
        phase: in which; empty for any.
        share: of the time that the phase takes, or the whole process, for an instant.
        call: index of the call in the phase, or in the whole process, from 0; None for an instant.
        moment: `before`, `after` or, for a write, `half`.
        machine: whether unflushed data is lost too.
    """

    phase: str = ""
    share: float = 0.0
    call: int | None = None
    moment: str = "before"
    machine: bool = False

    @property
    def how(self) -> str:
        """In words."""
        if self.call is None:
            return "at a random instant"
        return f"{self.moment} a call{', and the machine' if self.machine else ''}"


def moments_of(call: str) -> tuple[str, ...]:
    """When a process can die at a call of this name."""
    return ("before", "half", "after") if call == "write" else ("before", "after")


class Progress:
    """Intercepts the functions that begin a phase, and tells the parent about it.

    Args:
        descriptor: gets a line per phase, with the time at which it began.
        phase: the first one.

    Attributes:
        descriptor: gets a line per phase.
        now: the phase.
    """

    def __init__(self, descriptor: int, phase: str) -> None:
        self.descriptor, self.now = descriptor, ""
        self._enter(phase)
        self._intercept(reading, "load_splits", READING)
        self._intercept(loop, "epoch_order", TRAINING, TRAINING)
        self._intercept(session, "finish", EVALUATING, ENDING)
        self._intercept(session, "write_bundle", BUNDLING, ENDING, only_for="model.safetensors")

    def _enter(self, phase: str) -> None:
        if phase != self.now:
            self.now = phase
            os.write(self.descriptor, f"{time.monotonic()} {phase}\n".encode())

    def _intercept(
        self, module: ModuleType, name: str, phase: str, after: str = "", only_for: str = ""
    ) -> None:
        """Let a function begin a phase.

        Args:
            module: where it is looked up.
            name: its name.
            phase: begins with the call.
            after: begins with the return; empty for the phase before the call.
            only_for: the name of the file in the first argument; empty for any argument.
        """
        real = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> object:
            if only_for and args[0].name != only_for:
                return real(*args, **kwargs)
            before = self.now
            self._enter(phase)
            result = real(*args, **kwargs)
            self._enter(after or before)
            return result

        setattr(module, name, call)


def mark_in(line: str) -> tuple[float, str]:
    """When a phase began, and its name."""
    at, _, phase = line.strip().partition(" ")
    return float(at), phase


def time_writing(marks: list[tuple[float, str]]) -> tuple[float, float] | None:
    """From when until when a process surely held its run's lock; None if it never did.

    A resume reads its data only once it has the lock.
    """
    times = [at for at, phase in marks if phase != RESUMING or at > marks[0][0]]
    return (times[0], times[-1]) if times else None


def seconds_of(phase: str, marks: list[tuple[float, str]]) -> float | None:
    """How long a phase took; None if it was not reached, or did not end.

    Args:
        phase: the phase; it goes on while data is read.
        marks: the times at which phases began.
    """
    began = next((at for at, name in marks if name == phase), None)
    if began is None:
        return None
    later = (at for at, name in marks if at > began and name not in (phase, READING))
    ended = next(later, None)
    return None if ended is None else ended - began


class Disk:
    """Intercepts this process's calls that change a folder, and dies at one of them.

    Args:
        folder: the folder.
        death: when to die; None to live.
        progress: tells the phase.

    Attributes:
        prefix: the folder.
        parent: the folder that holds its name.
        death: when to die.
        progress: tells the phase.
        calls: the phases and names of the calls so far.
        counted: number of calls so far in the phase of the death.
        descriptors: paths of the open files and folders.
        unsafe_data: files with data that was not flushed, as inodes, which stay the same when a
            file is renamed. Flushing the file makes its data safe, and nothing else does.
        unsafe_names: by path, what undoes a change of names. Flushing the path's folder makes
            its names safe, but not the data of its files.
        real: the functions that are intercepted.
    """

    def __init__(self, folder: Path, death: Death | None, progress: Progress) -> None:
        self.prefix, self.parent, self.death = str(folder), str(folder.parent), death or Death()
        self.progress = progress
        self.calls: list[tuple[str, str]] = []
        self.counted = 0
        self.descriptors: dict[int, str] = {}
        self.unsafe_data: set[int] = set()
        self.unsafe_names: dict[str, Callable[[], None]] = {}
        self.real = {name: getattr(os, name) for name in (*BY_PATH, *BY_DESCRIPTOR)}
        for name in BY_PATH:
            setattr(os, name, self._by_path(name))
        for name in BY_DESCRIPTOR:
            setattr(os, name, self._by_descriptor(name))

    def _by_path(self, name: str) -> Callable[..., object]:
        def call(path: object, *args: object, **kwargs: object) -> object:
            target = str(args[0]) if name in ("link", "replace", "rename") else str(path)
            is_ours = target.startswith(self.prefix) or target == self.parent
            if not is_ours or kwargs.get("dir_fd") is not None:
                return self.real[name](path, *args, **kwargs)
            number = self._about_to(name)
            undo = self._undo(name, str(path), target)
            try:
                result = self.real[name](path, *args, **kwargs)
            except OSError:
                self._has_done(number)
                raise
            if undo is not None:
                self.unsafe_names[target] = undo
            if name == "open":
                self.descriptors[result] = target
            self._has_done(number)
            return result

        return call

    def _by_descriptor(self, name: str) -> Callable[..., object]:
        def call(descriptor: int, *args: Any) -> object:
            path = self.descriptors.get(descriptor)
            if path is None:
                return self.real[name](descriptor, *args)
            number = self._about_to(name)
            if name == "write":
                if self._dies_at(number, "half"):
                    self.real["write"](descriptor, args[0][: len(args[0]) // 2])
                    self._die()
                self.unsafe_data.add(os.fstat(descriptor).st_ino)
            result = self.real[name](descriptor, *args)
            if name == "fsync":
                self.unsafe_data.discard(os.fstat(descriptor).st_ino)
                self._names_are_safe_in(path)
            if name == "close":
                del self.descriptors[descriptor]
            self._has_done(number)
            return result

        return call

    def _undo(self, name: str, source: str, target: str) -> Callable[[], None] | None:
        """A function that undoes a change of names whose folder has not been flushed."""
        if not self.death.machine or name not in ("mkdir", "replace"):
            return None
        if name == "mkdir":
            return lambda: shutil.rmtree(target)
        stash = f"{target}.stash"
        if Path(target).exists() and not Path(stash).exists():
            self.real["link"](target, stash)

        def undo() -> None:
            self.real["replace"](target, source)
            if Path(stash).exists():
                self.real["replace"](stash, target)

        return undo

    def _names_are_safe_in(self, folder: str) -> None:
        for path in list(self.unsafe_names):
            if str(Path(path).parent) == folder:
                del self.unsafe_names[path]
                if Path(f"{path}.stash").exists():
                    self.real["unlink"](f"{path}.stash")

    def _about_to(self, name: str) -> int | None:
        """Note a call; returns its index among those of the death's phase, if it is one."""
        self.calls.append((self.progress.now, name))
        if self.death.phase not in ("", self.progress.now):
            return None
        number, self.counted = self.counted, self.counted + 1
        if self._dies_at(number, "before"):
            self._die()
        return number

    def _has_done(self, number: int | None) -> None:
        if self._dies_at(number, "after"):
            self._die()

    def _dies_at(self, number: int | None, moment: str) -> bool:
        return number is not None and (self.death.call, self.death.moment) == (number, moment)

    def _die(self) -> None:
        if self.death.machine:
            for file in filter(Path.is_file, Path(self.prefix).rglob("*")):
                if file.stat().st_ino in self.unsafe_data:
                    os.truncate(file, file.stat().st_size // 3)
        for path, undo in reversed(list(self.unsafe_names.items())):
            if self.death.machine and Path(path).exists():
                undo()
            if Path(f"{path}.stash").exists():
                self.real["unlink"](f"{path}.stash")
        os.kill(os.getpid(), signal.SIGKILL)
