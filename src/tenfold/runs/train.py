"""A whole run: prepare, train, keep the best weights as a bundle, evaluate."""

from __future__ import annotations

import contextlib
import math
import platform
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from tenfold.deployment.bundle import Bundle, write_bundle
from tenfold.errors import InterruptedRunError, StorageError, TenfoldError, UsageError
from tenfold.evaluation.evaluate import evaluate
from tenfold.models import ImageModel
from tenfold.recipes import Recipe
from tenfold.runs.conditions import choose_device, repeatable
from tenfold.runs.folder import FACTS_FORMAT, RunFolder, new_run, require_new
from tenfold.runs.prepare import Prepared, Progress, prepare
from tenfold.runs.run import Run
from tenfold.runs.signals import stop_on_signals
from tenfold.storage import write_text
from tenfold.training.checkpoint import Checkpointer
from tenfold.training.loop import Outcome
from tenfold.training.loop import train as train_loop
from tenfold.training.memory import out_of_memory_explained
from tenfold.training.state import TrainingState
from tenfold.training.watching import Watcher


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
            return go_on(folder, prepared, facts, every, watcher, Restored())


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
            f"checkpoint-every is {text!r}, wanted seconds as in 30s or batches as in 500"
        )
    return interval


def go_on(
    folder: RunFolder,
    prepared: Prepared,
    facts: dict[str, Any],
    every: tuple[float, int],
    watcher: Watcher,
    restored: Restored,
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
class Restored:
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
    return Bundle(
        model=recipe.model,
        arguments=recipe.model_args,
        input_shape=splits.train.image_shape,
        classes=splits.train.classes,
        preprocessing=prepared.preprocessing,
        weights=ImageModel.network_weights(weights),
        data={"source": recipe.data, "fingerprint": splits.fingerprint},
        figures=figures,
    )


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
            **whereabouts(prepared, data, data_root),
            **facts_of_data(prepared),
        },
        "parameters": sum(p.numel() for p in prepared.network.parameters()),
        "sessions": [],
        "figures": None,
    }


def facts_of_data(prepared: Prepared) -> dict[str, Any]:
    """What `run.json` says about the data."""
    splits = prepared.splits
    return {
        "fingerprint": splits.fingerprint,
        "classes": list(splits.train.classes),
        "image_shape": list(splits.train.image_shape),
        "n": {part.split: len(part) for part in splits},
        "notes": list(prepared.notes),
    }


def whereabouts(prepared: Prepared, data: object, data_root: Path | None) -> dict[str, Any]:
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
