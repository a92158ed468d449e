"""A run that lies in its folder: its history, its figures, its model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tenfold.deployment.bundle import Bundle, read_bundle
from tenfold.deployment.classifier import Classifier
from tenfold.errors import FileRefusedError, UsageError, printable
from tenfold.recipes import Recipe, parse_recipe, validate
from tenfold.runs.facts import PUT_BACK, RunFacts
from tenfold.runs.folder import RunFolder, existing_run, sha256_of
from tenfold.runs.resources import choose_device
from tenfold.storage import absolute
from tenfold.training.history import EpochMetrics

SCHEMA = 1
"""Version of the JSON objects that describe runs and reports."""


@dataclass(frozen=True)
class Run:
    """A run in its folder.

    Attributes:
        folder: where it lies, as an absolute path.
        history: one entry for each finished epoch.
        facts: what `run.json` says.
    """

    folder: Path
    history: tuple[EpochMetrics, ...]
    facts: RunFacts

    @property
    def figures(self) -> dict[str, Any]:
        """The final figures under their usual names; empty until the run has finished."""
        return {} if self.facts.figures is None else self.facts.figures.to_dict()

    @property
    def status(self) -> str:
        """`running`, `crashed`, `interrupted`, `failed`, `stopped early` or `finished`.

        It has crashed if it was running when its process died.
        """
        return status_of(RunFolder(self.folder), self.facts)

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe."""
        return read_recipe(RunFolder(self.folder), self.facts)

    @cached_property
    def model(self) -> Classifier:
        """The classifier with the run's best weights."""
        return load(self.folder)

    def to_dict(self) -> dict[str, Any]:
        """What the run is and what came of it, as JSON can hold it."""
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

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{key}</td><td>{_shown(value)}</td></tr>"
            for key, value in self.figures.items()
        )
        return f"<b>{_escaped(self.folder)}</b> ({self.status})<table>{rows}</table>"


def status_of(folder: RunFolder, facts: RunFacts) -> str:
    """The status in `run.json`, but `crashed` for a run that no process is running any more."""
    if facts.status == "running" and not folder.is_being_written():
        return "crashed"
    return facts.status


def open_run(path: str | Path) -> Run:
    """The run in a folder.

    Raises:
        FileRefusedError: there is none, or a file in it is damaged.
    """
    folder = existing_run(Path(path))
    facts = folder.read_facts()
    return Run(folder.path, tuple(folder.read_history(facts)), facts)


def read_recipe(folder: RunFolder, facts: RunFacts | None = None) -> Recipe:
    """The complete recipe of a run.

    Args:
        folder: the run's.
        facts: what `run.json` says; the recipe must then be the one that the run ended with.

    Raises:
        FileRefusedError: it is missing or damaged, or another one.
    """
    place, text = str(folder.recipe), folder.read_text(folder.recipe)
    digests = {} if facts is None else facts.digests
    if digests.get(folder.recipe.name, sha256_of(text)) != sha256_of(text):
        raise FileRefusedError(
            f"{place}: this is not the recipe that the run ended with",
            remedy="put it back, or accept it with: "
            f"{folder.command('resume', '--accept', 'recipe')}",
        )
    try:
        return validate(parse_recipe(text, place), place)
    except (ValueError, UsageError) as error:
        raise FileRefusedError(f"{place}: {error}", remedy=PUT_BACK) from error


def load(path: str | Path, *, device: str = "cpu") -> Classifier:
    """The classifier of a run, or of a bundle wherever it lies.

    Of a run that has not finished, the best weights so far by validation; without a validation
    split, those of the last time that it finished.

    Args:
        path: a run's folder, or a bundle such as its `model.safetensors`.
        device: where to predict: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        FileRefusedError: there is no usable model.
    """
    return Classifier(read_own_bundle(Path(path))[0], choose_device(device))


def unfinished_note(folder: RunFolder, bundle: Bundle) -> str:
    """What to say when the model of a run that has not finished is used; empty if it has.

    Args:
        folder: the run's.
        bundle: its model.
    """
    facts = folder.read_facts()
    if facts.has_ended:
        return ""
    epoch = bundle.header.figures.get("epochs", "an earlier one")
    return (
        f"{folder}: the run has not finished (status: {status_of(folder, facts)}); "
        f"its model is the one after epoch {epoch}"
    )


def read_own_bundle(path: Path) -> tuple[Bundle, RunFolder | None]:
    """The bundle that a path means, and the run that it belongs to, if it lies in one.

    Raises:
        FileRefusedError: there is no usable model, or it is not the one that the run ended with.
    """
    found = bundle_path(path)
    bundle = read_bundle(found)
    folder = RunFolder(path if path.is_dir() else path.parent)
    if not folder.facts.is_file() or absolute(found) not in (folder.model, folder.best):
        return bundle, None
    if path.is_dir() and found == folder.model:
        require_own_model(folder, folder.read_facts(), bundle)
    return bundle, folder


def require_own_model(folder: RunFolder, facts: RunFacts, bundle: Bundle) -> None:
    """Refuse a model that is not the one that its run ended with.

    Raises:
        FileRefusedError: it is another run's, or another version of it.
    """
    if facts.digests.get(folder.model.name, bundle.sha256) != bundle.sha256:
        raise FileRefusedError(
            f"{folder.model}: this is not the model that the run ended with",
            remedy=f"write it again with: {folder.command('resume')}; or name the file itself to "
            "use it as it is",
        )


def bundle_path(path: Path) -> Path:
    """The bundle that a path means: itself, or the best one in a run's folder.

    Raises:
        FileRefusedError: the folder has none, or its `run.json` is damaged.
    """
    if path.is_file():
        return path
    folder = RunFolder(path)
    if not path.is_dir():
        raise FileRefusedError(
            f"{folder}: there is no such folder or file", remedy="name a run's folder or a bundle"
        )
    bundles, is_run = [folder.model, folder.best], folder.facts.is_file()
    if is_run and not folder.read_facts().has_ended:
        bundles.reverse()  # the model is of an earlier end of the run
    for bundle in bundles:
        if bundle.is_file():
            return bundle
    if not is_run:
        raise FileRefusedError(f"{folder}: there is no model.safetensors in this folder")
    failure = folder.read_facts().failure
    if failure is not None:
        raise FileRefusedError(f"{folder}: the run has no model, because it failed: {failure}")
    raise FileRefusedError(
        f"{folder}: the run has no model yet", remedy=f"finish it with: {folder.command('resume')}"
    )


def _shown(value: object) -> str:
    return _escaped(f"{value:.4f}" if isinstance(value, float) else value)


def _escaped(value: object) -> str:
    return printable(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
