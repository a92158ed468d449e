"""A run that lies in its folder: its history, its figures, its model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tenfold.deployment.classifier import Classifier
from tenfold.errors import FileRefusedError, UsageError, printable
from tenfold.recipes import Recipe, parse_recipe, validate
from tenfold.runs.conditions import choose_device
from tenfold.runs.folder import RunFolder, existing_run
from tenfold.training.state import EpochMetrics

SCHEMA = 1
"""Version of the JSON objects that describe runs and reports."""


@dataclass(frozen=True)
class Run:
    """A run in its folder.

    Attributes:
        folder: where it lies.
        history: one entry for each finished epoch.
        facts: what `run.json` says.
    """

    folder: Path
    history: tuple[EpochMetrics, ...]
    facts: dict[str, Any]

    @property
    def figures(self) -> dict[str, Any]:
        """The final figures under their usual names; empty until the run has finished."""
        return dict(self.facts.get("figures") or {})

    @property
    def status(self) -> str:
        """`running`, `interrupted`, `failed`, `stopped early` or `finished`."""
        return str(self.facts.get("status"))

    @cached_property
    def recipe(self) -> Recipe:
        """The complete recipe."""
        return read_recipe(RunFolder(self.folder))

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
            "parameters": self.facts.get("parameters"),
            **self.figures,
            "history": [asdict(metrics) for metrics in self.history],
        }

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.status}, epochs={len(self.history)})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{key}</td><td>{_shown(value)}</td></tr>"
            for key, value in self.figures.items()
        )
        return f"<b>{_escaped(self.folder)}</b> ({self.status})<table>{rows}</table>"


def open_run(path: str | Path) -> Run:
    """The run in a folder.

    Raises:
        FileRefusedError: there is none, or a file in it is damaged.
    """
    folder = existing_run(Path(path))
    history = folder.read_metrics() if folder.metrics.exists() else []
    return Run(folder.path, tuple(history), folder.read_facts())


def read_recipe(folder: RunFolder) -> Recipe:
    """The complete recipe of a run.

    Raises:
        FileRefusedError: it is missing or damaged.
    """
    place = printable(folder.recipe)
    try:
        return validate(parse_recipe(folder.read_text(folder.recipe), place), place)
    except (ValueError, UsageError) as error:
        raise FileRefusedError(
            f"{place}: {error}",
            remedy="put back the file as tenfold wrote it",
        ) from error


def load(path: str | Path, *, device: str = "cpu") -> Classifier:
    """The classifier of a run, or of a bundle wherever it lies.

    Of a run that has not finished, the best weights so far.

    Args:
        path: a run's folder, or a bundle such as its `model.safetensors`.
        device: where to predict: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        FileRefusedError: there is no usable model.
    """
    return Classifier.from_file(bundle_path(Path(path)), choose_device(device))


def bundle_path(path: Path) -> Path:
    """The bundle that a path means: itself, or the best one in a run's folder.

    Raises:
        FileRefusedError: the folder has none.
    """
    if path.is_file():
        return path
    folder = RunFolder(path)
    if not path.is_dir():
        raise FileRefusedError(
            f"{folder}: there is no such folder or file", remedy="name a run's folder or a bundle"
        )
    for bundle in (folder.model, folder.best):
        if bundle.is_file():
            return bundle
    if folder.facts.is_file():
        raise FileRefusedError(
            f"{folder}: the run has no model yet", remedy=f"finish it with: tenfold resume {folder}"
        )
    raise FileRefusedError(f"{folder}: there is no model.safetensors in this folder")


def _shown(value: object) -> str:
    return _escaped(f"{value:.4f}" if isinstance(value, float) else value)


def _escaped(value: object) -> str:
    return printable(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
