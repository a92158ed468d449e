"""A whole run: prepare, train, keep the best weights as a bundle, evaluate; or go on with one."""

from __future__ import annotations

import contextlib
import math
import platform
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from tenfold.deployment.bundle import Bundle, read_bundle, write_bundle
from tenfold.errors import (
    FileRefusedError,
    InterruptedRunError,
    NewerFormatError,
    StorageError,
    TenfoldError,
    UsageError,
    printable,
)
from tenfold.evaluation.evaluate import evaluate
from tenfold.recipes import Recipe, validate
from tenfold.runs.folder import FACTS_FORMAT, RunFolder, existing_run, new_run, require_new
from tenfold.runs.prepare import (
    Prepared,
    Progress,
    changed,
    choose_device,
    prepare,
    repeatable,
)
from tenfold.runs.run import Run, open_run, read_recipe, recorded_data_root, reopened_data
from tenfold.runs.signals import stop_on_signals
from tenfold.storage import write_text
from tenfold.training.checkpoint import (
    Checkpoint,
    Checkpointer,
    checkpoint_files,
    read_newest,
)
from tenfold.training.loop import Outcome
from tenfold.training.loop import train as train_loop
from tenfold.training.memory import out_of_memory_explained
from tenfold.training.state import TrainingState
from tenfold.training.watching import Watcher

ACCEPTABLE = ("recipe", "data", "classes")
"""What a resume may be told to accept although it differs."""

ORDERING = ("recipe.batch_size ", "recipe.seed ", "recipe.shuffle ", "data.")
"""Beginnings of differences after which a half-finished epoch has no next batch."""


def train_run(
    recipe: Recipe,
    data: object = None,
    *,
    out: Path | None = None,
    data_root: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    checkpoint_every: str = "",
    download: bool = True,
    watcher: Watcher | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train a new run in a new folder; the run, finished and evaluated.

    Nothing is written before data, recipe and model have been found to fit.

    Args:
        recipe: what to do.
        data: see `load_splits`; None for the recipe's own.
        out: the run's folder; None for the next `runs/<data>-<model>-NNN`.
        data_root: a folder of known data sets.
        device: `auto`, `cpu`, `cuda` or `mps`.
        threads: of a CPU; None for half of the cores, but two where there are two.
        checkpoint_every: `"30s"` for seconds, `"500"` for batches; empty for the ends of epochs.
        download: whether what is missing may be fetched.
        watcher: is told what happens.
        progress: told about long reading.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: the recipe does not fit the data.
        TrainingError: the loss became infinite or undefined; the last checkpoint stays.
        InterruptedRunError: a signal stopped the run; it can be resumed.
        StorageError: the folder cannot be written.
    """
    watcher = watcher or Watcher()
    every = parse_interval(checkpoint_every)
    torch_device = choose_device(device)
    data = data if data is not None else recipe.data
    if isinstance(data, str) and not data:
        raise UsageError("there is no data set", remedy="name one, such as digits or a folder")
    with repeatable(torch_device, threads):
        prepared = prepare(
            recipe,
            data,
            device=torch_device,
            data_root=data_root,
            download=download,
            progress=progress,
        )
        folder = new_run(out, prepared.recipe.data, recipe.model)
        with folder.locked():
            require_new(folder)
            folder.clean()
            facts = _facts(prepared, data, data_root)
            return _go_on(folder, prepared, facts, every, watcher, _Restored())


def resume_run(
    path: Path,
    *,
    epochs: int | None = None,
    accept: Collection[str] = (),
    data: object = None,
    data_root: Path | None = None,
    device: str = "",
    threads: int | None = None,
    checkpoint_every: str = "",
    download: bool = True,
    watcher: Watcher | None = None,
    progress: Progress | None = None,
) -> Run:
    """Go on with a run at the next batch after its newest checkpoint that verifies.

    On the same machine, with as many threads and the same versions, it ends with the same bits
    as a run that was never stopped.

    Args:
        path: the run's folder.
        epochs: train up to this many instead; the schedule stretches with it.
        accept: what may differ from the checkpoint, of `ACCEPTABLE`.
        data: the data again, if it was handed over in Python or has moved.
        data_root: a folder of known data sets.
        device: empty for the run's own kind of device.
        threads: None for as many as the run had.
        checkpoint_every: see `train_run`.
        download: whether what is missing may be fetched.
        watcher: is told what happens.
        progress: told about long reading.

    Raises:
        FileRefusedError: no run, no checkpoint that verifies, another process is writing it, or
            recipe, data, classes or architecture have changed.
        TrainingError, InterruptedRunError, StorageError: see `train_run`.
    """
    watcher = watcher or Watcher()
    every = parse_interval(checkpoint_every)
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
        was = facts["conditions"]
        torch_device = choose_device(device or was["device"].split()[0])
        with repeatable(torch_device, threads or was["threads"]):
            prepared = prepare(
                recipe,
                data if data is not None else reopened_data(folder),
                device=torch_device,
                data_root=data_root or recorded_data_root(folder),
                download=download,
                progress=progress,
            )
            restored = _restore(folder, prepared, facts, accept, epochs_changed=epochs is not None)
            facts["data"] |= _facts_of_data(prepared)
            if data is not None:
                facts["data"] |= _whereabouts(prepared, data, data_root)
            for note in restored.notes:
                watcher.note(note)
            return _go_on(folder, prepared, facts, every, watcher, restored)


def parse_interval(text: str) -> tuple[float, int]:
    """An interval between checkpoints as (seconds, batches), of which at most one is not 0.

    Raises:
        UsageError: it is not a number of batches, nor a number of seconds with an `s` behind.
    """
    seconds, batches = (text[:-1], "0") if text.endswith("s") else ("0", text or "0")
    try:
        interval = float(seconds), int(batches)
    except ValueError:
        interval = math.nan, -1
    if text and not (0 < interval[0] < math.inf or interval[1] > 0):
        raise UsageError(
            f"checkpoint-every is {printable(text)!r}, "
            "wanted seconds as in 30s or batches as in 500"
        )
    return interval


def _go_on(
    folder: RunFolder,
    prepared: Prepared,
    facts: dict[str, Any],
    every: tuple[float, int],
    watcher: Watcher,
    restored: _Restored,
) -> Run:
    """Train from wherever the state stands to the end, then make the bundle and the figures."""
    recipe, state = prepared.recipe, prepared.state
    for note in prepared.notes:
        watcher.note(note)
    context = prepared.context()
    facts |= {"conditions": context.pop("conditions"), "context": context, "figures": None}
    facts.pop("failure", None)
    facts["sessions"].append(
        {
            **facts["conditions"],
            "started": _now(),
            "from_step": state.step,
            "bit_exact": restored.exact,
            "notes": list(restored.notes),
        }
    )
    write_text(folder.recipe, recipe.to_toml())
    folder.write_facts({**facts, "status": "running"})
    saver = _Saver(folder, prepared)
    checkpointer = Checkpointer(
        folder.checkpoints,
        prepared.context(),
        every_seconds=every[0],
        every_batches=every[1],
        after_save=saver.after_save,
    )
    if restored.changed:  # what was accepted once must not be asked for again
        checkpointer.save(state)
    elif state.step:  # these may be older than the checkpoint, or newer
        saver.after_save(state)
    watcher.started(folder.path, state.history)
    try:
        with stop_on_signals() as stop, _memory_explained(prepared):
            outcome = train_loop(
                state,
                prepared.splits.train,
                prepared.splits.val,
                epochs=recipe.epochs,
                batch_size=recipe.batch_size,
                schedule=prepared.schedule,
                seed=recipe.seed,
                shuffle=recipe.shuffle,
                eval_batch_size=recipe.eval_batch_size,
                label_smoothing=recipe.label_smoothing,
                clip_norm=recipe.clip_norm,
                augment=prepared.augmentation,
                choose_by=recipe.choose_by,
                patience=recipe.patience,
                checkpointer=checkpointer,
                watcher=watcher,
                should_stop=stop,
            )
    except TenfoldError as error:
        with contextlib.suppress(StorageError):  # the first error is the one to tell
            folder.write_facts({**facts, "status": "failed", "failure": str(error)})
        raise
    finally:
        watcher.ended()
    if outcome == "interrupted":
        folder.write_facts({**facts, "status": "interrupted"})
        where = f"after epoch {state.epoch}"
        if state.batch:
            where = f"in epoch {state.epoch + 1} after batch {state.batch}"
        raise InterruptedRunError(
            f"{folder}: stopped {where}, and saved",
            remedy=f"continue with: tenfold resume {folder}",
            signal_number=stop.signal_number,
        )
    return _finish(folder, prepared, facts, outcome)


@dataclass(frozen=True)
class _Restored:
    """What a session begins with.

    Attributes:
        exact: whether it ends with the bits of a run that was never stopped.
        changed: whether something differs from the checkpoint and was accepted.
        notes: what a person should know.
    """

    exact: bool = True
    changed: bool = False
    notes: tuple[str, ...] = ()


class _Saver:
    """Keeps the files beside the checkpoints in step with them."""

    def __init__(self, folder: RunFolder, prepared: Prepared) -> None:
        self.folder, self.prepared, self.best_epoch = folder, prepared, 0

    def after_save(self, state: TrainingState) -> None:
        """Write the history, and the best weights where they are others than last time."""
        if state.history:
            self.folder.write_metrics(state.history)
        if state.best is not None and state.best.epoch != self.best_epoch:
            figures = {**_figures(self.prepared, state.best.epoch), "epochs": state.best.epoch}
            write_bundle(self.folder.best, _bundle(self.prepared, state.best.weights, figures))
            self.best_epoch = state.best.epoch


def _memory_explained(prepared: Prepared) -> contextlib.AbstractContextManager[None]:
    recipe = prepared.recipe
    return out_of_memory_explained(
        prepared.state, batch_size=recipe.batch_size, eval_batch_size=recipe.eval_batch_size
    )


def _finish(folder: RunFolder, prepared: Prepared, facts: dict[str, Any], outcome: Outcome) -> Run:
    """Evaluate the best weights on the test split, once, and write the bundle."""
    state, splits = prepared.state, prepared.splits
    epoch, weights = state.final_weights()
    figures = _figures(prepared, epoch)
    report = None
    if splits.test is not None:
        state.model.load_state_dict(weights)
        with _memory_explained(prepared):
            report = evaluate(state.model, splits.test, batch_size=prepared.recipe.eval_batch_size)
        figures |= report.figures()
    figures["seconds"] = sum(metrics.seconds for metrics in state.history)
    write_bundle(folder.model, _bundle(prepared, weights, figures))
    folder.write_facts(
        {
            **facts,
            "status": outcome,
            "figures": figures,
            "test": None if report is None else report.to_dict(),
        }
    )
    return Run(folder.path, tuple(state.history), folder.read_facts())


def _figures(prepared: Prepared, epoch: int) -> dict[str, Any]:
    """The figures of one epoch of the history, and the sizes of the splits."""
    splits, history = prepared.splits, prepared.state.history
    chosen = asdict(history[epoch - 1])
    return {
        "epochs": len(history),
        "best_epoch": epoch if splits.val is not None else None,
        "n_train": len(splits.train),
        "n_val": len(splits.val) if splits.val is not None else 0,
        "n_test": len(splits.test) if splits.test is not None else 0,
        **{key: chosen[key] for key in ("train_loss", "train_acc", "val_loss", "val_acc")},
    }


def _bundle(prepared: Prepared, weights: dict[str, Tensor], figures: dict[str, Any]) -> Bundle:
    """The bundle of these weights."""
    recipe, splits = prepared.recipe, prepared.splits
    prefix = "1."  # the network stands behind the preprocessing, which has no weights
    return Bundle(
        model=recipe.model,
        arguments=recipe.model_args,
        input_shape=splits.train.image_shape,
        classes=splits.train.classes,
        preprocessing=prepared.preprocessing,
        weights={name.removeprefix(prefix): tensor for name, tensor in weights.items()},
        data={"source": recipe.data, "fingerprint": splits.fingerprint},
        figures=figures,
    )


def _restore(
    folder: RunFolder,
    prepared: Prepared,
    facts: Mapping[str, Any],
    accept: Collection[str],
    *,
    epochs_changed: bool,
) -> _Restored:
    """Bring the state to the newest checkpoint that verifies.

    Raises:
        FileRefusedError: nothing verifies, or something has changed that is not accepted.
    """
    now = prepared.context()
    checkpoint = _newest_checkpoint(folder)
    began = {**facts["context"], "conditions": facts["conditions"]}
    before = began if checkpoint is None else checkpoint.header.get("context")
    if not isinstance(before, dict):
        raise FileRefusedError(f"{folder}: a checkpoint does not say what run it is of")
    differences = list(
        dict.fromkeys(_differences(before, now, epochs_changed))
        | dict.fromkeys(_differences(began, now, epochs_changed))
    )
    refused = [each for each in differences if each.partition(".")[0].split()[0] not in accept]
    if refused:
        raise FileRefusedError(
            f"{folder}: this is not the run that was stopped: {'; '.join(refused)}",
            remedy=f"undo that, or accept it with --accept {'|'.join(ACCEPTABLE)}",
        )
    notes = [f"accepted: {each}" for each in differences]
    if checkpoint is None:
        notes.append(f"{folder}: the run has no checkpoint yet, it starts at the beginning")
    else:
        notes += _load(folder, prepared, checkpoint)
        if prepared.state.batch and any(each.startswith(ORDERING) for each in differences):
            prepared.state.begin_epoch_anew()
            notes.append(f"epoch {prepared.state.epoch + 1} begins anew, in its changed order")
    conditions = changed(before.get("conditions") or {}, now["conditions"])
    notes += [f"no longer bit-exact: {each}" for each in conditions]
    recipes = [each.get("recipe") for each in (before, now)]
    return _Restored(
        exact=not conditions and not differences,
        changed=checkpoint is not None and (bool(differences) or recipes[0] != recipes[1]),
        notes=tuple(notes),
    )


def _newest_checkpoint(folder: RunFolder) -> Checkpoint | None:
    """The newest that verifies; None for a run that was stopped before its first one.

    Raises:
        FileRefusedError: none verifies, or all are gone.
    """
    if checkpoint_files(folder.checkpoints):
        return read_newest(folder.checkpoints)
    if folder.metrics.exists():
        raise FileRefusedError(
            f"{printable(folder.checkpoints)}: the checkpoints of this run are gone",
            remedy="put them back, or start the run anew",
        )
    return None


def _load(folder: RunFolder, prepared: Prepared, checkpoint: Checkpoint) -> list[str]:
    """Put a checkpoint into the state; what a person should know about it."""
    try:
        prepared.state.restore(checkpoint.header, checkpoint.tensors)
    except FileRefusedError as error:
        raise FileRefusedError(f"{printable(checkpoint.path)}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise FileRefusedError(
            f"{printable(checkpoint.path)}: it does not hold the state of a run: "
            f"{printable(repr(error))}"
        ) from error
    notes = [f"passed over a newer checkpoint: {reason}" for _, reason in checkpoint.passed_over]
    notes += [f"it is now called {printable(path)}" for path in checkpoint.set_newer_aside()]
    try:
        finished = len(folder.read_metrics()) if folder.metrics.exists() else 0
    except FileRefusedError as error:
        return [*notes, f"{error}; it is written anew from the checkpoint"]
    if finished > prepared.state.epoch:
        notes.append(
            f"{folder}: the run had finished {finished} epochs, but the newest checkpoint that "
            f"is left has {prepared.state.epoch}; the rest is trained again"
        )
    return notes


def _differences(
    before: Mapping[str, Any], now: Mapping[str, Any], epochs_changed: bool
) -> list[str]:
    """What must not change unless it is accepted, as texts that begin with its part's name."""
    old, new = ({part: each.get(part) for part in ACCEPTABLE} for each in (before, now))
    differences = changed(old, new)
    if epochs_changed:
        return [each for each in differences if not each.startswith("recipe.epochs ")]
    return differences


def _require_same_recipe(
    folder: RunFolder,
    recipe: Recipe,
    facts: Mapping[str, Any],
    accept: Collection[str],
    data: object,
    epochs: int | None,
) -> None:
    """Before any data is read: `recipe.toml` must say what `run.json` says.

    Raises:
        FileRefusedError: it says something else, and that is not accepted.
    """
    source = facts["data"].get("source")
    refused = []
    if data is None and recipe.data != source:
        refused = changed({"data": source}, {"data": recipe.data}, "recipe.")
    if "recipe" not in accept:
        now = {**facts["context"], "recipe": recipe.decisive()}
        refused += _differences(facts["context"], now, epochs is not None)
    if refused:
        raise FileRefusedError(
            f"{printable(folder.recipe)}: this is not the recipe of the run: {'; '.join(refused)}",
            remedy="undo that, or accept it with --accept recipe; --data names data that has moved",
        )


def _nothing_to_do(
    folder: RunFolder, facts: Mapping[str, Any], recipe: Recipe, watcher: Watcher
) -> bool:
    """Whether a run has finished; if its model or history is damaged, that is made anew."""
    if facts["status"] not in ("finished", "stopped early"):
        return False
    try:
        read_bundle(folder.model)
        epochs = len(folder.read_metrics())
    except NewerFormatError:
        raise
    except FileRefusedError as error:
        watcher.note(f"{error}; it is made anew from the newest checkpoint")
        return False
    if (facts.get("figures") or {}).get("epochs") != epochs:
        raise FileRefusedError(
            f"{folder}: run.json and metrics.jsonl disagree on how many epochs are finished",
            remedy="put back the files as tenfold wrote them",
        )
    if facts["status"] == "stopped early":
        if recipe.patience != facts["context"]["recipe"].get("patience"):
            return False
        further = "a higher patience in its recipe.toml and --accept recipe train it further"
    elif epochs < recipe.epochs:
        return False
    else:
        further = "--epochs trains it further"
    watcher.note(
        f"{folder}: the run has {facts['status']} after {epochs} epochs, nothing to do; {further}"
    )
    return True


def _facts(prepared: Prepared, data: object, data_root: Path | None) -> dict[str, Any]:
    """What `run.json` says from the beginning."""
    return {
        "format": FACTS_FORMAT,
        "status": "running",
        "created": _now(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_revision": _git_revision(),
        "data": {
            **_whereabouts(prepared, data, data_root),
            **_facts_of_data(prepared),
        },
        "parameters": sum(p.numel() for p in prepared.network.parameters()),
        "sessions": [],
        "figures": None,
    }


def _facts_of_data(prepared: Prepared) -> dict[str, Any]:
    splits = prepared.splits
    return {
        "fingerprint": splits.fingerprint,
        "classes": list(splits.train.classes),
        "image_shape": list(splits.train.image_shape),
        "n": {part.split: len(part) for part in splits},
        "notes": list(prepared.notes),
    }


def _whereabouts(prepared: Prepared, data: object, data_root: Path | None) -> dict[str, Any]:
    """Where the data can be found again."""
    return {
        "source": prepared.recipe.data,
        "can_be_reopened": isinstance(data, str | Path),
        "root": None if data_root is None else str(data_root.resolve()),
    }


def _git_revision() -> str | None:
    """The commit that the working folder is at, if it lies in a git repository."""
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
