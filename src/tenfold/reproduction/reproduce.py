"""Rerun the teaching recipes and compare their figures with the tutorials'."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tenfold.data.catalog.entries import DATA_VARIABLE
from tenfold.data.catalog.locate import locate
from tenfold.data.catalog.table import DATASETS
from tenfold.errors import DataError, InterruptedRunError, TrainingError, UsageError, did_you_mean
from tenfold.listening import Listener, WithoutNotes
from tenfold.paths import is_file
from tenfold.recipes import Recipe, load_recipe
from tenfold.reproduction.published import (
    SYSTEMS,
    Figure,
    Measurement,
    Measurements,
    PublishedFigure,
    TeachingSystem,
    Verdict,
    judge,
    judge_failure,
)
from tenfold.reproduction.text import reproduction_markdown
from tenfold.runs.conditions import machine_conditions
from tenfold.runs.evaluate import evaluate_run
from tenfold.runs.folder import new_folder
from tenfold.runs.preparing import prepare
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run
from tenfold.runs.train import train_run
from tenfold.storage import expanded, write_json, write_text
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Watcher, Watchers

SCHEMA = 1
"""Version of the JSON object that describes a reproduction."""


@dataclass(frozen=True)
class Finding:
    """One published figure, its measurement here, and the verdict."""

    published: PublishedFigure
    epoch: int | None
    measured: Measurement | None
    verdict: Verdict

    def to_dict(self) -> dict[str, Any]:
        """Everything as a JSON-serializable dictionary."""
        published, measured = self.published, self.measured
        return {
            "figure": published.figure,
            "epoch": self.epoch,
            "meaning": published.meaning,
            "published": published.published or None,
            "accepted": None if published.accepted is None else str(published.accepted),
            "tolerance": published.tolerance or None,
            "measured": None if measured is None else measured.value,
            "n": None if measured is None else measured.n,
            "interval": None if measured is None else measured.interval,
            "verdict": self.verdict.name,
            "reason": self.verdict.reason,
        }


@dataclass(frozen=True)
class Outcome:
    """The result of one recipe.

    Attributes:
        system: the recipe and what was published.
        data: title of the data that was used.
        findings: one per published figure.
        run: None if the recipe did not finish.
        notes: warnings while the run trained.
    """

    system: TeachingSystem
    data: str
    findings: tuple[Finding, ...]
    run: Run | None = None
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything as a JSON-serializable dictionary."""
        run, figures = self.run, {} if self.run is None else self.run.figures
        return {
            "recipe": self.system.recipe,
            "data": self.data,
            "data_published": self.system.data,
            "run": None if run is None else str(run.folder),
            "n": {split: figures.get(f"n_{split}", 0) for split in ("train", "val", "test")},
            "epochs_run": 0 if run is None else len(run.history),
            "epochs_published": self.system.published_epochs,
            "epochs_note": self.system.epochs_note,
            "test_acc": figures.get("test_acc"),
            "test_interval": figures.get("test_interval"),
            "seconds": figures.get("seconds"),
            "conditions": {} if run is None else run.facts.conditions.model_dump(),
            "notes": list(self.notes),
            "figures": [finding.to_dict() for finding in self.findings],
        }


@dataclass(frozen=True)
class Reproduction:
    """The results of all requested recipes.

    Attributes:
        folder: contains the tables and the runs.
        command: the command that repeats it; may be empty.
        machine: the machine and software it ran on.
        outcomes: one per recipe.
        interrupted: exit code of the signal that ended it early, or 0.
    """

    folder: Path
    command: str
    machine: Mapping[str, Any]
    outcomes: tuple[Outcome, ...] = ()
    interrupted: int = 0

    @property
    def exit_code(self) -> int:
        """0 if no figure differs, 1 if one does, 3 if no recipe could be run."""
        verdicts = {finding.verdict.name for each in self.outcomes for finding in each.findings}
        if self.interrupted:
            return self.interrupted
        if "differs" in verdicts:
            return 1
        return 0 if any(outcome.run for outcome in self.outcomes) else DataError.exit_code

    def to_dict(self) -> dict[str, Any]:
        """Everything as a JSON-serializable dictionary."""
        return {
            "schema": SCHEMA,
            "folder": str(self.folder),
            "command": self.command,
            "machine": dict(self.machine),
            "recipes": [outcome.to_dict() for outcome in self.outcomes],
        }

    def write(self) -> None:
        """Write `reproduction.json` and `reproduction.md`."""
        facts = self.to_dict()
        write_json(self.folder / "reproduction.json", facts)
        write_text(self.folder / "reproduction.md", reproduction_markdown(facts))


def reproduce(
    names: Sequence[str] = (),
    *,
    epochs: int | None = None,
    full: bool = False,
    out: Path | None = None,
    resources: Resources = USUAL,
    watcher: Watcher | None = None,
    command: str = "",
) -> Reproduction:
    """Run teaching recipes, changing only the number of epochs, and judge their figures.

    Results are written after each recipe. Missing data or failed training ends only that recipe.
    A signal ends all of them, and the finished results are returned.

    Args:
        names: recipe names; empty for all.
        epochs: for every recipe; None for each system's default.
        full: train as far as the tutorials did, however long it takes.
        out: the folder; None for the next `runs/reproduction-NNN`.
        resources: data folder, downloading, device, threads and engine.
        watcher: notified of progress.
        command: recorded as the command that repeats this.

    Raises:
        UsageError: an unknown recipe, `epochs` together with `full` or out of range, or `out` is
            not empty.
        StorageError: a folder cannot be written.
    """
    systems = [_system(name) for name in dict.fromkeys(names or SYSTEMS)]
    if full and epochs is not None:
        raise UsageError("--full and --epochs exclude each other", remedy="choose one")
    if epochs is not None and epochs < 1:
        raise UsageError(f"epochs is {epochs}, wanted at least 1")
    machine = _machine(resources)
    folder = new_folder(out, "reproduction")
    worker = _Worker(folder, resources, watcher or Watcher())
    reproduction = Reproduction(folder, command, machine)
    for system in systems:
        wanted = epochs or (system.full_epochs if full else system.epochs)
        try:
            if reproduction.interrupted:
                outcome = _not_run(system, "interrupted before it began")
            else:
                outcome = worker.run(system, wanted)
        except InterruptedRunError as error:
            outcome = _not_run(system, str(error))
            reproduction = replace(reproduction, interrupted=error.exit_code)
        except KeyboardInterrupt:
            outcome = _not_run(system, "interrupted")
            reproduction = replace(reproduction, interrupted=130)
        reproduction = replace(reproduction, outcomes=(*reproduction.outcomes, outcome))
        reproduction.write()
    return reproduction


@dataclass(frozen=True)
class _Worker:
    """Runs one recipe after another under the same conditions."""

    folder: Path
    resources: Resources
    watcher: Watcher

    @property
    def offline(self) -> Resources:
        """The same resources, for use once training has fetched the data."""
        return replace(self.resources, download=False)

    def run(self, system: TeachingSystem, epochs: int) -> Outcome:
        """Train, measure and judge one recipe."""
        recipe = load_recipe(system.recipe, {"epochs": epochs})
        data, title = self._data(system, recipe)
        self.watcher.note(f"{system.recipe} on {title}, epochs: {epochs}")
        listener = _Warnings()
        try:
            run = train_run(
                recipe,
                data,
                out=self.folder / system.recipe,
                resources=self.resources,
                watcher=Watchers([self.watcher, listener]),
            )
            measured = self._measure(system, run, data)
        except DataError as error:
            self.watcher.note(f"{system.recipe} was not run: {error}")
            return _not_run(system, str(error), title)
        except TrainingError as error:
            self.watcher.note(f"{system.recipe}: {error}")
            return _not_run(system, str(error), title, failed=True)
        return _judged(system, title, run, measured, tuple(listener.notes))

    def _data(self, system: TeachingSystem, recipe: Recipe) -> tuple[str, str]:
        """The data to train on and its title; a copy if the data itself is not on disk."""
        root = self.resources.data_root or os.environ.get(DATA_VARIABLE)
        if system.copy is None or not root:
            return recipe.data, system.data
        folder = expanded(root)
        copy = folder / system.copy.file
        if not is_file(copy):
            return recipe.data, system.data
        try:
            root = self.resources.data_root
            locate(DATASETS[recipe.data], data_root=root, download=False, listener=Listener())
        except DataError as error:
            # Downloading is off because we turned it off, not because the user did.
            why = error.message.partition(", and downloading is")[0]
            self.watcher.note(f"using {system.copy.title}: {why}")
            return str(copy), system.copy.title
        return recipe.data, system.data

    def _measure(self, system: TeachingSystem, run: Run, data: str) -> Measurements:
        """The run's figures, and those of extra passes that the table needs."""
        last, n = len(run.history), run.figures["n_test"]
        found = measurements_of(run.history, run.figures["n_train"])
        found["test_acc", last] = Measurement(run.figures["test_acc"], n)
        asked_for = {(each.figure, each.epoch) for each in system.figures}
        if ("evaluated_train_acc", last) in asked_for:
            report = evaluate_run(
                run.folder,
                split="train",
                resources=self.offline,
                listener=self.watcher,
            )
            found["evaluated_train_acc", last] = Measurement(report.accuracy, report.n)
        if ("test_acc", 0) in asked_for:
            found["test_acc", 0] = Measurement(self._untrained_accuracy(run.recipe, data), n)
        return found

    def _untrained_accuracy(self, recipe: Recipe, data: str) -> float:
        """The test accuracy of the run's initial model."""
        listener = WithoutNotes(self.watcher)
        with self.offline.repeatable() as device:
            prepared = prepare(recipe, data, self.offline, device, listener=listener)
            assert prepared.splits.test is not None, "every teaching data set has a test split"
            return prepared.evaluate(prepared.splits.test).accuracy


class _Warnings(Watcher):
    """Collects the warnings of a run while it trains."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def started(self, folder: Path | None, history: Sequence[EpochMetrics]) -> None:
        """Drop the notes about the data."""
        del folder, history
        self.notes.clear()

    def note(self, text: str) -> None:
        """Keep a warning."""
        self.notes.append(text)


def measurements_of(
    history: Sequence[EpochMetrics], n_train: int
) -> dict[tuple[Figure, int], Measurement]:
    """The figures in a history.

    Args:
        history: starting at epoch 1.
        n_train: number of images behind an epoch's accuracy.
    """
    found: dict[tuple[Figure, int], Measurement] = {}
    losses = [metrics.train_loss for metrics in history]
    for metrics in history:
        printed = losses[1 : metrics.epoch]  # the tutorial's ten are epochs 2 to 11: `epochs_note`
        rises = sum(after > before for before, after in pairwise(printed))
        found["train_loss", metrics.epoch] = Measurement(metrics.train_loss)
        found["train_acc", metrics.epoch] = Measurement(metrics.train_acc, n_train)
        found["rises", metrics.epoch] = Measurement(float(rises))
    return found


def _judged(
    system: TeachingSystem,
    title: str,
    run: Run,
    measured: Measurements,
    notes: tuple[str, ...],
) -> Outcome:
    last = len(run.history)
    findings = []
    for published in system.figures:
        epoch = last if published.epoch is None else published.epoch
        found = measured.get((published.figure, epoch))
        why_not = f"the figure is for epoch {epoch}, but the run ended at epoch {last}"
        verdict = judge(published, found, on_copy=title != system.data, why_not=why_not)
        findings.append(Finding(published, epoch, found, verdict))
    return Outcome(system, title, tuple(findings), run, notes)


def _not_run(system: TeachingSystem, why: str, title: str = "", *, failed: bool = False) -> Outcome:
    """The outcome of a recipe that did not run or whose training failed."""
    findings = []
    for published in system.figures:
        verdict = judge_failure(published, why) if failed else Verdict("not run", why)
        findings.append(Finding(published, published.epoch, None, verdict))
    return Outcome(system, title or system.data, tuple(findings))


def _system(name: str) -> TeachingSystem:
    if name not in SYSTEMS:
        raise UsageError(
            f"{name!r} is not a recipe with published figures",
            remedy=did_you_mean(name, SYSTEMS),
        )
    return SYSTEMS[name]


def _machine(resources: Resources) -> dict[str, Any]:
    with resources.repeatable() as device:
        return {
            "cpu": _cpu_model(),
            "cores": os.cpu_count(),
            "platform": f"{platform.system()} {platform.machine()}",
            "python": platform.python_version(),
            **machine_conditions(device),
        }


def _cpu_model() -> str:
    """The processor's name as reported by the system."""
    with suppress(OSError):  # only Linux has this file
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
