"""What `run.json` says, as typed objects: the one place that knows its shape."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt

from tenfold.errors import FileRefusedError
from tenfold.storage import Facts, checked, require_readable
from tenfold.training.history import Share

FORMAT = 2
"""Version of `run.json`; a newer one is refused, an older one is upgraded when it is read."""

PUT_BACK = "put back the file as tenfold wrote it"

Status = Literal["running", "interrupted", "failed", "stopped early", "finished"]

_Text = Annotated[str, Field(pattern=r"^\S")]


class Conditions(Facts):
    """What the bits of a run depend on beside its recipe and data.

    Attributes:
        device: the kind of device, and for a GPU its model.
        threads: of a CPU.
        instructions: the widest vector instructions that PyTorch uses; for an engine of its own
            kernels, which of them, too.
        denormals: whether numbers below the normal range are `flushed` to zero or `kept`.
        engine: what takes the steps.
        engine_version: of the engine.
        torch: PyTorch's version.
        tenfold: tenfold's version.
    """

    device: _Text
    threads: PositiveInt
    instructions: str
    denormals: Literal["flushed", "kept"]
    engine: _Text
    engine_version: int
    torch: str
    tenfold: str

    @property
    def device_kind(self) -> str:
        """`cpu`, `cuda` or `mps`."""
        return self.device.split()[0]


class Context(Facts):
    """What a resume must find unchanged.

    Attributes:
        recipe: the keys that decide what a run ends with.
        data: the fingerprint of each split.
        classes: the classes' names.
    """

    recipe: dict[str, Any]
    data: dict[str, str]
    classes: list[str]


class Session(Conditions):
    """One stretch of a run from its start, or a resume, to its next stop.

    Attributes:
        started: when.
        from_step: how many steps had been taken before.
        bit_exact: whether it ends with the bits of a run that was never stopped.
        notes: what a person should know.
        why_not_native: why PyTorch took the steps where nobody asked for it; empty if not so.
    """

    started: str
    from_step: NonNegativeInt
    bit_exact: bool
    notes: list[str]
    why_not_native: str = ""


class DataFacts(Facts):
    """What a run learned from.

    Attributes:
        source: a name or path, or what kind of object was handed over.
        can_be_reopened: whether the source names it.
        root: the folder of data sets that was looked into, for a data set of the catalog.
        fingerprint: of all splits.
        classes: the classes' names.
        image_shape: channels, height, width.
        n: images in each split.
        notes: what there was to say about it.
    """

    source: str
    can_be_reopened: bool
    root: str | None
    fingerprint: str
    classes: list[str]
    image_shape: Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], Field(strict=False)]
    n: dict[str, int]
    notes: list[str]


class Figures(Facts):
    """The final figures of a run; those of a split that there is not are None."""

    epochs: PositiveInt
    best_epoch: PositiveInt | None
    n_train: PositiveInt
    n_val: NonNegativeInt
    n_test: NonNegativeInt
    train_loss: float
    train_acc: Share
    val_loss: float | None
    val_acc: Share | None
    test_loss: float | None = None
    test_acc: Share | None = None
    test_interval: Annotated[tuple[Share, Share], Field(strict=False)] | None = None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold them; without the test figures where there was no test split."""
        found = self.model_dump(mode="json")
        return {key: found[key] for key in found if self.n_test or not key.startswith("test_")}


class RunFacts(Facts):
    """All of `run.json`.

    Attributes:
        format: of the file.
        status: how the run stands.
        created: when it began.
        python: Python's version.
        platform: the system.
        git_revision: of the folder that it was started in, if it lies in a repository.
        data: what it learned from.
        parameters: how many the network has.
        sessions: one for its start, and one for each resume.
        conditions: of the newest session.
        context: what a resume must find unchanged.
        replaced: the context before the last change that was accepted; the newest checkpoint is
            still of it if the process died before the next one was saved.
        figures: once it has ended.
        test: the report on the test split, once there is one.
        failure: why it failed, if it did.
        digests: SHA-256 of what belongs to the run, by file name, once it has ended.
    """

    model_config = ConfigDict(extra="allow")

    format: int = FORMAT
    status: Status
    created: str
    python: str
    platform: str
    git_revision: str | None
    data: DataFacts
    parameters: NonNegativeInt
    sessions: list[Session]
    conditions: Conditions
    context: Context
    replaced: Context | None = None
    figures: Figures | None = None
    test: dict[str, Any] | None = None
    failure: str | None = None
    digests: dict[str, str] = Field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left to train unless more is asked for."""
        return self.status in ("finished", "stopped early")

    def updated(self, **changes: object) -> RunFacts:
        """The same with some facts changed."""
        return self.model_copy(update=changes)


def parse_facts(value: object, path: Path) -> RunFacts:
    """The facts in the JSON of a `run.json`.

    Raises:
        FileRefusedError: a key is missing, of another type, or out of range.
        NewerFormatError: a newer tenfold wrote it.
    """
    if not isinstance(value, dict):
        raise FileRefusedError(f"{path}: this is not a JSON object", remedy=PUT_BACK)
    version = value.get("format")
    if type(version) is not int or version < 1:
        raise FileRefusedError(
            f"{path}: its format is {version!r}, wanted {FORMAT}", remedy=PUT_BACK
        )
    require_readable(version, FORMAT, path)
    if version == 1:
        value = _from_version_1(value)
    return checked(RunFacts, value, path, remedy=PUT_BACK)


def _from_version_1(facts: dict[str, Any]) -> dict[str, Any]:
    """Conditions had other words, and no engine but PyTorch."""
    from tenfold.training.checkpoint import upgraded_conditions  # brings PyTorch along

    def upgraded(found: object) -> object:
        return upgraded_conditions(found) if isinstance(found, Mapping) else found

    sessions, conditions = facts.get("sessions"), facts.get("conditions")
    if isinstance(sessions, list):
        sessions = [upgraded(session) for session in sessions]
    return {**facts, "format": FORMAT, "sessions": sessions, "conditions": upgraded(conditions)}
