"""Gradient-free passes over data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.data.dataset import ImageDataset
from tenfold.errors import DataError, UsageError
from tenfold.evaluation.report import Report, report_of
from tenfold.models.mistakes.explaining import explained
from tenfold.models.mistakes.labels import require_one_each
from tenfold.models.mistakes.trial import device_of
from tenfold.tensors import Images, Logits


def evaluate(model: nn.Module, dataset: ImageDataset, *, batch_size: int = 1024) -> Report:
    """Evaluate a model on a data set.

    Args:
        model: raw uint8 images to logits; the computation runs on its device.
        dataset: on any device.
        batch_size: images at once; the last batch may be smaller.

    Raises:
        UsageError: the model does not give one logit per class.
    """
    return report_of(predict_logits(model, dataset.images, batch_size=batch_size), dataset)


def predict_logits(model: nn.Module, images: Images, *, batch_size: int = 1024) -> Logits:
    """Logits of all images, on the model's device, in evaluation mode and without gradients."""
    device = next((p.device for p in model.parameters()), images.device)
    with evaluation_mode(model), torch.inference_mode(), explained(model, images):
        logits = torch.cat([model(batch.to(device)) for batch in torch.split(images, batch_size)])
    return logits.float() if logits.dtype == torch.bfloat16 else logits  # NumPy has no bfloat16


def evaluate_accuracy(
    net: Callable[[Tensor], Tensor], data: Iterable[tuple[Tensor, Tensor]]
) -> float:
    """Accuracy of any callable over any batches, 0..1.

    Args:
        net: images to logits or probabilities, shape (n, classes); an `nn.Module` is temporarily
            put into evaluation mode, and gets the batches on its device.
        data: batches of images and labels, such as a `DataLoader`.

    Raises:
        DataError: there are no batches.
        UsageError: the data is a data set, the labels are one-hot rows, or the network fails
            because of a known mistake.
    """
    require_batches(data)
    device = device_of(net) if isinstance(net, nn.Module) else None
    correct = seen = 0
    with evaluation_mode(net), torch.inference_mode():
        for images, labels in data:
            with explained(net, images, labels):
                require_one_each(labels)
                inputs, wanted = moved(images, device), moved(labels, device)
                correct += int((net(inputs).argmax(1) == wanted).sum())
            seen += len(labels)
    if not seen:
        raise DataError("evaluate_accuracy: the data has no batches, wanted at least one")
    return correct / seen


def moved(tensor: Any, device: torch.device | None) -> Any:  # noqa: ANN401 - explained if it is none
    """The tensor on this device; None leaves it where it is."""
    return tensor if device is None else tensor.to(device)


def require_batches(data: object) -> None:
    """Refuse a data set where batches are wanted.

    Raises:
        UsageError: it is one.
    """
    if isinstance(data, ImageDataset):
        raise UsageError(
            "found an ImageDataset, wanted batches of images and labels",
            remedy="wrap it in tenfold.data.DataLoader(dataset, batch_size=64)",
        )


@contextmanager
def evaluation_mode(net: object) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards, each module's mode is restored."""
    modules = net.modules() if isinstance(net, nn.Module) else ()
    modes = [(module, module.training) for module in modules]
    if isinstance(net, nn.Module):
        net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
