"""Reading the data of a run. Importing this does not import PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Thread
from typing import TypeVar

from tenfold._lazy import imported
from tenfold.data.corrections import NO_CORRECTIONS, Corrections, read_corrections
from tenfold.data.dataset import ImageDataset, Splits
from tenfold.data.folders.options import FolderOptions
from tenfold.data.load import USUAL_TEST_FRACTION, LoadedData, load_splits, note_absent_classes
from tenfold.data.splitting import limited, with_validation
from tenfold.errors import UsageError, counted
from tenfold.listening import Listener, Recorder
from tenfold.recipes import Recipe
from tenfold.recipes.choosing import LEAST_TO_HOLD_OUT, share_held_out
from tenfold.runs.adding import read_added, with_added
from tenfold.runs.facts import AddedFacts, DataFacts
from tenfold.runs.resources import Resources, choose_device
from tenfold.storage import absolute, expanded

AnyData = TypeVar("AnyData", "RunData", "WholeData")


@dataclass(frozen=True)
class Recorded:
    """What a run changed about its data when it began, to be done again.

    Attributes:
        left_out: why images were left out because they cannot be read, by name.
        corrections: see `Corrections.new_labels`.
        added: what was added to the training images; None for nothing.
    """

    left_out: Mapping[str, str] = field(default_factory=dict)
    corrections: Mapping[str, str] = field(default_factory=dict)
    added: AddedFacts | None = None

    @classmethod
    def of(cls, facts: DataFacts) -> Recorded:
        """What a run has recorded."""
        return cls(facts.skipped, facts.corrections, facts.added)

    def corrections_from(self, place: str) -> Corrections:
        """The corrections, of which messages say where they come from."""
        return Corrections(place, self.corrections, is_recorded=True)


@dataclass(frozen=True)
class RunData:
    """The data of a run, as read.

    Attributes:
        splits: with the validation images that the recipe wants, and those that are added.
        fingerprint: of the splits without those that are added.
        source: see `LoadedData`.
        can_be_reopened: whether the source is a name or path.
        root: see `LoadedData`.
        notes: what the user has been told about the data.
        depth: see `LoadedData`.
        skipped: why images were left out because they cannot be read, by name.
        corrections: what was changed; see `Corrections.new_labels`.
        val: the share of training images that is held out for validation.
        added: what is there to add to the training images; None for nothing.
        n_left_out: how many of these images are held out, and so not added.
    """

    splits: Splits
    fingerprint: str
    source: str
    can_be_reopened: bool
    root: Path | None
    notes: tuple[str, ...]
    depth: int | None = None
    skipped: Mapping[str, str] = field(default_factory=dict)
    corrections: Mapping[str, str] = field(default_factory=dict)
    val: float = 0.0
    added: ImageDataset | None = None
    n_left_out: int = 0


@dataclass(frozen=True)
class WholeData:
    """The data of a run, or of several, as read: no images are held out for validation yet.

    Attributes:
        loaded: what was read.
        can_be_reopened: see `RunData`.
        notes: see `RunData`.
        skipped: see `RunData`.
        corrections: see `RunData`.
        added: see `RunData`.
    """

    loaded: LoadedData
    can_be_reopened: bool
    notes: tuple[str, ...]
    skipped: Mapping[str, str]
    corrections: Mapping[str, str]
    added: ImageDataset | None

    def held_out(self, recipe: Recipe, listener: Listener) -> RunData:
        """The data of one run, with the validation images that the recipe wants.

        Args:
            recipe: of the run.
            listener: gets notes on the split.
        """
        recorder = Recorder(listener)
        before = limited_splits(self.loaded.splits, recipe, recorder)
        val = share_held_out(recipe, len(before.train))
        splits = with_validation(
            before, val, seed=recipe.seed, duplicates_together=recipe.duplicates_together
        )
        if splits.val is not None and splits.val is not before.val:
            note_absent_classes(splits.train, splits.val, recorder)
        if splits.val is None and val:
            recorder.note("there are too few training images to hold out any for validation")
        elif splits.val is None and "val" in recipe.left_to_data:
            listener.note(  # on what was chosen, and not on the data
                f"none of the {counted(len(splits.train), 'training image')} are held out for "
                f"validation, because there are fewer than {LEAST_TO_HOLD_OUT:,}; so the last "
                "epoch's weights are kept, and probabilities are not fitted (--set val=0.1 holds "
                "out a tenth)"
            )
        whole = with_added(splits, self.added, recorder)
        n_added = len(whole.train) - len(splits.train)
        return replace(
            self.divided(splits, val, recorder.notes),
            splits=whole,
            n_left_out=0 if self.added is None else len(self.added) - n_added,
        )

    def divided(self, splits: Splits, val: float, notes: Sequence[str] = ()) -> RunData:
        """The data of one run, divided in this way.

        Args:
            splits: of the data.
            val: see `RunData`.
            notes: on how it is divided.
        """
        return RunData(
            splits=splits,
            fingerprint=splits.fingerprint,
            source=self.loaded.source,
            can_be_reopened=self.can_be_reopened,
            root=self.loaded.root,
            notes=(*self.notes, *notes),
            depth=self.loaded.depth,
            skipped=self.skipped,
            corrections=self.corrections,
            val=val,
            added=self.added,
        )


def read_for(
    recipe: Recipe,
    data: object,
    resources: Resources,
    *,
    listener: Listener,
    recorded: Recorded | None = None,
    holding_out: bool = True,
) -> RunData:
    """Read the data of a run.

    Args:
        recipe: what it is for.
        data: see `load_splits`; None for the recipe's own.
        resources: what may be used.
        listener: gets notes on the data, and the progress of long reads.
        recorded: what the run changed about its data when it began; None for a new run.
        holding_out: whether images are held out for testing and validation as the recipe says.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: there is no such data.
    """
    whole = read_whole(
        recipe, data, resources, listener=listener, recorded=recorded, holding_out=holding_out
    )
    if holding_out:
        return whole.held_out(recipe, listener)
    recorder = Recorder(listener)
    splits = limited_splits(whole.loaded.splits, recipe, recorder)
    return whole.divided(splits, share_held_out(recipe, len(splits.train)), recorder.notes)


def read_whole(
    recipe: Recipe,
    data: object,
    resources: Resources,
    *,
    listener: Listener,
    recorded: Recorded | None = None,
    holding_out: bool = True,
) -> WholeData:
    """Read the data of a run, or of several that differ in their seeds.

    Args:
        recipe: see `read_for`.
        data: see `read_for`.
        resources: see `read_for`.
        listener: see `read_for`.
        recorded: see `read_for`.
        holding_out: whether images are held out for testing as the recipe says.

    Raises:
        DataError, UsageError: see `read_for`.
    """
    data = data if data is not None else recipe.data
    if isinstance(data, str) and not data:
        raise UsageError("no data set given", remedy="name one, such as digits or a folder")
    recorder = Recorder(listener)
    if recorded is None:
        corrections = corrections_for(recipe)
        left_out: Mapping[str, str] = {}
    else:
        corrections = recorded.corrections_from("the corrections that the run began with")
        left_out = recorded.left_out
    loaded = load_splits(
        data,
        data_root=resources.data_root,
        image_size=recipe.image_size,
        channels=recipe.channels,
        resize=recipe.resize,
        depth=recipe.depth,
        options=folder_options(recipe, left_out),
        corrections=corrections,
        test_fraction=recipe.test if holding_out else 0.0,
        duplicates_together=recipe.duplicates_together,
        download=resources.download,
        listener=recorder,
    )
    if loaded.splits.test is None and not recipe.test and holding_out:
        recorder.note("there are no test images")
    if loaded.has_own_test and recipe.test != USUAL_TEST_FRACTION and holding_out:
        recorder.note(
            f"test is {recipe.test:g}, but the data has test images of its own, which are used"
        )
    added = read_added(
        recipe,
        loaded.splits,
        loaded.depth,
        recorder,
        None if recorded is None else recorded.added,
    )
    return WholeData(
        loaded,
        can_be_reopened=isinstance(data, str | Path),
        notes=tuple(recorder.notes),
        skipped={**left_out, **loaded.skipped},
        corrections=corrections.new_labels,
        added=added,
    )


def limited_splits(splits: Splits, recipe: Recipe, listener: Listener) -> Splits:
    """The splits, with as many training images as the recipe allows.

    Args:
        splits: of the data.
        recipe: its `limit` says how many; its seed chooses them.
        listener: gets a note, if there is a limit.

    Raises:
        UsageError: there are more classes than that.
    """
    limit, n = recipe.limit, len(splits.train)
    if not limit:
        return splits
    if limit >= n:
        images = counted(n, "training image")
        listener.note(f"limit is {limit:,}, and there are only {images}, so it changes nothing")
        return splits
    train = limited(splits.train, limit, seed=recipe.seed)
    listener.note(
        f"training on {limit:,} of the {n:,} training images, as many of each class as their share "
        "(limit)"
    )
    return replace(splits, train=train)


def corrections_for(recipe: Recipe) -> Corrections:
    """The corrections that a recipe names.

    Raises:
        DataError: they cannot be read.
    """
    return read_corrections(expanded(recipe.corrections)) if recipe.corrections else NO_CORRECTIONS


def paths_for_good(recipe: Recipe) -> dict[str, str]:
    """The absolute paths of the files that a recipe names, by its keys; empty for no file."""
    given = {key: getattr(recipe, key) for key in ("add", "corrections", "start", "weights")}
    return {key: str(absolute(expanded(path))) if path else "" for key, path in given.items()}


def folder_options(recipe: Recipe, left_out: Collection[str] = ()) -> FolderOptions:
    """How a recipe says that a folder of images is read.

    Args:
        recipe: the recipe.
        left_out: names of images that the run left out when it began.
    """
    return FolderOptions(
        labels=recipe.labels,
        label_from=recipe.label_from,
        group_by=recipe.group_by,
        skip_bad=recipe.skip_bad,
        leave_out=frozenset(left_out),
    )


def read_while_importing(
    recipe: Recipe,
    data: object,
    resources: Resources,
    *,
    listener: Listener,
    read: Callable[..., AnyData],
) -> AnyData:
    """Read the data of a run while another thread imports PyTorch.

    That thread then checks what does not depend on the data. Its error comes before any of the
    data's, and ends a read that reports progress.

    Args:
        recipe: see `read_for`.
        data: see `read_for`.
        resources: see `read_for`.
        listener: see `read_for`.
        read: `read_for` or `read_whole`.

    Raises:
        DataError: see `read_for`.
        UsageError: see `read_for`; or the device is not available, or the model's arguments are
            wrong.
    """
    checked: Future[None] = Future()
    # Not a `ThreadPoolExecutor`, which refuses work as soon as the main thread has ended.
    Thread(
        target=_import_and_check, args=(recipe, resources, checked), name="tenfold-importing"
    ).start()
    forwarding = _Forwarding(checked, listener)
    try:
        found = read(recipe, data, resources, listener=forwarding)
    except Exception:
        checked.result()
        forwarding.tell()
        raise
    checked.result()
    forwarding.tell()
    return found


def _import_and_check(recipe: Recipe, resources: Resources, checked: Future[None]) -> None:
    """Import what trains a run; then check the device and the model's arguments."""
    try:
        imported("tenfold.runs.session")
        from tenfold.models import model_arguments

        choose_device(resources.device or "auto")
        model_arguments(recipe.model, recipe.model_args)
    except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for it
        checked.set_exception(error)
    else:
        checked.set_result(None)


class _Forwarding(Listener):
    """Forwards progress until the checks fail, and keeps the notes until they have passed."""

    def __init__(self, checked: Future[None], listener: Listener) -> None:
        self._checked, self._listener = checked, listener
        self._notes: list[str] = []

    def note(self, text: str) -> None:
        self._notes.append(text)
        self._look()

    def reading(self, what: str, done: int, total: int | None) -> None:
        self._look()
        self._listener.reading(what, done, total)

    def tell(self) -> None:
        """Forward the notes that have been kept."""
        notes, self._notes = self._notes, []
        for text in notes:
            self._listener.note(text)

    def _look(self) -> None:
        if self._checked.done():
            self._checked.result()
            self.tell()
