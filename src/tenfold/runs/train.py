"""A whole run: prepare, train, keep the best weights as a bundle, evaluate; or go on with one."""

from __future__ import annotations

import math
import platform
import subprocess
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from tenfold.deployment.bundle import Bundle, write_bundle
from tenfold.errors import (
    FileRefusedError,
    InterruptedRunError,
    TenfoldError,
    UsageError,
    printable,
)
from tenfold.evaluation.evaluate import evaluate
from tenfold.recipes import Recipe
from tenfold.runs.folder import RunFolder, existing_run, new_run
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
from tenfold.training.checkpoint import Checkpointer, checkpoint_files, read_newest
from tenfold.training.loop import Outcome
from tenfold.training.loop import train as train_loop
from tenfold.training.state import TrainingState
from tenfold.training.watching import Watcher

ACCEPTABLE = ("recipe", "data", "classes")
"""What a resume may be told to accept although it differs."""

FACTS_FORMAT = 1


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
        threads: of a CPU; None leaves PyTorch's choice.
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
            folder.clean()
            facts = _facts(prepared, data, data_root)
            write_text(folder.recipe, prepared.recipe.to_toml())
            return _go_on(folder, prepared, facts, every, watcher, exact=True)


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
            recipe = recipe.model_copy(update={"epochs": epochs})
        if _nothing_to_do(folder, facts, recipe):
            watcher.note(
                f"{folder}: the run has finished its {recipe.epochs} epochs, nothing to do; "
                "--epochs trains it further"
            )
            return open_run(path)
        was = facts.get("conditions") or {}
        torch_device = choose_device(device or str(was.get("device", "auto")).split()[0])
        with repeatable(torch_device, threads or was.get("threads")):
            prepared = prepare(
                recipe,
                data if data is not None else reopened_data(folder),
                device=torch_device,
                data_root=data_root or recorded_data_root(folder),
                download=download,
                progress=progress,
            )
            exact = _restore(folder, prepared, accept, watcher, epochs_changed=epochs is not None)
            write_text(folder.recipe, prepared.recipe.to_toml())
            return _go_on(folder, prepared, facts, every, watcher, exact=exact)


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
    *,
    exact: bool,
) -> Run:
    """Train from wherever the state stands to the end, then make the bundle and the figures."""
    recipe, state = prepared.recipe, prepared.state
    for note in prepared.notes:
        watcher.note(note)
    context = prepared.context()
    facts["conditions"] = context["conditions"]
    facts["sessions"].append(
        {**context["conditions"], "started": _now(), "from_step": state.step, "bit_exact": exact}
    )
    folder.write_facts({**facts, "status": "running"})
    saver = _Saver(folder, prepared, state.best.epoch if state.best else 0)
    checkpointer = Checkpointer(
        folder.checkpoints,
        context,
        every_seconds=every[0],
        every_batches=every[1],
        after_save=saver.after_save,
    )
    watcher.started(folder.path, state.history)
    try:
        with stop_on_signals() as stop:
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
        folder.write_facts({**facts, "status": "failed", "failure": str(error)})
        raise
    finally:
        watcher.ended()
    if outcome == "interrupted":
        folder.write_facts({**facts, "status": "interrupted"})
        raise InterruptedRunError(
            f"{folder}: stopped in epoch {state.epoch + 1} after batch {state.batch}, and saved",
            remedy=f"continue with: tenfold resume {folder}",
            signal_number=stop.signal_number,
        )
    return _finish(folder, prepared, facts, outcome)


class _Saver:
    """Keeps the files beside the checkpoints in step with them."""

    def __init__(self, folder: RunFolder, prepared: Prepared, best_epoch: int) -> None:
        self.folder, self.prepared, self.best_epoch = folder, prepared, best_epoch

    def after_save(self, state: TrainingState) -> None:
        self.folder.write_metrics(state.history)
        if state.best is not None and state.best.epoch != self.best_epoch:
            figures = _figures(self.prepared, state.best.epoch)
            write_bundle(self.folder.best, _bundle(self.prepared, state.best.weights, figures))
            self.best_epoch = state.best.epoch


def _finish(folder: RunFolder, prepared: Prepared, facts: dict[str, Any], outcome: Outcome) -> Run:
    """Evaluate the best weights on the test split, once, and write the bundle."""
    state, splits = prepared.state, prepared.splits
    epoch, weights = state.final_weights()
    figures = _figures(prepared, epoch)
    report = None
    if splits.test is not None:
        state.model.load_state_dict(weights)
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
    accept: Collection[str],
    watcher: Watcher,
    *,
    epochs_changed: bool,
) -> bool:
    """Bring the state to the newest checkpoint that verifies; whether the rest is bit-exact.

    Raises:
        FileRefusedError: nothing verifies, or something has changed that is not accepted.
    """
    if not checkpoint_files(folder.checkpoints):
        watcher.note(f"{folder}: the run has no checkpoint yet, it starts at the beginning")
        return True
    checkpoint = read_newest(folder.checkpoints)
    for reason in checkpoint.passed_over:
        watcher.note(f"passed over a newer checkpoint: {reason}")
    context, now = checkpoint.header.get("context"), prepared.context()
    if not isinstance(context, dict):
        raise FileRefusedError(f"{printable(checkpoint.path)}: it does not say what run it is of")
    refused = []
    for part in ACCEPTABLE:
        before, after = ({part: each.get(part)} for each in (context, now))
        differences = changed(before, after)
        if part == "recipe" and epochs_changed:
            differences = [each for each in differences if not each.startswith("recipe.epochs ")]
        if part in accept:
            for difference in differences:
                watcher.note(f"accepted: {difference}")
        else:
            refused += differences
    if refused:
        raise FileRefusedError(
            f"{folder}: this is not the run that was stopped: {'; '.join(refused)}",
            remedy=f"undo that, or accept it with --accept {'|'.join(ACCEPTABLE)}",
        )
    try:
        prepared.state.restore(checkpoint.header, checkpoint.tensors)
    except FileRefusedError as error:
        raise FileRefusedError(f"{printable(checkpoint.path)}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise FileRefusedError(
            f"{printable(checkpoint.path)}: it does not hold the state of a run: "
            f"{printable(repr(error))}"
        ) from error
    for path in checkpoint_files(folder.checkpoints):
        if path == checkpoint.path:
            break
        path.rename(path.with_name(f"{path.name}.damaged"))
    conditions = changed(context.get("conditions") or {}, now["conditions"])
    for difference in conditions:
        watcher.note(f"no longer bit-exact: {difference}")
    return not conditions and not accept


def _nothing_to_do(folder: RunFolder, facts: dict[str, Any], recipe: Recipe) -> bool:
    if not folder.model.is_file() or facts.get("status") not in ("finished", "stopped early"):
        return False
    if facts["status"] == "stopped early":
        return True
    return int((facts.get("figures") or {}).get("epochs", 0)) >= recipe.epochs


def _facts(prepared: Prepared, data: object, data_root: Path | None) -> dict[str, Any]:
    """What `run.json` says from the beginning."""
    splits = prepared.splits
    return {
        "format": FACTS_FORMAT,
        "status": "running",
        "created": _now(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_revision": _git_revision(),
        "data": {
            "source": prepared.recipe.data,
            "can_be_reopened": isinstance(data, str | Path),
            "root": None if data_root is None else str(data_root.resolve()),
            "fingerprint": splits.fingerprint,
            "classes": list(splits.train.classes),
            "image_shape": list(splits.train.image_shape),
            "n": {part.split: len(part) for part in splits},
            "notes": list(prepared.notes),
        },
        "parameters": sum(p.numel() for p in prepared.network.parameters()),
        "sessions": [],
        "figures": None,
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
