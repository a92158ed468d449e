"""The contents of `run.json` as typed objects: the one place that knows its format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

from pydantic import ConfigDict, Field, NonNegativeInt, PositiveInt

from tenfold.deployment.bundle import PreprocessingHeader
from tenfold.errors import FileRefusedError
from tenfold.models.layers import Network
from tenfold.models.own import OwnFacts
from tenfold.recipes.older import upgraded_recipe
from tenfold.storage import Facts, absolute, checked, require_readable
from tenfold.training.history import Share

FORMAT = 6
"""Version of `run.json`; newer ones are refused, older ones upgraded on reading."""

PUT_BACK = "restore the file as tenfold wrote it"

Status = Literal["running", "interrupted", "failed", "stopped early", "finished"]

_Text = Annotated[str, Field(pattern=r"^\S")]


class Conditions(Facts):
    """What a run's bits depend on besides its recipe and data.

    Attributes:
        device: the kind of device; for a GPU also its model.
        threads: CPU threads.
        instructions: the widest vector instructions that PyTorch uses, and those of the engine's
            own kernels if it has any.
        denormals: whether denormals are `flushed` to zero or `kept`.
        engine: what runs the training steps.
        engine_version: the engine's version.
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
    """What must be unchanged for a resume.

    Attributes:
        recipe: the keys that affect the result.
        data: the fingerprint of each split.
        classes: the class names.
    """

    recipe: dict[str, Any]
    data: dict[str, str]
    classes: list[str]


class Session(Conditions):
    """One stretch of a run, from its start or a resume to the next stop.

    Attributes:
        started: when.
        from_step: number of steps taken before.
        bit_exact: whether it ends with the same bits as an uninterrupted run.
        notes: notes for the user.
        why_not_native: why PyTorch trained although not requested; otherwise empty.
    """

    started: str
    from_step: NonNegativeInt
    bit_exact: bool
    notes: list[str]
    why_not_native: str = ""


class AddedFacts(Facts):
    """Training images from another place than the data's.

    Attributes:
        place: a path.
        n: how many images are there.
        left_out: how many of them are held out as images of the data, and not trained on.
        fingerprint: of all that are there.
    """

    place: str
    n: PositiveInt
    left_out: NonNegativeInt = 0
    fingerprint: str


class DataFacts(Facts):
    """The data a run was trained on.

    Attributes:
        source: a name or path, or the type of the Python object.
        can_be_reopened: whether the source is a name or path.
        root: the data set folder that was searched, for a data set from the catalog.
        fingerprint: of all splits, without images that were added.
        classes: the class names.
        image_shape: channels, height, width.
        n: images in each split.
        notes: notes on the data.
        skipped: why images were left out because they cannot be read, by name.
        corrections: the new label of each image that got one, by name; empty for one that was left
            out.
        added: the images that were added to the training images; None for none.
    """

    source: str
    can_be_reopened: bool
    root: str | None
    fingerprint: str
    classes: list[str]
    image_shape: Annotated[tuple[PositiveInt, PositiveInt, PositiveInt], Field(strict=False)]
    n: dict[str, int]
    notes: list[str]
    skipped: dict[str, str] = Field(default_factory=dict)
    corrections: dict[str, str] = Field(default_factory=dict)
    added: AddedFacts | None = None

    @property
    def n_added(self) -> int:
        """How many images were trained on besides those of the data."""
        return 0 if self.added is None else self.added.n - self.added.left_out


class StartFacts(Facts):
    """What a run's network started from.

    Attributes:
        place: the absolute path of a run, a model file or a file of weights.
        sha256: of what it contained.
        preprocessing: of the images that it was trained on; None if that is not known.
        renamed: the network's name of each tensor, by its name in the file of weights; empty if
            they had the network's names.
    """

    place: str
    sha256: str
    preprocessing: PreprocessingHeader | None = None
    renamed: dict[str, str] = Field(default_factory=dict)


@runtime_checkable
class Beginnings(Protocol):
    """What says on which data and under which conditions a run, or a group of runs, began."""

    @property
    def data(self) -> DataFacts:
        """What it was trained on."""
        ...

    @property
    def conditions(self) -> Conditions:
        """Those of the newest session."""
        ...


class Figures(Facts):
    """The final figures of a run; None for those of a missing split."""

    epochs: PositiveInt
    best_epoch: PositiveInt | None
    n_train: PositiveInt
    n_val: NonNegativeInt
    n_test: NonNegativeInt
    train_loss: float
    train_acc: Share
    val_loss: float | None
    val_acc: Share | None
    val_balanced_acc: Share | None = None
    test_loss: float | None = None
    test_acc: Share | None = None
    test_interval: Annotated[tuple[Share, Share], Field(strict=False)] | None = None
    test_balanced_acc: Share | None = None
    test_largest_share: Share | None = None
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; without the test figures if there was no test split."""
        found = self.model_dump(mode="json")
        return {key: found[key] for key in found if self.n_test or not key.startswith("test_")}


class RunFacts(Facts):
    """All of `run.json`.

    Attributes:
        format: version of the file format.
        status: the run's status.
        created: when it began.
        python: Python's version.
        platform: the operating system.
        git_revision: of the folder that it was started in, if that is in a repository.
        data: what it was trained on.
        start: what its network started from; None for random weights.
        own: what is recorded of a network of the user's own; None for one of the table.
        layers: such a network as a flat list; None if it is not one, or is of the table.
        code: the absolute path of the file with its code; empty without one.
        parameters: number of parameters in the network.
        sessions: one for the start, and one for each resume.
        conditions: of the newest session.
        context: what must be unchanged for a resume.
        replaced: the context before the last accepted change of more than the epochs, which
            checkpoints may still have.
        figures: once the run has ended.
        test: the report on the test split, once there is one.
        failure: why it failed, if it did.
        concern: why little was learned, or lost again, and what to try; empty if neither was.
        advice: what was said of the training while it ran, each once; empty in older files.
        chosen: in words, what was chosen by the data; empty for nothing, or in older files.
        peak_memory: the most memory that the process of the last session had, in bytes; None until
            it has ended, where the system does not say, or in older files.
        digests: SHA-256 of the run's files by name, once it has ended; of `run.json`, that of its
            results.
    """

    model_config = ConfigDict(extra="allow")

    format: int = FORMAT
    status: Status
    created: str
    python: str
    platform: str
    git_revision: str | None
    data: DataFacts
    start: StartFacts | None = None
    own: OwnFacts | None = None
    layers: Network | None = None
    code: str = ""
    parameters: NonNegativeInt
    sessions: list[Session]
    conditions: Conditions
    context: Context
    replaced: Context | None = None
    figures: Figures | None = None
    test: dict[str, Any] | None = None
    failure: str | None = None
    concern: str = ""
    advice: list[str] = Field(default_factory=list)
    chosen: str = ""
    peak_memory: PositiveInt | None = None
    digests: dict[str, str] = Field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        """Whether training is complete, unless more is asked for."""
        return self.status in ("finished", "stopped early")

    @property
    def concerns(self) -> tuple[str, ...]:
        """What to know about the training besides its figures."""
        return tuple(filter(None, (self.concern, *self.advice)))

    @property
    def naming_code(self) -> tuple[str, ...]:
        """The words of a command that name the code of its network; none if it is not needed."""
        return () if not self.own_model or self.layers is not None else ("--code", self.own_model)

    @property
    def own_model(self) -> str:
        """The file and name of the user's own network, as typed here; empty without a file."""
        if self.own is None or not self.code:
            return ""
        path, here = Path(self.code), absolute(Path())
        typed = path.relative_to(here) if path.is_relative_to(here) else path
        return f"{typed}:{self.own.name}"

    @property
    def sha256_of_results(self) -> str:
        """The SHA-256 of the figures and the report on the test split."""
        results = self.model_dump(mode="json", include={"figures", "test"})
        return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()

    def updated(self, **changes: object) -> RunFacts:
        """A copy with some facts changed."""
        return self.model_copy(update=changes)


def parse_facts(value: object, path: Path) -> RunFacts:
    """The facts from the JSON of a `run.json`.

    Raises:
        FileRefusedError: a key is missing, of the wrong type, or out of range.
        NewerFormatError: a newer tenfold wrote it.
    """
    if not isinstance(value, dict):
        raise FileRefusedError(f"{path}: not a JSON object", remedy=PUT_BACK)
    version = value.get("format")
    if type(version) is not int or version < 1:
        raise FileRefusedError(
            f"{path}: its format is {version!r}, wanted {FORMAT}", remedy=PUT_BACK
        )
    require_readable(version, FORMAT, path)
    if version == 1:
        value = _from_version_1(value)
    if version <= 5:
        value = _from_version_5(value)
    return checked(RunFacts, value, path, remedy=PUT_BACK)


def _from_version_1(facts: dict[str, Any]) -> dict[str, Any]:
    """Conditions had other names, and PyTorch was the only engine."""

    def upgraded(found: object) -> object:
        return upgraded_conditions(found) if isinstance(found, Mapping) else found

    sessions, conditions = facts.get("sessions"), facts.get("conditions")
    if isinstance(sessions, list):
        sessions = [upgraded(session) for session in sessions]
    return {**facts, "sessions": sessions, "conditions": upgraded(conditions)}


def _from_version_5(facts: dict[str, Any]) -> dict[str, Any]:
    """Recipes had fewer keys."""

    def upgraded(context: object) -> object:
        return upgraded_context(context) if isinstance(context, Mapping) else context

    keys = [key for key in ("context", "replaced") if key in facts]
    contexts: dict[str, Any] = {key: upgraded(facts[key]) for key in keys}
    return {**facts, **contexts, "format": FORMAT}


def upgraded_context(context: Mapping[str, Any]) -> dict[str, Any]:
    """The context from version 5 of `run.json`, or version 6 of a checkpoint."""
    recipe = context.get("recipe")
    upgraded = upgraded_recipe(recipe) if isinstance(recipe, Mapping) else recipe
    return {**context, "recipe": upgraded}


def upgraded_conditions(conditions: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions from version 1 of a run's files, with today's names."""
    upgraded = {**conditions, "engine": "torch", "engine_version": 1}
    upgraded["denormals"] = upgraded.pop("tiny_numbers", None)
    return upgraded
