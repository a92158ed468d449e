"""Reading the data of a run. Importing this does not import PyTorch."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from tenfold._lazy import imported
from tenfold.data.dataset import Splits
from tenfold.data.load import load_splits
from tenfold.data.splitting import with_validation
from tenfold.errors import UsageError
from tenfold.listening import Listener, Recorder
from tenfold.recipes import Recipe
from tenfold.runs.resources import Resources, choose_device


@dataclass(frozen=True)
class RunData:
    """The data of a run, as read.

    Attributes:
        splits: with the validation images that the recipe wants.
        fingerprint: of the splits.
        source: see `LoadedData`.
        can_be_reopened: whether the source is a name or path.
        root: see `LoadedData`.
        notes: what the user has been told about the data.
    """

    splits: Splits
    fingerprint: str
    source: str
    can_be_reopened: bool
    root: Path | None
    notes: tuple[str, ...]


def read_for(recipe: Recipe, data: object, resources: Resources, *, listener: Listener) -> RunData:
    """Read the data of a run.

    Args:
        recipe: what it is for.
        data: see `load_splits`; None for the recipe's own.
        resources: what may be used.
        listener: gets notes on the data, and the progress of long reads.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: there is no such data.
    """
    data = data if data is not None else recipe.data
    if isinstance(data, str) and not data:
        raise UsageError("no data set given", remedy="name one, such as digits or a folder")
    recorder = Recorder(listener)
    loaded = load_splits(
        data,
        data_root=resources.data_root,
        image_size=recipe.image_size,
        channels=recipe.channels,
        test_fraction=recipe.test,
        download=resources.download,
        listener=recorder,
    )
    if loaded.splits.test is None:
        recorder.note("there are no test images")
    splits = with_validation(loaded.splits, recipe.val, seed=recipe.seed)
    return RunData(
        splits=splits,
        fingerprint=splits.fingerprint,
        source=loaded.source,
        can_be_reopened=isinstance(data, str | Path),
        root=loaded.root,
        notes=tuple(recorder.notes),
    )


def read_while_importing(
    recipe: Recipe, data: object, resources: Resources, *, listener: Listener
) -> RunData:
    """Read the data of a run while another thread imports PyTorch.

    That thread then checks what does not depend on the data. Its error comes first, as if it had
    done so before, and ends a long read.

    Args:
        recipe: see `read_for`.
        data: see `read_for`.
        resources: see `read_for`.
        listener: see `read_for`.

    Raises:
        DataError: see `read_for`.
        UsageError: see `read_for`; or the device is not available, or the model's arguments are
            wrong.
    """
    checking = _Checking(recipe, resources)
    checking.start()
    try:
        return read_for(recipe, data, resources, listener=_Until(checking, listener))
    finally:
        checking.join()
        checking.require_success()


class _Checking(threading.Thread):
    """Imports what trains a run, then checks the device and the model's arguments."""

    def __init__(self, recipe: Recipe, resources: Resources) -> None:
        super().__init__(name="tenfold-importing")
        self._recipe, self._resources = recipe, resources
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            imported("tenfold.runs.session")
            from tenfold.models import model_arguments

            choose_device(self._resources.device or "auto")
            model_arguments(self._recipe.model, self._recipe.model_args)
        except Exception as error:
            self._error = error

    def require_success(self) -> None:
        """Raise the error, if there was one."""
        if self._error is not None:
            raise self._error


class _Until(Listener):
    """Forwards everything until the checks fail."""

    def __init__(self, checking: _Checking, listener: Listener) -> None:
        self._checking, self._listener = checking, listener

    def note(self, text: str) -> None:
        self._listener.note(text)

    def reading(self, what: str, done: int, total: int | None) -> None:
        self._checking.require_success()
        self._listener.reading(what, done, total)
