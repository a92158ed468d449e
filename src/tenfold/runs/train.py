"""A new run in its folder. Importing this does not import PyTorch."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from tenfold.errors import UsageError
from tenfold.recipes import Recipe
from tenfold.runs.evidence import AfterRun
from tenfold.runs.folder import RunFolder, new_run, require_new
from tenfold.runs.reading import read_for, read_while_importing
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run
from tenfold.runs.signals import stop_on_signals
from tenfold.runs.starting import read_start, with_start
from tenfold.training.watching import Watcher


def train_run(
    recipe: Recipe,
    data: object = None,
    *,
    out: Path | None = None,
    resources: Resources = USUAL,
    time: str = "",
    checkpoint_every: str | int = "",
    show_test: bool = False,
    watcher: Watcher | None = None,
    after: AfterRun | None = None,
) -> Run:
    """Train a new run in a new folder; returns the run, finished and evaluated.

    Nothing is written until data, recipe and model are known to fit together.

    Args:
        recipe: what to do.
        data: see `load_splits`; None for the recipe's own.
        out: the run's folder; None for the next `runs/<data>-<model>-NNN`.
        resources: what the run may use.
        time: about how long training should take, such as `"90s"`, `"10m"` or `"1h"`; the recipe
            must leave its epochs to the data. Empty for as long as the data needs.
        checkpoint_every: `"30s"` or `"5m"` for a time, `500` for batches; empty for once a minute,
            or less often if that is expensive.
        show_test: whether to evaluate the test images after every epoch, for a person to see; it
            decides nothing, and the run ends with the same bits.
        watcher: called as training proceeds.
        after: called when all files of the run are written.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: the recipe does not fit the data.
        TrainingError: the loss became infinite or undefined; the last checkpoint is kept.
        InterruptedRunError: a signal stopped the run; it can be resumed.
        StorageError: the folder cannot be written.
    """
    watcher = watcher or Watcher()
    every, seconds = parse_interval(checkpoint_every), time_for(recipe, time)
    resources.require_valid()
    if out is not None:
        require_new(RunFolder(out))  # before the data is read, which may take long
    start = read_start(recipe)
    recipe = with_start(recipe, start, watcher)
    if "torch" not in sys.modules:
        data = read_while_importing(recipe, data, resources, listener=watcher, read=read_for)
    from tenfold.runs.preparing import prepare
    from tenfold.runs.session import Beginning, first_facts, run_session

    with resources.repeatable() as device:
        prepared = prepare(
            recipe,
            data,
            resources,
            device,
            listener=watcher,
            start=start,
            seconds=seconds,
            show_test=show_test,
        )
        prepared.compute_features(watcher)
        folder = new_run(out, prepared.recipe.data, prepared.recipe.model)
        with folder.locked(), stop_on_signals() as stop:
            require_new(folder)
            folder.clean()
            facts = first_facts(prepared)
            return run_session(folder, prepared, facts, every, watcher, Beginning(), stop, after)


def time_for(recipe: Recipe, time: str) -> float | None:
    """How long a run should train, in seconds; None for as long as the data needs.

    Raises:
        UsageError: the text is not a time, or the recipe says how many epochs to train.
    """
    seconds = parse_time(time)
    if seconds is not None and "epochs" not in recipe.left_to_data:
        raise UsageError(
            f"a time was given, but also the number of epochs, {recipe.epochs:,}",
            remedy='give only one of them; in a recipe, write epochs = "auto"',
        )
    return seconds


def parse_time(time: str) -> float | None:
    """A time with `s`, `m` or `h` in seconds; None for an empty text.

    Raises:
        UsageError: it is not one, or not more than 0.
    """
    if not time:
        return None
    try:
        seconds = {"s": 1, "m": 60, "h": 3600}.get(time[-1], math.nan) * float(time[:-1])
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise UsageError(f"time is {time!r}, wanted one such as 90s, 10m or 1h")
    return seconds


def parse_interval(interval: str | int) -> tuple[float, int]:
    """A checkpoint interval as (seconds, batches), at most one of which is nonzero.

    Raises:
        UsageError: neither a number of batches, nor one of seconds or minutes with `s` or `m`.
    """
    text = str(interval)
    unit = {"s": 1, "m": 60}.get(text[-1:], 0)
    seconds, batches = (text[:-1], "0") if unit else ("0", text or "0")
    try:
        found = unit * float(seconds), int(batches)
    except ValueError:
        found = math.nan, -1
    if text and not (0 < found[0] < math.inf or found[1] > 0):
        raise UsageError(
            f"checkpoint-every is {text!r}, wanted a time such as 30s or 5m, or batches such as 500"
        )
    return found
