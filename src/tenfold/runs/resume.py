"""Continuing a run at the next batch after its newest checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tenfold.data.folders.damage import BadFilesError
from tenfold.deployment.bundle import read_bundle
from tenfold.errors import (
    FileRefusedError,
    FileUnreadableError,
    NewerFormatError,
    UsageError,
    counted,
    listing,
)
from tenfold.listening import Listener
from tenfold.paths import exists
from tenfold.recipes import Recipe, validate
from tenfold.runs.conditions import changed, changed_conditions
from tenfold.runs.evaluate import of_own_images, reopened_data
from tenfold.runs.evidence import AfterRun
from tenfold.runs.facts import PUT_BACK, Conditions, Context, RunFacts
from tenfold.runs.folder import MADE_OF_MODEL, RunFolder, existing_run
from tenfold.runs.older import upgraded
from tenfold.runs.own_network import differences_in_code, require_same_weights, with_own_network
from tenfold.runs.prepared import Prepared
from tenfold.runs.preparing import prepare
from tenfold.runs.reading import Recorded
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run, open_run, read_recipe, require_own_model
from tenfold.runs.session import Beginning, run_session
from tenfold.runs.signals import stop_on_signals
from tenfold.runs.starting import Start, read_start
from tenfold.runs.train import parse_interval
from tenfold.storage import checked
from tenfold.training.checkpoint import Checkpoint, checkpoint_files, read_newest
from tenfold.training.watching import Watcher

ACCEPTABLE = ("recipe", "data", "classes")
"""The parts whose changes a resume can be told to accept."""

_DEFAULTS = Recipe(model="").decisive_fields()
del _DEFAULTS["model"]  # the one key without a default

ORDERING = ("recipe.batch_size ", "recipe.seed ", "recipe.shuffle ", "data.")
"""Prefixes of the differences that change the order of batches, so the epoch must restart."""

FIXED = (
    *("recipe.model ", "recipe.optimizer "),
    *("recipe.start ", "recipe.weights ", "recipe.freeze "),
)
"""Prefixes of the differences that cannot be accepted: the state of a run does not fit them."""


_CHOOSE_IMAGES = ("recipe.limit ", "recipe.val ", "recipe.test ", "recipe.add ")
"""Prefixes of the differences that lead to others in the data."""


class _CheckpointContext(Context):
    """The context and conditions recorded in a checkpoint."""

    conditions: Conditions


def resume_run(
    path: Path,
    *,
    epochs: int | None = None,
    accept: Collection[str] = (),
    data: object = None,
    resources: Resources = USUAL,
    checkpoint_every: str | int = "",
    show_test: bool = False,
    watcher: Watcher | None = None,
    after: AfterRun | None = None,
) -> Run:
    """Continue a run at the next batch after its newest valid checkpoint.

    On the same machine with the same versions (and, if PyTorch trains, as many threads),
    it ends with the same bits as an uninterrupted run.

    Args:
        path: the run's folder.
        epochs: a new total number of epochs; the schedule stretches with it.
        accept: what may differ from the checkpoint, of `ACCEPTABLE`.
        data: the data again, if it was passed in Python or has moved.
        resources: what the run may use.
        checkpoint_every: see `train_run`.
        show_test: see `train_run`; for the epochs that are trained now.
        watcher: called as training proceeds.
        after: called when all files of the run are written, if there was something to do.

    Raises:
        FileRefusedError: there is no run or no valid checkpoint, another process is writing it,
            or recipe, data, classes or architecture have changed.
        TrainingError, InterruptedRunError, StorageError: see `train_run`.
    """
    watcher = watcher or Watcher()
    every = parse_interval(checkpoint_every)
    resources.require_valid()
    unknown = sorted(set(accept) - set(ACCEPTABLE))
    if unknown:
        raise UsageError(f"cannot accept {unknown[0]!r}, wanted one of {', '.join(ACCEPTABLE)}")
    folder = existing_run(path)
    with folder.locked():
        folder.clean()
        facts, recipe = folder.read_facts(), read_recipe(folder)
        if epochs is not None:
            recipe = validate({**recipe.model_dump(), "epochs": epochs}, str(folder))
        _require_same_recipe(folder, recipe, facts, accept, data, epochs)
        if _nothing_to_do(folder, facts, recipe, watcher):
            return replace(open_run(path), code=resources.own)
        resources = resources.with_defaults_from(facts, data)
        resources = with_own_network(folder, facts, resources)
        has_weights = bool(checkpoint_files(folder.checkpoints))
        with resources.repeatable() as device:
            start = _start_again(folder, facts, recipe)
            try:
                prepared = prepare(
                    recipe,
                    data if data is not None else _own_data(folder, facts),
                    resources,
                    device,
                    listener=watcher,
                    start=start,
                    recorded=Recorded.of(facts.data),
                    show_test=show_test,
                )
            except BadFilesError as error:
                raise of_own_images(error) from error
            changes = differences_in_code(folder, facts, prepared)
            if has_weights:
                changes += [f"not bit-exact: {each}" for each in prepared.forgets]
            beginning = _restore(folder, prepared, facts, accept, epochs_changed=epochs is not None)
            if changes:
                notes = [*beginning.notes, *changes]
                beginning = replace(beginning, exact=False, notes=notes)
            for note in beginning.notes:
                watcher.note(note)
            prepared.compute_features(watcher)
            facts = facts.updated(
                data=prepared.data,
                own=prepared.own_facts,
                layers=prepared.own_layers,
                code=prepared.code_path or facts.code,
            )
            previous = facts.digests.get(folder.model.name)
            with stop_on_signals() as stop:
                run = run_session(folder, prepared, facts, every, watcher, beginning, stop, after)
            older = [name for name in MADE_OF_MODEL if exists(folder.path / name)]
            if older and run.facts.digests[folder.model.name] != previous:
                watcher.note(
                    f"{folder}: made before this training, perhaps from earlier weights: "
                    f"{listing(older)}; tenfold export, show and explain make them anew"
                )
            return run


def _start_again(folder: RunFolder, facts: RunFacts, recipe: Recipe) -> Start | None:
    """What the run started from; its weights only if there is no checkpoint that has them.

    Raises:
        FileRefusedError: they are needed, and are gone or have changed.
    """
    if facts.start is None:
        return None
    if checkpoint_files(folder.checkpoints):
        return Start(facts.start, {})
    remedy = f"put it back at {facts.start.place}, or train a new run"
    try:
        start = read_start(recipe)
    except FileRefusedError as error:
        raise FileRefusedError(
            f"{error.message}; the run starts from it, and has no checkpoint yet", remedy=remedy
        ) from error
    if start is None or start.facts.sha256 != facts.start.sha256:
        raise FileRefusedError(
            f"{facts.start.place}: it has changed since the run started from it, and the run has "
            "no checkpoint yet",
            remedy=remedy,
        )
    return start


def _own_data(folder: RunFolder, facts: RunFacts) -> str:
    again = f"tenfold.resume({str(folder)!r}, data=data)"
    return reopened_data(
        folder,
        facts,
        passed_in_python=f"resume in Python, and pass it again: {again}",
        moved=f"say where it is now: {folder.command('resume', '--data', 'PLACE')}",
    )


def _restore(
    folder: RunFolder,
    prepared: Prepared,
    facts: RunFacts,
    accept: Collection[str],
    *,
    epochs_changed: bool,
) -> Beginning:
    """Restore the state from the newest valid checkpoint.

    Raises:
        FileRefusedError: no checkpoint is valid, or a change is not accepted.
    """
    now, began = prepared.context, facts.context
    checkpoint = _newest_checkpoint(folder, facts)
    before, conditions = began, facts.conditions
    if checkpoint is not None:
        found = _context_of(checkpoint)
        before, conditions = found, found.conditions
    # Accepted earlier, but the process died before a checkpoint recorded it.
    is_accepted = _is_own(facts, before)
    new = _differences(began, now, epochs_changed)
    since = _differences(before, now, epochs_changed or is_accepted)
    differences = list(dict.fromkeys([*since, *new]))
    refused = [each for each in (new if is_accepted else differences) if _part(each) not in accept]
    if refused:
        raise FileRefusedError(
            f"{folder}: this is not what the run was trained with: "
            f"{'; '.join(_in_words(each, facts, prepared) for each in refused)}",
            remedy=_remedy_for(refused),
        )
    notes = [f"accepted: {_in_words(each, facts, prepared)}" for each in differences]
    if checkpoint is not None and any(_is_held_out(each) for each in differences):
        notes.append(
            "val and test may now have images that the run was trained on, so their figures may be "
            "too good"
        )
    if checkpoint is None:
        notes.append(f"{folder}: the run has no checkpoint yet; starting from the beginning")
    else:
        notes += _load(folder, facts, prepared, checkpoint)
        _require_epochs_left(folder, prepared)
        if prepared.state.batch and any(each.startswith(ORDERING) for each in differences):
            prepared.state.restart_epoch()
            notes.append(f"epoch {prepared.state.epoch + 1} starts over, because its order changed")
    other = changed_conditions(conditions, prepared.conditions)
    notes += [f"no longer bit-exact: {each}" for each in other]
    return Beginning(
        exact=not other and not differences,
        changed=checkpoint is not None and (bool(differences) or before.recipe != now.recipe),
        replaced=_replaced(facts, before, now),
        notes=notes,
    )


def _replaced(facts: RunFacts, before: Context, now: Context) -> Context | None:
    """What older checkpoints of the run may have instead of today's context."""
    own = Context(**before.model_dump(include=set(Context.model_fields)))
    return own if _differences(own, now, epochs_changed=True) else facts.replaced


def _is_own(facts: RunFacts, context: Context) -> bool:
    """Whether a checkpoint with this context is the run's, whatever its number of epochs."""
    contexts = [each for each in (facts.context, facts.replaced) if each is not None]
    return any(not _differences(context, each, epochs_changed=True) for each in contexts)


def _is_held_out(difference: str) -> bool:
    """Whether it is about the images or labels of a split that is not trained on."""
    return difference.startswith(("data.val", "data.test"))


def _remedy_for(differences: Sequence[str]) -> str:
    """Whether these differences can be accepted, and by which options of `tenfold resume`."""
    if any(each.startswith(FIXED) for each in differences):
        return "undo the change, or train a new run: a run keeps its model, start and optimizer"
    parts = [*map(_part, differences)]
    if any(each.startswith(_CHOOSE_IMAGES) for each in differences):
        parts.append("data")
    options = " ".join(f"--accept {part}" for part in dict.fromkeys(parts))
    return f"undo the change, or accept it: add {options}"


def _part(difference: str) -> str:
    """The part in `ACCEPTABLE` that a difference belongs to."""
    return difference.partition(".")[0].split()[0]


def _in_words(difference: str, facts: RunFacts, prepared: Prepared) -> str:
    """A difference as the user should read it: data by its numbers of images, not digests."""
    part, _, rest = difference.partition(".")
    if part != "data":
        return difference
    split = rest.partition(" ")[0]
    before, after = facts.data.n.get(split, 0), prepared.data.n.get(split, 0)
    numbers = "" if before == after else f" ({before:,} before, {after:,} now)"
    return f"the {split} images or labels have changed{numbers}"


def _require_epochs_left(folder: RunFolder, prepared: Prepared) -> None:
    """Refuse to end a run at an epoch that it is already past.

    Raises:
        UsageError: the recipe has fewer epochs than the run has begun.
    """
    state, epochs = prepared.state, prepared.recipe.epochs
    begun = state.epoch + bool(state.batch)
    if epochs < begun:
        raise UsageError(
            f"{folder}: the run is already in epoch {begun}, so it cannot end after epoch {epochs}",
            remedy=f"choose --epochs {begun} or more",
        )


def _newest_checkpoint(folder: RunFolder, facts: RunFacts) -> Checkpoint | None:
    """The newest valid checkpoint; None for a run that stopped before its first one.

    One of another run counts only if there are no others: then what differs is told, and it may be
    the run's own, from before several accepted changes.

    Raises:
        FileRefusedError: none is valid, or all are gone.
    """

    def is_own(checkpoint: Checkpoint) -> bool:
        return _is_own(facts, _context_of(upgraded(checkpoint)))

    newest = read_newest(folder.checkpoints, is_own)
    if newest is None and exists(folder.metrics):
        raise FileRefusedError(
            f"{folder.checkpoints}: the checkpoints of this run are gone",
            remedy="restore them, or start a new run",
        )
    return None if newest is None else upgraded(newest)


def _context_of(checkpoint: Checkpoint) -> _CheckpointContext:
    """What must be unchanged for a resume from this checkpoint.

    Raises:
        FileRefusedError: it does not say.
    """
    place = f"{checkpoint.path}: it does not say which run it belongs to"
    remedy = "move it elsewhere to continue from an older one"
    return checked(_CheckpointContext, checkpoint.header.context, place, remedy=remedy)


def _load(
    folder: RunFolder, facts: RunFacts, prepared: Prepared, checkpoint: Checkpoint
) -> Sequence[str]:
    """Load a checkpoint into the state; returns notes for the user."""
    require_same_weights(prepared, checkpoint)
    try:
        prepared.state.restore(checkpoint.header, checkpoint.tensors)
    except FileRefusedError as error:
        message, remedy = f"{checkpoint.path}: {error}", ""
        if prepared.own is not None and prepared.own.recorded is None:
            message = (
                f"{checkpoint.path}: the network of {prepared.own.model} does not fit: {error}"
            )
            remedy = "undo the change to the code, or train a new run"
        raise FileRefusedError(message, remedy=remedy) from error
    notes = [f"skipped a newer checkpoint: {each.reason}" for each in checkpoint.skipped]
    notes += [f"renamed it to {path}" for path in checkpoint.set_newer_aside()]
    try:
        finished = len(folder.read_history(facts))
    except FileUnreadableError:
        raise
    except FileRefusedError as error:
        return [*notes, f"{error.message}; rewriting it from the checkpoint"]
    if finished > prepared.state.epoch:
        notes.append(
            f"{folder}: the run had finished {counted(finished, 'epoch')}, but its newest "
            f"checkpoint has {prepared.state.epoch}; training the rest again"
        )
    return notes


def _differences(before: Context, now: Context, epochs_changed: bool) -> list[str]:
    """Changes that need acceptance, as texts that begin with the name of their part."""
    old, new = (_acceptable(each) for each in (before, now))
    differences = changed(old, new)
    if epochs_changed:
        return [each for each in differences if not each.startswith("recipe.epochs ")]
    return differences


def _acceptable(context: Context) -> Mapping[str, Any]:
    """What can be accepted; keys that older recipes did not have get their defaults."""
    found = context.model_dump(include=set(ACCEPTABLE))
    return found | {"recipe": _DEFAULTS | found["recipe"]}


def _require_same_recipe(
    folder: RunFolder,
    recipe: Recipe,
    facts: RunFacts,
    accept: Collection[str],
    data: object,
    epochs: int | None,
) -> None:
    """Check, before any data is read, that `recipe.toml` agrees with `run.json`.

    Raises:
        FileRefusedError: it does not, and the change is not accepted.
    """
    refused = []
    if data is None and recipe.data != facts.data.source:
        refused = changed({"data": facts.data.source}, {"data": recipe.data}, "recipe.")
    now = facts.context.model_copy(update={"recipe": recipe.decisive_fields()})
    refused += [
        each
        for each in _differences(facts.context, now, epochs is not None)
        if "recipe" not in accept or each.startswith(FIXED)
    ]
    if refused:
        remedy = _remedy_for(refused)
        if all(each.startswith("recipe.epochs ") for each in refused):
            # A process that died just after `resume --epochs` leaves the same.
            further = folder.command("resume", "--epochs", str(recipe.epochs))
            remedy = f"undo the change, or train for that many epochs with: {further}"
        elif any(each.startswith("recipe.data ") for each in refused):
            moved = folder.command("resume", "--data", recipe.data)
            remedy = f"undo the change; if the data has moved, name it with: {moved}"
        raise FileRefusedError(
            f"{folder.recipe}: this is not the recipe of the run: {'; '.join(refused)}",
            remedy=remedy,
        )


def _nothing_to_do(folder: RunFolder, facts: RunFacts, recipe: Recipe, listener: Listener) -> bool:
    """Whether a run has finished and its files are intact; damaged ones are written again."""
    if not facts.has_ended:
        return False
    try:
        folder.require_own_results(facts)
        require_own_model(folder, facts, read_bundle(folder.model))
        epochs = len(folder.read_history(facts))
    except (NewerFormatError, FileUnreadableError):
        raise
    except FileRefusedError as error:
        listener.note(f"{error.message}; rewriting it from the newest checkpoint")
        return False
    if facts.figures is None or facts.figures.epochs != epochs:
        raise FileRefusedError(
            f"{folder}: run.json and metrics.jsonl disagree on the number of finished epochs",
            remedy=PUT_BACK,
        )
    if facts.status == "stopped early":
        if recipe.patience != facts.context.recipe.get("patience"):
            return False
        further = "to train further, raise patience in its recipe.toml and add --accept recipe"
    elif epochs < recipe.epochs:
        return False
    else:
        further = f"to train further, add --epochs with more than {epochs}"
    try:
        read_recipe(folder, facts)
    except FileRefusedError as error:  # it means the same, or was accepted
        listener.note(f"{error.message}; rewriting the run's results")
        return False
    listener.note(
        f"{folder}: the run {facts.status} after {counted(epochs, 'epoch')}, nothing to do; "
        f"{further}"
    )
    return True
