"""For notebooks: a plot that grows while training, and rows of images with predictions.

    from tenfold.notebook import LivePlot, show_images

    plot = LivePlot()
    for epoch in range(1, 11):
        ...
        plot.add(epoch, train_loss=loss, train_acc=right / n, test_acc=test_right / test_n)
    show_images(test_data, model)

Outside a notebook the same calls write files.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import SupportsIndex

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.data.dataset import ImageDataset
from tenfold.deployment.classifier import Classifier
from tenfold.errors import UsageError
from tenfold.evaluation.passes import evaluation_mode
from tenfold.models.preprocessing import Preprocessing
from tenfold.reporting.live import LivePlot, show_figure
from tenfold.reporting.plots import (
    checked_indices,
    confusion_figure,
    history_figure,
    images_figure,
)
from tenfold.reporting.style import save_figure
from tenfold.scratch import as_floats

__all__ = [
    "LivePlot",
    "confusion_figure",
    "history_figure",
    "images_figure",
    "save_figure",
    "show_figure",
    "show_images",
]

Network = Callable[[Tensor], Tensor]
"""A module or other function from images to logits, n x classes."""

Predictions = Classifier | Network | Sequence[SupportsIndex | str] | Tensor | np.ndarray
"""A classifier or network, or a class index or name for each image."""

Indices = Sequence[SupportsIndex] | Tensor | np.ndarray


def show_images(
    dataset: ImageDataset,
    predictions: Predictions | None = None,
    indices: Indices | None = None,
    rows: int = 2,
    columns: int = 8,
    *,
    path: str | Path | None = None,
) -> None:
    """Show images, each titled with its true class and below that the predicted one.

    A list of predictions is for the whole data set, for `indices`, or, without `indices`, for the
    first images. A network is called in evaluation mode, with raw pixels if it contains a
    `tenfold.models.Preprocessing`, otherwise with floats in 0..1.

    Args:
        dataset: the images.
        predictions: see `Predictions`; None to show only the true classes.
        indices: which images; None for some spread evenly over the data set.
        rows: maximum number of rows, unless `indices` is given.
        columns: images per row.
        path: a file that ends in `.png` or `.svg`; required outside a notebook.

    Raises:
        UsageError: it is not an `ImageDataset`, the predictions do not fit the images, the network
            does not return one logit per class, an index is out of range, or there is neither a
            notebook nor a path.
        DataError: the classifier takes images of another shape.
        StorageError: the file cannot be written.
    """
    if not isinstance(dataset, ImageDataset):
        raise UsageError(
            f"images: found an object of type {type(dataset).__name__}, wanted an ImageDataset",
            remedy="choose a split, such as tenfold.data.load_splits('digits').splits.test",
        )
    if rows < 1 or columns < 1:
        raise UsageError(f"images: rows and columns are {rows} and {columns}, wanted at least 1")
    listed: list[SupportsIndex | str] | None = None
    ask: Callable[[ImageDataset], Sequence[SupportsIndex | str]] | None = None
    if isinstance(predictions, Classifier):
        ask = predictions.predict
    elif callable(predictions):
        ask = partial(_answers, predictions)
    elif predictions is not None:
        listed = [*predictions]
        if len(listed) > len(dataset):
            raise UsageError(f"images: {len(listed):,} predictions for {len(dataset):,} images")
    if indices is not None:
        places = checked_indices(dataset, indices)
    elif listed is None or len(listed) == len(dataset):
        places = _spread(dataset, rows * columns)
    else:
        places = [*range(min(rows * columns, len(listed)))]
    if ask is not None:
        listed = [*ask(dataset.select(torch.tensor(places)))]
    elif listed is not None and (indices is None or len(listed) == len(dataset)):
        # A shorter list with indices is for these indices already.
        listed = [listed[place] for place in places]
    show_figure(
        images_figure(dataset, places, listed, columns=columns),
        path,
        alt=f"{len(places)} images of {dataset.source} ({dataset.split})",
    )


def _answers(net: Network, dataset: ImageDataset) -> list[int]:
    """The class that a network predicts for each image.

    Raises:
        UsageError: it does not return one logit per class.
    """
    modules = list(net.modules()) if isinstance(net, nn.Module) else []
    scales = any(isinstance(module, Preprocessing) for module in modules)
    images = dataset.images if scales else as_floats(dataset.images)
    tensors = net.parameters() if isinstance(net, nn.Module) else iter(())
    with evaluation_mode(net), torch.inference_mode():
        logits = net(images.to(next(tensors, images).device))
    wanted = (len(dataset), len(dataset.classes))
    if not isinstance(logits, Tensor) or logits.shape != wanted:
        found = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UsageError(
            f"images: the network returned {found}, wanted logits of shape {list(wanted)}"
        )
    labels: list[int] = logits.argmax(1).tolist()
    return labels


def _spread(dataset: ImageDataset, most: int) -> list[int]:
    """Indices spread over a data set, so that one sorted by class shows all classes."""
    return torch.linspace(0, len(dataset) - 1, min(most, len(dataset))).long().tolist()
