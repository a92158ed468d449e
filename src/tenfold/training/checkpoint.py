"""Checkpoints of one run: one file each, ordered by step, the newest that verifies wins."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from tenfold.errors import FileRefusedError, NewerFormatError, listing
from tenfold.models.older import renamed_weights
from tenfold.storage import (
    checked,
    make_folder,
    read_tensors,
    remove_file,
    set_aside,
    write_tensors,
)
from tenfold.tensors import from_stored, to_stored
from tenfold.training.state import StateHeader, TrainingState
from tenfold.training.watching import next_multiple

KIND, VERSION = "tenfold-checkpoint", 3
GENERATIONS = 2
"""How many checkpoints a run keeps."""

COST = 0.01
"""The share of a run's time that the checkpoints at epochs' ends may take; half of what is
promised, as the first one, by which the others are judged, is cheaper than they are."""

_NAME = re.compile(r"step-(\d{9,})\.safetensors")


class CheckpointHeader(StateHeader):
    """What is not a tensor in a checkpoint.

    Attributes:
        context: what a resume must find unchanged.
    """

    context: dict[str, Any]


@dataclass(frozen=True)
class Checkpoint:
    """What was read from one file.

    Attributes:
        path: the file.
        header: counters, history and optimizer settings, and the run's `context`.
        tensors: weights, moments, generators.
        passed_over: newer files that did not verify, with the reason of each.
    """

    path: Path
    header: CheckpointHeader
    tensors: dict[str, Tensor]
    passed_over: tuple[tuple[Path, str], ...] = ()

    def set_newer_aside(self) -> list[Path]:
        """Rename the newer files that did not verify, so that new ones do not rank below them.

        Raises:
            StorageError: one could not be renamed.
        """
        return [set_aside(path, "damaged") for path, _ in self.passed_over]


@dataclass
class Checkpointer:
    """Decides when a run is saved, and saves it.

    A checkpoint is due whenever the interval has passed, if there is one; and at every epoch's
    end, unless the checkpoints of this run would then take more than `COST` of its time: then at
    the first one afterwards that pays. The run's last one is always written.

    Attributes:
        folder: the run's `checkpoints`.
        context: what a resume must find unchanged; it goes into every header.
        every_seconds: the interval in seconds; 0 for none.
        every_batches: the interval in batches; 0 for none.
        after_save: called after each save, within its cost.
        seconds_spent: how long all saving took so far.
    """

    folder: Path
    context: Mapping[str, Any]
    every_seconds: float = 0.0
    every_batches: int = 0
    after_save: Callable[[TrainingState], None] | None = None
    seconds_spent: float = 0.0
    _began_at: float = field(default_factory=time.perf_counter)
    _saved_at: float = field(default_factory=time.perf_counter)
    _last_cost: float = 0.0

    def next_due(self, step: int) -> float:
        """The next step after this one at which the interval in batches has passed."""
        return next_multiple(step, self.every_batches)

    def due_after_batch(self, state: TrainingState) -> bool:
        """Whether the interval in batches or seconds has passed."""
        if self.every_batches and state.step % self.every_batches == 0:
            return True
        since_saved = time.perf_counter() - self._saved_at
        return bool(self.every_seconds) and since_saved >= self.every_seconds

    def due_after_epoch(self, state: TrainingState) -> bool:
        """Whether the end of an epoch is worth a checkpoint now."""
        if self.due_after_batch(state):
            return True
        until_the_end = self.seconds_spent + 2 * self._last_cost  # with this one and the last one
        return until_the_end <= COST * (time.perf_counter() - self._began_at)

    def save(self, state: TrainingState) -> Path:
        """Write the state and drop all but the newest generations.

        Raises:
            StorageError: it could not be written; the older ones are as they were.
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
        others = [other for other in checkpoint_files(self.folder) if other != path]
        for old in others[GENERATIONS - 1 :]:
            remove_file(old)
        if self.after_save is not None:
            self.after_save(state)
        self._saved_at = time.perf_counter()
        self._last_cost = self._saved_at - start
        self.seconds_spent += self._last_cost
        return path


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, the one with the most steps first."""
    steps = {path: _NAME.fullmatch(path.name) for path in folder.glob("step-*.safetensors")}
    numbered = [(int(match[1]), path) for path, match in steps.items() if match]
    return [path for _, path in sorted(numbered, reverse=True)]


def read_newest(folder: Path) -> Checkpoint | None:
    """The checkpoint with the most steps that verifies; None where there is not one file.

    Raises:
        FileRefusedError: none verifies, or what verifies is no state of a run.
        NewerFormatError: a newer tenfold wrote one of those with more steps.
    """
    files = checkpoint_files(folder)
    if not files:
        return None
    passed_over: list[tuple[Path, str]] = []
    for path in files:
        try:
            file = read_tensors(path, kind=KIND, version=VERSION)
            _require_own_name(path, file.header)
            break
        except NewerFormatError:
            raise
        except FileRefusedError as error:
            passed_over.append((path, str(error)))
    else:
        reasons = listing([reason for _, reason in passed_over])
        raise FileRefusedError(
            f"{folder}: none of the {len(files)} checkpoints verifies: {reasons}",
            remedy="start the run anew",
        )
    header = checked(
        CheckpointHeader,
        file.header,
        f"{path}: it does not hold the state of a run",
        remedy="move it away to continue from an older one",
    )
    tensors = from_stored(file.tensors)
    if file.version == 1:
        header, tensors = _from_version_1(header, tensors)
    if file.version <= 2:
        header, tensors = _from_version_2(header, tensors)
    return Checkpoint(path, header, tensors, tuple(passed_over))


def _require_own_name(path: Path, header: Mapping[str, Any]) -> None:
    """A file under another step's name would make older checkpoints outlive newer ones."""
    if header.get("step") != int(path.stem.removeprefix("step-")):
        raise FileRefusedError(
            f"{path}: it holds step {header.get('step')}, which is not what its name says"
        )


def _from_version_1(
    header: CheckpointHeader, tensors: dict[str, Tensor]
) -> tuple[CheckpointHeader, dict[str, Tensor]]:
    """A run's network was the second part of a sequence, and its conditions had other names."""
    context = dict(header.context)
    if "recipe" not in context:
        return header, tensors  # not a run's, but of a loop of somebody's own
    if isinstance(context.get("conditions"), dict):
        context["conditions"] = upgraded_conditions(context["conditions"])
    parameters = [re.sub(r"^1\.", "network.", name) for name in header.parameters]
    renamed = {
        re.sub(r"^(model|averaged|best)\.1\.", r"\1.network.", name): tensor
        for name, tensor in tensors.items()
    }
    return header.model_copy(update={"context": context, "parameters": parameters}), renamed


def _from_version_2(
    header: CheckpointHeader, tensors: dict[str, Tensor]
) -> tuple[CheckpointHeader, dict[str, Tensor]]:
    """Some weights of a run's network had other names."""
    recipe = header.context.get("recipe")
    if not isinstance(recipe, dict):
        return header, tensors
    kind = recipe.get("model"), recipe.get("model_args")
    new_names = renamed_weights(*kind, header.parameters, prefix="network.")
    for part in ("model", "averaged", "best"):
        new_names |= renamed_weights(*kind, tensors, prefix=f"{part}.network.")
    parameters = [new_names.get(name, name) for name in header.parameters]
    renamed = {new_names.get(name, name): tensor for name, tensor in tensors.items()}
    return header.model_copy(update={"parameters": parameters}), renamed


def upgraded_conditions(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """A run's conditions as version 1 of its files had them, in today's words."""
    upgraded = {**conditions, "engine": "torch", "engine_version": 1}
    upgraded["denormals"] = upgraded.pop("tiny_numbers", None)
    return upgraded
