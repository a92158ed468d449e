"""Continuing a run at the next batch after its newest checkpoint."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tenfold.deployment.bundle import read_bundle
from tenfold.errors import FileRefusedError, NewerFormatError, UsageError
from tenfold.listening import Listener
from tenfold.recipes import Recipe, validate
from tenfold.runs.conditions import changed, changed_conditions
from tenfold.runs.evaluate import reopened_data
from tenfold.runs.facts import PUT_BACK, Conditions, Context, RunFacts
from tenfold.runs.fit import Prepared, prepare
from tenfold.runs.folder import RunFolder, existing_run
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run, open_run, read_recipe, require_own_model
from tenfold.runs.train import Beginning, parse_interval, run_session
from tenfold.storage import checked
from tenfold.training.checkpoint import Checkpoint, read_newest
from tenfold.training.watching import Watcher

ACCEPTABLE = ("recipe", "data", "classes")
"""What a resume may be told to accept although it differs."""

ORDERING = ("recipe.batch_size ", "recipe.seed ", "recipe.shuffle ", "data.")
"""Beginnings of differences after which a half-finished epoch has no next batch."""


class _Began(Context):
    """What a checkpoint says that its run began with."""

    conditions: Conditions


def resume_run(
    path: Path,
    *,
    epochs: int | None = None,
    accept: Collection[str] = (),
    data: object = None,
    resources: Resources = USUAL,
    checkpoint_every: str = "",
    watcher: Watcher | None = None,
) -> Run:
    """Continue a run at the next batch after its newest checkpoint that verifies.

    On the same machine and with the same versions, and if PyTorch takes the steps with as many
    threads, it ends with the same bits as a run that was never stopped.

    Args:
        path: the run's folder.
        epochs: train up to this many instead; the schedule stretches with it.
        accept: what may differ from the checkpoint, of `ACCEPTABLE`.
        data: the data again, if it was handed over in Python or has moved.
        resources: what may be used.
        checkpoint_every: see `train_run`.
        watcher: is told what happens.

    Raises:
        FileRefusedError: no run, no checkpoint that verifies, another process is writing it, or
            recipe, data, classes or architecture have changed.
        TrainingError, InterruptedRunError, StorageError: see `train_run`.
    """
    watcher = watcher or Watcher()
    every = parse_interval(checkpoint_every)
    resources.require_known_engine()
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
            return open_run(path)
        resources = resources.or_those_of(facts, data)
        with resources.repeatable() as device:
            prepared = prepare(
                recipe,
                data if data is not None else _own_data(folder, facts),
                resources,
                device,
                listener=watcher,
            )
            beginning = _restore(folder, prepared, facts, accept, epochs_changed=epochs is not None)
            for note in beginning.notes:
                watcher.note(note)
            facts = facts.updated(data=prepared.data)
            return run_session(folder, prepared, facts, every, watcher, beginning)


def _own_data(folder: RunFolder, facts: RunFacts) -> str:
    again = f"tenfold.resume({str(folder)!r}, data=...)"
    return reopened_data(
        folder,
        facts,
        handed_over=f"resume in Python, and hand it over again: {again}",
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
    """Bring the state to the newest checkpoint that verifies.

    Raises:
        FileRefusedError: nothing verifies, or something has changed that is not accepted.
    """
    now, began = prepared.context, facts.context
    checkpoint = _newest_checkpoint(folder)
    before, conditions = began, facts.conditions
    if checkpoint is not None:
        place = f"{checkpoint.path}: it does not say what run it is of"
        found = checked(_Began, checkpoint.header.context, place)
        before, conditions = found, found.conditions
    # Accepted earlier, but the process died before a checkpoint recorded it.
    is_accepted = facts.replaced is not None and _acceptable(before) == _acceptable(facts.replaced)
    new = _differences(began, now, epochs_changed)
    since = _differences(before, now, epochs_changed or is_accepted)
    differences = list(dict.fromkeys([*since, *new]))
    refused = [each for each in (new if is_accepted else differences) if _part(each) not in accept]
    if refused:
        raise FileRefusedError(
            f"{folder}: this is not the run that was stopped: {'; '.join(refused)}",
            remedy=f"undo that, or accept it: add {_accepting(refused)}",
        )
    notes = [f"accepted: {each}" for each in differences]
    if checkpoint is None:
        notes.append(f"{folder}: the run has no checkpoint yet, it starts at the beginning")
    else:
        notes += _load(folder, facts, prepared, checkpoint)
        if prepared.state.batch and any(each.startswith(ORDERING) for each in differences):
            prepared.state.restart_epoch()
            notes.append(f"epoch {prepared.state.epoch + 1} begins anew, in its changed order")
    other = changed_conditions(conditions, prepared.conditions)
    notes += [f"no longer bit-exact: {each}" for each in other]
    return Beginning(
        exact=not other and not differences,
        changed=checkpoint is not None and (bool(differences) or before.recipe != now.recipe),
        notes=notes,
    )


def _accepting(differences: Sequence[str]) -> str:
    """The options of `tenfold resume` that accept these differences."""
    return " ".join(f"--accept {part}" for part in dict.fromkeys(map(_part, differences)))


def _part(difference: str) -> str:
    """Which of `ACCEPTABLE` a difference is in."""
    return difference.partition(".")[0].split()[0]


def _newest_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """The newest that verifies; None for a run that was stopped before its first one.

    Raises:
        FileRefusedError: none verifies, or all are gone.
    """
    newest = read_newest(folder.checkpoints)
    if newest is None and folder.metrics.exists():
        raise FileRefusedError(
            f"{folder.checkpoints}: the checkpoints of this run are gone",
            remedy="put them back, or start the run anew",
        )
    return newest


def _load(
    folder: RunFolder, facts: RunFacts, prepared: Prepared, checkpoint: Checkpoint
) -> Sequence[str]:
    """Put a checkpoint into the state; what a person should know about it."""
    try:
        prepared.state.restore(checkpoint.header, checkpoint.tensors)
    except FileRefusedError as error:
        raise FileRefusedError(f"{checkpoint.path}: {error}") from error
    notes = [f"passed over a newer checkpoint: {reason}" for _, reason in checkpoint.passed_over]
    notes += [f"it is now called {path}" for path in checkpoint.set_newer_aside()]
    try:
        finished = len(folder.read_history(facts))
    except FileRefusedError as error:
        return [*notes, f"{error.message}; it is written anew from the checkpoint"]
    if finished > prepared.state.epoch:
        notes.append(
            f"{folder}: the run had finished {finished} epochs, but the newest checkpoint that "
            f"is left has {prepared.state.epoch}; the rest is trained again"
        )
    return notes


def _differences(before: Context, now: Context, epochs_changed: bool) -> list[str]:
    """What must not change unless it is accepted, as texts that begin with its part's name."""
    old, new = (_acceptable(each) for each in (before, now))
    differences = changed(old, new)
    if epochs_changed:
        return [each for each in differences if not each.startswith("recipe.epochs ")]
    return differences


def _acceptable(context: Context) -> Mapping[str, Any]:
    return context.model_dump(include=set(ACCEPTABLE))


def _require_same_recipe(
    folder: RunFolder,
    recipe: Recipe,
    facts: RunFacts,
    accept: Collection[str],
    data: object,
    epochs: int | None,
) -> None:
    """Before any data is read: `recipe.toml` must say what `run.json` says.

    Raises:
        FileRefusedError: it says something else, and that is not accepted.
    """
    refused = []
    if data is None and recipe.data != facts.data.source:
        refused = changed({"data": facts.data.source}, {"data": recipe.data}, "recipe.")
    if "recipe" not in accept:
        now = facts.context.model_copy(update={"recipe": recipe.decisive()})
        refused += _differences(facts.context, now, epochs is not None)
    if refused:
        remedy = f"undo that, or accept it: add {_accepting(refused)}"
        if all(each.startswith("recipe.epochs ") for each in refused):
            # A process that died just after `resume --epochs` leaves the same.
            further = folder.command("resume", "--epochs", str(recipe.epochs))
            remedy = f"undo that, or train for that many with: {further}"
        elif any(each.startswith("recipe.data ") for each in refused):
            moved = folder.command("resume", "--data", recipe.data)
            remedy = f"undo that; data that has moved is named with: {moved}"
        raise FileRefusedError(
            f"{folder.recipe}: this is not the recipe of the run: {'; '.join(refused)}",
            remedy=remedy,
        )


def _nothing_to_do(folder: RunFolder, facts: RunFacts, recipe: Recipe, listener: Listener) -> bool:
    """Whether a run has finished; if its model or history is damaged, that is made anew."""
    if not facts.has_ended:
        return False
    try:
        require_own_model(folder, facts, read_bundle(folder.model))
        epochs = len(folder.read_history(facts))
    except NewerFormatError:
        raise
    except FileRefusedError as error:
        listener.note(f"{error.message}; it is made anew from the newest checkpoint")
        return False
    if facts.figures is None or facts.figures.epochs != epochs:
        raise FileRefusedError(
            f"{folder}: run.json and metrics.jsonl disagree on how many epochs are finished",
            remedy=PUT_BACK,
        )
    if facts.status == "stopped early":
        if recipe.patience != facts.context.recipe.get("patience"):
            return False
        further = "a higher patience in its recipe.toml and --accept recipe train it further"
    elif epochs < recipe.epochs:
        return False
    else:
        further = "--epochs trains it further"
    try:
        read_recipe(folder, facts)
    except FileRefusedError as error:  # it means the same, or was accepted
        listener.note(f"{error.message}; what the run ended with is written anew")
        return False
    listener.note(
        f"{folder}: the run has {facts.status} after {epochs} epochs, nothing to do; {further}"
    )
    return True
