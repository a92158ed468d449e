"""Pictures of a data set, of a run's mistakes, and of the inside of its network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from tenfold.data.dataset import ImageDataset
from tenfold.data.folders.walking import PICTURES_MARK
from tenfold.deployment.classifier import Classifier
from tenfold.errors import DataError, UsageError, did_you_mean
from tenfold.evaluation.report import report_of
from tenfold.listening import Listener
from tenfold.paths import exists
from tenfold.reporting.network_plots import feature_maps_figure, filters_figure
from tenfold.reporting.pages.answers import Answers
from tenfold.reporting.plots import confusion_figure, history_figure, images_figure
from tenfold.reporting.style import save_figure
from tenfold.runs.evaluate import evidence_of, parts_of
from tenfold.runs.evidence import Evidence
from tenfold.runs.folder import RunFolder, require_new
from tenfold.runs.resources import USUAL, Resources
from tenfold.runs.run import Run, open_run
from tenfold.storage import make_folder, remove_file, write_text

COLUMNS, MOST_CLASSES, MOST_MISTAKES = 10, 30, 40
"""Of samples: images of each class, and classes; and how many mistakes are shown."""

MOST_MAPS, MOST_LAYERS = 10, 4
"""Feature maps of each layer, and layers."""


class NothingToShowError(UsageError):
    """A picture that does not exist for this run."""


@dataclass(frozen=True)
class _Shown:
    """A run that pictures are drawn of."""

    run: Run
    resources: Resources
    listener: Listener

    @cached_property
    def parts(self) -> dict[str, ImageDataset]:
        data, folder = self.run.facts.data, RunFolder(self.run.folder)
        in_python = (
            f"show it in a report, with the same data: tenfold.report({str(folder)!r}, data)"
        )
        return parts_of(
            folder.path,
            remedy="put it back" if data.can_be_reopened else in_python,
            resources=self.resources,
            listener=self.listener,
        )

    @cached_property
    def evidence(self) -> Evidence:
        return evidence_of(
            self.run.folder, self.parts, resources=self.resources, listener=self.listener
        )

    @cached_property
    def held_out(self) -> ImageDataset:
        """The test images, or else the validation images."""
        for split in ("test", "val"):
            if split in self.evidence.logits:
                return self.evidence.parts[split]
        raise NothingToShowError("no images were held out, so there are no mistakes to show")

    @cached_property
    def classifier(self) -> Classifier:
        return replace(self.run, code=self.resources.own).model


def _samples(shown: _Shown) -> Figure:
    return samples_figure(shown.parts["train"])


def samples_figure(dataset: ImageDataset) -> Figure:
    """Some images of each class, a row for each."""
    indices: list[int] = []
    columns = min(COLUMNS, max(1, int(dataset.class_counts().max())))
    for label in range(min(MOST_CLASSES, len(dataset.classes))):
        there = np.flatnonzero(dataset.label_array == label)
        some = there[np.linspace(0, len(there) - 1, min(columns, len(there))).astype(int)]
        indices += some.tolist()
    return images_figure(dataset, indices, columns=columns)


def _mistakes(shown: _Shown) -> Figure:
    part = shown.held_out
    logits = shown.evidence.logits[part.split]
    answers = Answers(part, logits, shown.evidence.header.temperature)
    indices = answers.costliest[:MOST_MISTAKES].tolist()
    if not indices:
        raise NothingToShowError("there are no mistakes: all images are recognized")
    return images_figure(part, indices, answers.predicted[indices].tolist(), columns=8)


def _confusion(shown: _Shown) -> Figure:
    part = shown.held_out
    header = shown.evidence.header
    return confusion_figure(
        report_of(shown.evidence.logits[part.split], part, header.class_weights)
    )


def _history(shown: _Shown) -> Figure:
    if not shown.run.history:
        raise NothingToShowError("no epoch has ended yet, so there are no curves")
    return history_figure(shown.run.history)


def _filters(shown: _Shown) -> Figure:
    module = shown.classifier.module
    first = next(
        (each for each in module.modules() if isinstance(each, nn.Conv2d | nn.Linear)), None
    )
    weights = None if first is None else first.weight.detach().cpu().float().numpy()
    if weights is not None and weights.ndim == 2:
        shape = shown.classifier.bundle.input_shape
        weights = weights.reshape(-1, *shape) if weights.shape[1] == np.prod(shape) else None
    if weights is None:
        raise NothingToShowError("the network's first layer has no filters that could be drawn")
    return filters_figure(weights)


def _features(shown: _Shown) -> Figure:
    part = shown.held_out if len(shown.evidence.logits) else shown.evidence.parts["train"]
    pixels = part.image_array[:1]
    maps = feature_maps(shown.classifier.module, pixels)
    if not maps:
        raise NothingToShowError("the network has no convolution, so it has no feature maps")
    return feature_maps_figure(pixels, maps)


def feature_maps(module: nn.Module, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The first channels of the outputs of some convolutions, from the first to the last.

    Each is float32 of shape (channels, height, width).

    Args:
        module: raw uint8 images to logits.
        pixels: one image, n = 1.
    """
    layers = {n: each for n, each in module.named_modules() if isinstance(each, nn.Conv2d)}
    names = list(layers)
    chosen = np.linspace(0, len(names) - 1, min(MOST_LAYERS, len(names))).astype(int).tolist()
    outputs: dict[str, np.ndarray] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_layer: nn.Module, _inputs: object, output: Tensor) -> None:
            outputs[name] = output[0, :MOST_MAPS].detach().float().cpu().numpy()

        return hook

    handles = [layers[names[i]].register_forward_hook(keep(names[i])) for i in chosen]
    try:
        with torch.inference_mode():
            device = next(module.parameters()).device
            module(torch.from_numpy(pixels).to(device))
    finally:
        for handle in handles:
            handle.remove()
    # A single pixel is no picture.
    return {n.removeprefix("network."): maps for n, maps in outputs.items() if maps[0].size > 1}


WHATS: Mapping[str, Callable[[_Shown], Figure]] = {
    "samples": _samples,
    "mistakes": _mistakes,
    "confusion": _confusion,
    "history": _history,
    "filters": _filters,
    "features": _features,
}
"""What can be shown of a run, by name; a data set only has samples."""


def show_run(
    path: Path,
    folder: Path,
    what: str = "",
    *,
    resources: Resources = USUAL,
    listener: Listener | None = None,
) -> list[Path]:
    """Write pictures of a run.

    Args:
        path: the run's folder.
        folder: where they are written, as PNG.
        what: one of `WHATS`; empty for all that there are.
        resources: what the evaluation may use.
        listener: gets the progress of long reads, and what cannot be shown.

    Returns:
        The files.

    Raises:
        UsageError: `what` is unknown, there is no such picture of this run, or the folder has
            other files.
        FileRefusedError, DataError: see `parts_of` and `evidence_of`.
        StorageError: a file cannot be written.
    """
    if what and what not in WHATS:
        raise UsageError(f"there is no picture {what!r}", remedy=did_you_mean(what, WHATS))
    listener = listener or Listener()
    _require_own(folder)
    resources.require_valid()
    shown = _Shown(open_run(path), resources, listener)
    written: list[Path] = []
    told = set()
    for name in [what] if what else WHATS:
        try:
            figure = WHATS[name](shown)
        except (DataError, UsageError) as error:
            if isinstance(error, NothingToShowError):
                remove_file(folder / f"{name}.png")  # of earlier weights
            if what:
                raise
            if str(error) not in told:
                listener.note(str(error))
            told.add(str(error))
            continue
        written.append(_written(figure, folder, name))
    return written


def show_data(dataset: ImageDataset, folder: Path) -> list[Path]:
    """Write a picture of some images of each class; returns the files.

    Raises:
        UsageError: the folder has other files.
        StorageError: it cannot be written.
    """
    _require_own(folder)
    return [_written(samples_figure(dataset), folder, "samples")]


def _require_own(folder: Path) -> None:
    """Refuse a folder with other files: marked as one of pictures, they would not count as data.

    Raises:
        UsageError: it is one.
    """
    if exists(folder) and not exists(folder / PICTURES_MARK):
        require_new(RunFolder(folder))


def _written(figure: Figure, folder: Path, name: str) -> Path:
    """The file of a figure, in a folder that is marked as none of data."""
    make_folder(folder)
    write_text(folder / PICTURES_MARK, "")
    save_figure(figure, folder / f"{name}.png")
    return folder / f"{name}.png"
