"""A building block for your own training loop: one epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from tenfold.errors import DataError
from tenfold.evaluation.passes import moved, require_batches
from tenfold.evaluation.threads import use_threads
from tenfold.models.mistakes.explaining import explained
from tenfold.models.mistakes.labels import require_one_each
from tenfold.models.mistakes.trial import device_of


def train_epoch(
    model: nn.Module,
    data: Iterable[tuple[Tensor, Tensor]],
    optimizer: torch.optim.Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.cross_entropy,
    watch: Callable[[int, float, int], None] | None = None,
) -> tuple[float, float]:
    """Train for one epoch on any batches; returns mean training loss and accuracy (0..1).

    Args:
        model: images to logits; set to training mode. It gets the batches on its device.
        data: batches of images and labels, such as a `DataLoader`.
        optimizer: over the model's parameters.
        loss: from logits and labels to the batch's mean loss.
        watch: called after every batch with its number from 1, its loss, and the number of images
            seen so far.

    Raises:
        DataError: there are no batches.
        UsageError: the data is a data set, the labels are one-hot rows, or a step fails because of
            a known mistake.
    """
    use_threads(torch.get_num_threads())
    require_batches(data)
    model.train()
    device = device_of(model)
    loss_sum, correct, seen = 0.0, 0, 0
    for number, (images, labels) in enumerate(data, start=1):
        with explained(model, images, labels):
            require_one_each(labels)
            inputs, wanted = moved(images, device), moved(labels, device)
            logits = model(inputs)
            batch_loss = loss(logits, wanted)
            optimizer.zero_grad()
            batch_loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            correct += int((logits.argmax(1) == wanted).sum())
        loss_sum += batch_loss.item() * len(labels)
        seen += len(labels)
        if watch is not None:
            watch(number, batch_loss.item(), seen)
    if not seen:
        raise DataError("train_epoch: the data has no batches, wanted at least one")
    return loss_sum / seen, correct / seen
