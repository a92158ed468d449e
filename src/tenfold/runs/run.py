"""A run in its folder: history, figures and model."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tenfold.data.catalog.table import find
from tenfold.data.folders.walking import CHECKPOINTS
from tenfold.deployment.bundle import Bundle, read_bundle
from tenfold.deployment.classifier import Classifier
from tenfold.errors import (
    FileRefusedError,
    FileUnreadableError,
    NewerFormatError,
    UsageError,
)
from tenfold.markup import html_facts
from tenfold.models.own import OwnModel
from tenfold.paths import found_at, is_file, is_folder
from tenfold.recipes import Recipe, parse_recipe, validate
from tenfold.recipes.older import upgraded_recipe
from tenfold.runs.facts import PUT_BACK, RunFacts
from tenfold.runs.folder import RunFolder, existing_run, refuse_group, sha256_of, similar_run
from tenfold.runs.page import ReportPage
from tenfold.runs.resources import choose_device
from tenfold.storage import absolute, refusal_of
from tenfold.training.history import EpochMetrics

SCHEMA = 1
"""Version of the JSON objects that describe runs and reports."""


@dataclass(frozen=True)
class Run:
    """A run in its folder.

    Attributes:
        folder: the absolute path.
        history: one entry per finished epoch.
        facts: the contents of `run.json`.
        code: what makes its network, if that is the user's own and was named.
    """

    folder: Path
    history: tuple[EpochMetrics, ...]
    facts: RunFacts
    code: OwnModel | None = field(default=None, repr=False, compare=False)

    @property
    def figures(self) -> dict[str, Any]:
        """The final figures by name; empty until the run has finished."""
        return {} if self.facts.figures is None else self.facts.figures.to_dict()

    @property
    def status(self) -> str:
        """`running`, `crashed`, `interrupted`, `failed`, `stopped early` or `finished`.

        `crashed` means that its process died while it was running.
        """
        return status_of(RunFolder(self.folder), self.facts)

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe."""
        return read_recipe(RunFolder(self.folder), self.facts)

    @cached_property
    def model(self) -> Classifier:
        """The classifier with the run's best weights."""
        return load(self.folder, code=self.code)

    def to_dict(self) -> dict[str, Any]:
        """The run and its results, ready for JSON."""
        recipe = self.recipe
        return {
            "schema": SCHEMA,
            "run": str(self.folder),
            "status": self.status,
            "data": recipe.data,
            "model": recipe.model,
            "seed": recipe.seed,
            "parameters": self.facts.parameters,
            "engine": self.facts.conditions.engine,
            **self.figures,
            "history": [metrics.model_dump() for metrics in self.history],
        }

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.status}, epochs={len(self.history)})"

    def report(self) -> ReportPage:
        """The page that the run ended with, which a notebook shows.

        Raises:
            FileRefusedError: there is none.
        """
        folder = RunFolder(self.folder)
        if not is_file(folder.report):
            remedy = folder.command("report" if self.facts.has_ended else "resume")
            raise FileRefusedError(
                f"{folder.report}: {found_at(folder.report)}",
                remedy=f"{'make it' if self.facts.has_ended else 'finish the run'} with: {remedy}",
            )
        return ReportPage(folder.report, folder.read_text(folder.report))

    def _repr_html_(self) -> str:
        figures, rows = self.figures, {"status": self.status, "epochs": str(len(self.history))}
        for split, name in (("test", "test accuracy"), ("val", "validation accuracy")):
            if (accuracy := figures.get(f"{split}_acc")) is not None:
                rows[name] = f"{100 * accuracy:.2f} % of {figures[f'n_{split}']:,} images"
                if interval := figures.get(f"{split}_interval"):
                    low, high = interval
                    rows[name] += f" (95 % interval {100 * low:.2f} to {100 * high:.2f} %)"
        if self.history:
            last = self.history[-1]
            rows["training loss"] = f"{last.train_loss:.4f} at the end"
            rows["time"] = f"{sum(metrics.seconds for metrics in self.history):.1f} s"
        rows["parameters"] = f"{self.facts.parameters:,}"
        rows["engine"] = self.facts.conditions.engine
        if is_file(RunFolder(self.folder).report):
            rows["report"] = "run.report() shows it here"
        title = f"{self.facts.context.recipe.get('model', '')} on {self.facts.data.source}"
        return html_facts(title, str(self.folder), rows)


def status_of(folder: RunFolder, facts: RunFacts) -> str:
    """The status in `run.json`, or `crashed` if it says running but no process is."""
    if facts.status == "running" and not folder.is_being_written():
        return "crashed"
    return facts.status


def open_run(path: str | Path) -> Run:
    """The run in a folder.

    Raises:
        FileRefusedError: not a run folder, or a file in it is damaged or not its own.
    """
    folder = existing_run(Path(path))
    facts = folder.read_facts()
    folder.require_own_results(facts)
    return Run(folder.path, tuple(folder.read_history(facts)), facts)


def read_recipe(folder: RunFolder, facts: RunFacts | None = None) -> Recipe:
    """The complete recipe of a run.

    Args:
        folder: the run's.
        facts: the contents of `run.json`; if given, the recipe must be the one that the run ended
            with.

    Raises:
        FileRefusedError: it is missing, damaged, or not the run's.
    """
    place, text = str(folder.recipe), folder.read_text(folder.recipe)
    digests = {} if facts is None else facts.digests
    if digests.get(folder.recipe.name, sha256_of(text)) != sha256_of(text):
        raise FileRefusedError(
            f"{place}: this is not the recipe that the run ended with",
            remedy="restore it, or accept it with: "
            f"{folder.command('resume', '--accept', 'recipe')}",
        )
    try:
        return validate(upgraded_recipe(parse_recipe(text, place)), place)
    except (ValueError, UsageError) as error:
        found = getattr(error, "message", str(error)).removeprefix(f"recipe {place}: ")
        raise FileRefusedError(f"{place}: {found}", remedy=PUT_BACK) from error


def load(path: str | Path, *, device: str = "cpu", code: OwnModel | None = None) -> Classifier:
    """The classifier of a run or of a bundle.

    For an unfinished run, it has the best weights so far by validation; without a validation
    split, those from the last time it finished.

    Args:
        path: a run's folder, or a bundle such as its `model.safetensors`.
        device: where to predict: `auto`, `cpu`, `cuda` or `mps`.
        code: see `read_own_bundle`.

    Raises:
        FileRefusedError: there is no usable model.
    """
    bundle, _ = read_own_bundle(Path(path), code)
    if bundle.note_on_code:
        warnings.warn(bundle.note_on_code, stacklevel=3)
    return Classifier(bundle, choose_device(device))


def notes_on(bundle: Bundle, folder: RunFolder | None) -> list[str]:
    """The notes for using a model.

    Args:
        bundle: the model.
        folder: of its run; None if it is in none.
    """
    of_run = "" if folder is None else note_on_run(folder, bundle)
    return [note for note in (of_run, bundle.note_on_code) if note]


def note_on_run(folder: RunFolder, bundle: Bundle) -> str:
    """The note for using a model whose run has not finished, or has files that are not its own.

    A model file that is named itself is used even if the other files of its run are damaged.

    Empty if there is nothing to note.

    Args:
        folder: the run's.
        bundle: its model.
    """
    try:
        facts = folder.read_facts()
    except (NewerFormatError, FileUnreadableError):
        raise
    except FileRefusedError as error:
        return f"{error.message}; the model file is used as it is"
    if facts.has_ended:
        return _note_on_files(folder, facts)
    epoch = bundle.header.figures.get("epochs")
    source = "an earlier epoch" if epoch is None else f"epoch {epoch}"
    status = status_of(folder, facts)
    further = "" if status == "running" else f"; finish it with: {folder.command('resume')}"
    return (
        f"{folder}: the run has not finished (status: {status}), its model is from "
        f"{source}{further}"
    )


def _note_on_files(folder: RunFolder, facts: RunFacts) -> str:
    """The note on results and a history that are not those that the run ended with."""
    problems, unreadable = [], []
    for require_own in (folder.require_own_results, folder.read_history):
        try:
            require_own(facts)
        except FileUnreadableError as error:
            unreadable.append(str(error))
        except FileRefusedError as error:
            problems.append(error.message)
    if problems:
        problems.append(f"write them again with: {folder.command('resume')}")
    return "; ".join([*unreadable, *problems])


def read_own_bundle(path: Path, code: OwnModel | None = None) -> tuple[Bundle, RunFolder | None]:
    """The bundle at a path, and the run that it belongs to, if it is in one.

    Args:
        path: of a run's folder or of a bundle.
        code: what makes the network, if that is the user's own.

    Raises:
        FileRefusedError: there is no usable model, or it is not the one that the run ended with.
        UsageError: there is code, but the network is one of tenfold's.
    """
    bundle, folder = _read_own_bundle(path)
    if code is not None and bundle.header.own is None:
        raise UsageError(
            f"{path}: its network is tenfold's {bundle.header.model}, which needs no other code",
            remedy=f"leave out {code.model}",
        )
    if code is not None:
        bundle = replace(bundle, code=code)
        bundle.network()  # refuses code of another network, even if the kernels do not need it
    elif bundle.header.own is not None and folder is not None:
        with suppress(FileRefusedError):  # a model file can be used without the run's others
            bundle = replace(bundle, code_place=folder.read_facts().own_model)
    return bundle, folder


def source_of(path: Path) -> str:
    """The code of the user's own network in a run or bundle, to be read.

    Raises:
        FileRefusedError: there is none, or no usable model.
    """
    bundle, folder = read_own_bundle(path)
    source = bundle.header.source
    if not source and folder is not None:
        copies = (folder.network, folder.piece_of_code)
        source = next((folder.read_text(copy) for copy in copies if is_file(copy)), "")
    if source:  # a terminal would obey escape sequences
        return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in source)
    own = bundle.header.own
    why = (
        f"its network is tenfold's {bundle.header.model}"
        if own is None
        else "it lists the layers of its network, and keeps no code"
        if bundle.header.layers is not None
        else f"the code of its network, {own.model}, was not in a file"
    )
    raise FileRefusedError(f"{path}: {why}", remedy=f"see the layers: tenfold summary {path}")


def _read_own_bundle(path: Path) -> tuple[Bundle, RunFolder | None]:
    found = bundle_path(path)
    folder = RunFolder(path) if is_folder(path) else _run_around(path)
    if not is_file(folder.facts) or absolute(found) not in (folder.model, folder.best):
        return read_bundle(found), None
    if not is_folder(path):
        try:
            folder.read_facts()
        except (NewerFormatError, FileUnreadableError):
            raise
        except FileRefusedError:  # the file itself is all that is needed, but see `note_on_run`
            return read_bundle(found), folder
    try:
        bundle = read_bundle(found)
    except (NewerFormatError, FileUnreadableError):
        raise
    except FileRefusedError as error:
        first = "remove that folder, then " if is_folder(found) else ""
        remedy = f"{first}write it again with: {folder.command('resume')}"
        raise FileRefusedError(error.message, remedy=remedy) from error
    if is_folder(path):
        facts = folder.read_facts()
        if found == folder.model:
            require_own_model(folder, facts, bundle)
        else:
            _require_own_best(folder, facts, bundle)
    return bundle, folder


def _run_around(path: Path) -> RunFolder:
    """The run that a model file belongs to if it is in one."""
    around = RunFolder(path.parent)
    if absolute(path) == around.model:
        return around
    if path.parent.name != CHECKPOINTS:  # such as a name in the working directory
        path = absolute(path)
    return RunFolder(path.parent.parent)


def require_own_model(folder: RunFolder, facts: RunFacts, bundle: Bundle) -> None:
    """Refuse a model that is not the one that its run ended with.

    Raises:
        FileRefusedError: it is from another run, or has been changed.
    """
    if facts.digests.get(folder.model.name, bundle.sha256) != bundle.sha256:
        raise FileRefusedError(
            f"{folder.model}: this is not the model that the run ended with",
            remedy=f"write it again with: {folder.command('resume')}; or name the file itself to "
            "use it as it is",
        )


def _require_own_best(folder: RunFolder, facts: RunFacts, bundle: Bundle) -> None:
    """Refuse best weights whose figures are not in the run's history.

    Raises:
        FileRefusedError: they are from another run.
    """
    figures = bundle.header.figures
    own = [
        metrics.model_dump(exclude={"seconds"})
        for metrics in folder.read_history(facts)
        if metrics.epoch == figures.get("epochs")
    ]
    if not own or any(figures[key] != own[0][key] for key in own[0].keys() & figures.keys()):
        raise FileRefusedError(
            f"{folder.best}: these are not the best weights of this run",
            remedy=(
                "wait until the process that trains it has written them"
                if folder.is_being_written()
                else f"write them again with: {folder.command('resume')}"
            )
            + "; or name the file itself to use it as it is",
        )


def bundle_path(path: Path) -> Path:
    """The path of a bundle: the path itself, or the best bundle in a run's folder.

    Raises:
        FileRefusedError: the folder has none, or its `run.json` is damaged.
    """
    if is_file(path):
        return path
    folder = RunFolder(path)
    if not is_folder(path):
        is_data = find(str(path)) is not None
        raise FileRefusedError(
            f"{folder}: {found_at(path, 'folder or file')}",
            remedy="name the run first, and the data after it"
            if is_data
            else similar_run(path) or "name a run's folder or its model.safetensors",
        )
    bundles, is_run = [folder.model, folder.best], is_file(folder.facts)
    if is_run:
        if folder.read_facts().has_ended:
            return folder.model
        bundles.reverse()  # the model is from an earlier time that the run finished
    for bundle in bundles:
        if is_file(bundle):
            return bundle
        try:
            bundle.stat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:  # what is there cannot be seen
            raise refusal_of(bundle, error) from error
    if not is_run:
        refuse_group(path)
        raise FileRefusedError(
            f"{folder}: this is not a run: it has no model.safetensors",
            remedy="name a folder that tenfold train has made",
        )
    failure = folder.read_facts().failure
    if failure is not None:
        raise FileRefusedError(f"{folder}: the run has no model, because it failed: {failure}")
    raise FileRefusedError(f"{folder}: the run has no model yet", remedy=_how_to_finish(folder))


def _how_to_finish(folder: RunFolder) -> str:
    facts = folder.read_facts()
    if folder.is_being_written():
        return "wait until the process that trains it has finished an epoch"
    next_epoch = len(folder.read_history(facts)) + 1
    remedy = f"finish it with: {folder.command('resume')}"
    if 1 < next_epoch < facts.context.recipe.get("epochs", 0):
        sooner = folder.command("resume", "--epochs", str(next_epoch))
        remedy += f", or end it after epoch {next_epoch} with: {sooner}"
    return remedy
