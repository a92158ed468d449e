"""Checkpoints of a run: one file each, ordered by step; the newest valid one is used."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from tenfold.errors import FileRefusedError, FileUnreadableError, NewerFormatError
from tenfold.storage import (
    checked,
    kind_of,
    make_folder,
    read_tensors,
    refusal_of,
    remove_file,
    set_aside,
    write_tensors,
)
from tenfold.tensors import from_stored, to_stored
from tenfold.training.state import StateHeader, TrainingState
from tenfold.training.watching import next_multiple

KIND, VERSION = "tenfold-checkpoint", 7
GENERATIONS = 2
"""Number of checkpoints a run keeps."""

USUAL_SECONDS = 60.0
"""Seconds of work that a killed process loses at most, if no interval is requested."""

SHARE_OF_TIME = 0.02
"""Fraction of a run's time that checkpoints may take, if no interval is requested."""

SHARE_AT_EPOCH_ENDS = SHARE_OF_TIME / 2
"""The same for those at epoch ends, which are a convenience. It is smaller because the estimate
rests on the first checkpoint, which is cheaper than later ones."""

_NAME = re.compile(r"step-(\d{9,})\.safetensors")


class CheckpointHeader(StateHeader):
    """The non-tensor part of a run's checkpoint.

    Attributes:
        context: what must be unchanged for a resume.
    """

    context: dict[str, Any]


class Skipped(NamedTuple):
    """A checkpoint that is not used."""

    path: Path
    reason: str
    word: str = "damaged"
    """What its name will end in."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint read from a file.

    Attributes:
        path: the file.
        header: counters, history, optimizer settings, and the run's `context`.
        tensors: weights, moments, generators.
        skipped: newer files that are not used.
        version: of the file's format.
    """

    path: Path
    header: CheckpointHeader
    tensors: dict[str, Tensor]
    skipped: tuple[Skipped, ...] = ()
    version: int = VERSION

    def set_newer_aside(self) -> list[Path]:
        """Rename the newer files, so that they do not outrank new ones.

        Raises:
            StorageError: one could not be renamed.
        """
        return [set_aside(each.path, each.word) for each in self.skipped]


@dataclass
class Checkpointer:
    """Decides when to save a run, and saves it.

    A checkpoint is due whenever the interval has passed, and at every epoch's end. An epoch end is
    skipped if checkpoints would then take more than `SHARE_AT_EPOCH_ENDS` of the run's time. The
    run's last checkpoint is always written.

    If no interval is requested, it is `USUAL_SECONDS`, or longer if checkpoints would otherwise
    take more than `SHARE_OF_TIME`. It counts from one checkpoint to the end of the next one, so a
    checkpoint is written early if the next opportunity might be too late.

    Attributes:
        folder: the run's `checkpoints`.
        context: what must be unchanged for a resume; stored in every header.
        every_seconds: the requested interval in seconds; 0 for none.
        every_batches: the requested interval in batches; 0 for none.
        after_save: called after each save; its time counts as part of the cost.
        tell: called with a note if the usual interval is too expensive.
        seconds_spent: total time spent saving so far.
    """

    folder: Path
    context: Mapping[str, Any]
    every_seconds: float = 0.0
    every_batches: int = 0
    after_save: Callable[[TrainingState], None] | None = None
    tell: Callable[[str], None] = lambda _: None
    seconds_spent: float = 0.0
    _began_at: float = field(default_factory=time.perf_counter)
    _saved_at: float = field(default_factory=time.perf_counter)
    _looked_at: float = field(default_factory=time.perf_counter)
    _longest_gap: float = 0.0
    _last_cost: float = 0.0
    _told_interval: float = 0.0

    def next_due(self, step: int) -> float:
        """The next step, after this one, at which the interval in batches has passed."""
        return next_multiple(step, self.every_batches)

    def due_after_batch(self, state: TrainingState) -> bool:
        """Whether the interval in batches or seconds has passed; notes when it was asked."""
        now = time.perf_counter()
        since_saved = now - self._saved_at
        self._longest_gap = max(self._longest_gap, now - self._looked_at)
        self._looked_at = now
        if self.every_batches:
            return state.step % self.every_batches == 0
        if self.every_seconds:
            return since_saved >= self.every_seconds
        until_next = min(self._longest_gap + self._last_cost, USUAL_SECONDS / 2)
        is_affordable = since_saved >= self._last_cost / SHARE_OF_TIME
        return is_affordable and since_saved + until_next >= USUAL_SECONDS

    def due_after_epoch(self, state: TrainingState) -> bool:
        """Whether to save at this epoch's end."""
        if self.due_after_batch(state):
            return True
        until_the_end = self.seconds_spent + 2 * self._last_cost  # this one and the run's last
        return until_the_end <= SHARE_AT_EPOCH_ENDS * (time.perf_counter() - self._began_at)

    def save(self, state: TrainingState) -> Path:
        """Write the state, and delete all but the newest checkpoints.

        Raises:
            StorageError: it could not be written; the older ones are unchanged.
        """
        start = time.perf_counter()
        header, tensors = state.to_checkpoint()
        path = self.folder / f"step-{state.step:09d}.safetensors"
        make_folder(self.folder)
        write_tensors(
            path,
            to_stored(tensors),
            kind=KIND,
            version=VERSION,
            header={**header.model_dump(), "context": dict(self.context)},
        )
        with suppress(FileRefusedError):  # then they are removed another time
            # Never remove what is not ours, whatever its name.
            others = [
                other
                for other in checkpoint_files(self.folder)
                if other != path and kind_of(other) == KIND
            ]
            for old in others[GENERATIONS - 1 :]:
                remove_file(old)
        if self.after_save is not None:
            self.after_save(state)
        self._saved_at = self._looked_at = time.perf_counter()
        self._last_cost = self._saved_at - start
        self.seconds_spent += self._last_cost
        self._tell_of_interval()
        return path

    def _tell_of_interval(self) -> None:
        """Say how often checkpoints are written, if that is less often than usual."""
        interval = self._last_cost / SHARE_OF_TIME
        is_usual = self.every_batches or self.every_seconds or interval <= USUAL_SECONDS
        if not is_usual and interval > 1.5 * self._told_interval:
            self._told_interval = interval
            self.tell(
                f"a checkpoint takes {self._last_cost:.1f} s, so within epochs one is written "
                f"every {interval:.0f} s, not every {USUAL_SECONDS:.0f} s; another interval can be "
                "requested with --checkpoint-every"
            )


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, most steps first.

    Raises:
        FileRefusedError: the folder cannot be read.
    """
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise refusal_of(folder, error) from error
    steps = {folder / name: _NAME.fullmatch(name) for name in names}
    numbered = [(int(match[1]), path) for path, match in steps.items() if match]
    return [path for _, path in sorted(numbered, reverse=True)]


def read_newest(
    folder: Path, is_own: Callable[[Checkpoint], bool] = lambda _: True
) -> Checkpoint | None:
    """The valid checkpoint with the most steps; None if there are no files.

    Args:
        folder: the run's `checkpoints`.
        is_own: whether a checkpoint belongs to the run. Others count only if none does.

    Raises:
        FileRefusedError: none is valid, or a valid one does not hold the state of a run.
        FileUnreadableError: one of those with more steps cannot be read now.
        NewerFormatError: a newer tenfold wrote one of those with more steps.
    """
    foreign: Checkpoint | None = None
    files = checkpoint_files(folder)
    if not files:
        return None
    skipped: list[Skipped] = []
    for path in files:
        try:
            file = read_tensors(path, kind=KIND, version=VERSION)
            _require_own_name(path, file.header)
        except (NewerFormatError, FileUnreadableError):
            raise
        except FileRefusedError as error:
            skipped.append(Skipped(path, error.message))
            continue
        header = checked(
            CheckpointHeader,
            file.header,
            f"{path}: it does not hold the state of a run",
            remedy="move it elsewhere to continue from an older one",
        )
        found = Checkpoint(path, header, from_stored(file.tensors), tuple(skipped), file.version)
        if is_own(found):
            return found
        foreign = foreign or found
        skipped.append(Skipped(path, f"{path}: it does not belong to this run", "foreign"))
    if foreign is None:
        reasons = "; ".join(each.reason for each in skipped)
        raise FileRefusedError(
            f"{folder}: none of the {len(files)} checkpoints is valid: {reasons}",
            remedy="start a new run",
        )
    return foreign


def _require_own_name(path: Path, header: Mapping[str, Any]) -> None:
    """Refuse a file named after another step, which could outrank newer checkpoints."""
    if header.get("step") != int(path.stem.removeprefix("step-")):
        raise FileRefusedError(
            f"{path}: it holds step {header.get('step')}, but its name says another"
        )
