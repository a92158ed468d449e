"""Softmax regression from raw tensors: what layers, losses and optimizers do for you.

Read it from top to bottom. With `train_data` and `test_data`, two lists of (images, labels)
batches, this trains a classifier of 28x28 pixels into 10 classes:

    weights, bias = new_parameters(28 * 28, 10)

    def net(images):
        return linear(images, weights, bias)

    def updater(batch_size):
        sgd([weights, bias], lr=0.1, batch_size=batch_size)

    train(net, train_data, test_data, cross_entropy, 10, updater)

`net` need not be a module: any function from images to logits works. Images are floats, or raw
pixels 0..255 as uint8, which are scaled to 0..1 before `net` sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, SupportsFloat

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.errors import DataError, UsageError
from tenfold.tensors import Labels, Logits

Net = Callable[[Tensor], Tensor]
"""From float images to logits, or to any scores whose argmax is the prediction."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""From scores and labels to one loss per image."""

Updater = torch.optim.Optimizer | Callable[[int], None]
"""An optimizer, or a function of the batch size that updates the parameters by their gradients."""

Batches = Iterable[tuple[Tensor, Tensor]]
"""Batches of images and labels; must be iterable once per epoch."""


# ---- The model ---------------------------------------------------------------------------------


def new_parameters(inputs: int, classes: int, *, std: float = 0.01) -> tuple[Tensor, Tensor]:
    """Weights from a normal distribution (mean 0, standard deviation `std`), and zero biases."""
    weights = (std * torch.randn(inputs, classes)).requires_grad_()
    bias = torch.zeros(classes).requires_grad_()
    return weights, bias


def linear(
    images: Float[Tensor, "n ..."],
    weights: Float[Tensor, "inputs classes"],
    bias: Float[Tensor, " classes"],
) -> Logits:
    """Logits: for each class a weighted sum of all pixels, plus a bias."""
    return images.flatten(start_dim=1) @ weights + bias


# ---- From logits to probabilities --------------------------------------------------------------


def naive_softmax(logits: Logits) -> Float[Tensor, "n classes"]:
    """Probabilities straight from the formula; in float32, exp overflows above about 88."""
    powers = torch.exp(logits)
    return powers / powers.sum(dim=1, keepdim=True)


def softmax(logits: Logits) -> Float[Tensor, "n classes"]:
    """Probabilities: positive, each row sums to 1.

    Shifting a row of logits does not change its probabilities. So the largest is shifted to 0, and
    no exp is larger than 1.
    """
    powers = torch.exp(logits - largest(logits))
    return powers / powers.sum(dim=1, keepdim=True)


def largest(logits: Logits) -> Float[Tensor, "n 1"]:
    """The largest logit of each row, detached from the graph."""
    return logits.detach().amax(dim=1, keepdim=True)


# ---- The loss ----------------------------------------------------------------------------------


def naive_cross_entropy(
    probabilities: Float[Tensor, "n classes"], labels: Labels
) -> Float[Tensor, " n"]:
    """Minus the logarithm of the true class's probability; infinite where that rounds to 0."""
    return -torch.log(of_true_class(probabilities, labels))


def cross_entropy(logits: Logits, labels: Labels) -> Float[Tensor, " n"]:
    """The same loss from logits, always finite: one loss per image.

    The log of the quotient is a difference: -log(exp(z_true) / sum(exp(z))) is
    log(sum(exp(z))) - z_true. With all z shifted by their largest, the sum is between 1 and the
    number of classes.
    """
    shifted = logits - largest(logits)
    log_of_sum = torch.log(torch.exp(shifted).sum(dim=1))
    return log_of_sum - of_true_class(shifted, labels)


def of_true_class(scores: Float[Tensor, "n classes"], labels: Labels) -> Float[Tensor, " n"]:
    """From each row, the score of the labeled class."""
    # Unlike scores[rows, labels], gather rejects a label of -1 instead of taking the last class.
    return scores.gather(1, labels.unsqueeze(1)).squeeze(1)


# ---- Measuring ---------------------------------------------------------------------------------


def accuracy(scores: Float[Tensor, "n classes"], labels: Labels) -> int:
    """The number of correct predictions: a count, so that batches of any size can be added."""
    return int((scores.argmax(dim=1) == labels).sum())


class Accumulator:
    """Running sums of n numbers.

    Args:
        n: the number of sums.
    """

    def __init__(self, n: int) -> None:
        self._sums = [0.0] * n

    def add(self, *numbers: SupportsFloat) -> None:
        """Add one number to every sum; a tensor of one element counts as its value.

        Raises:
            UsageError: the count of numbers is not n.
        """
        if len(numbers) != len(self._sums):
            raise UsageError(
                f"accumulator: got {len(numbers)} numbers to add, wanted {len(self._sums)}"
            )
        # Plain floats: a sum of tensors would keep every autograd graph alive.
        values = [float(n.detach() if isinstance(n, Tensor) else n) for n in numbers]
        self._sums = [total + value for total, value in zip(self._sums, values, strict=True)]

    def reset(self) -> None:
        """Set every sum to 0."""
        self._sums = [0.0] * len(self._sums)

    def __getitem__(self, index: int) -> float:
        return self._sums[index]

    def __len__(self) -> int:
        return len(self._sums)


@torch.no_grad()
def evaluate_accuracy(net: Net, data: Batches) -> float:
    """The share of images classified correctly, 0..1.

    A module is switched to evaluation mode, and stays there.

    Raises:
        DataError: there are no images.
    """
    set_training(net, training=False)
    sums = Accumulator(2)  # correct predictions, images
    for images, labels in data:
        sums.add(accuracy(net(as_floats(images)), labels), len(labels))
    require_images(sums[1])
    return sums[0] / sums[1]


# ---- Training ----------------------------------------------------------------------------------


@torch.no_grad()
def sgd(params: Iterable[Tensor], lr: float, batch_size: int) -> None:
    """One step of stochastic gradient descent, for gradients of a loss summed over the batch.

    Args:
        params: updated in place; their gradients are reset to 0 for the next step.
        lr: the learning rate.
        batch_size: the number of images the loss was summed over.

    Raises:
        UsageError: a parameter has no gradient.
    """
    for param in params:
        if param.grad is None:
            raise UsageError(
                f"sgd: a parameter of shape {list(param.shape)} has no gradient",
                remedy="call backward() on a loss that depends on it first",
            )
        param -= lr * param.grad / batch_size
        param.grad.zero_()


def train_epoch(net: Net, data: Batches, loss: Loss, updater: Updater) -> tuple[float, float]:
    """Train for one pass over the data.

    A module is switched to training mode.

    Returns:
        The mean loss and the share of correct predictions, 0..1, over all images, each measured
        before the update on its batch.

    Raises:
        UsageError: the loss is not one number per image.
        DataError: there are no images.
    """
    set_training(net, training=True)
    sums = Accumulator(3)  # loss, correct predictions, images
    for images, labels in data:
        scores = net(as_floats(images))
        losses = loss(scores, labels)
        learn(losses, updater)
        sums.add(float(losses.detach().sum()), accuracy(scores, labels), len(labels))
    require_images(sums[2])
    return sums[0] / sums[2], sums[1] / sums[2]


def learn(losses: Tensor, updater: Updater) -> None:
    """Compute the gradients and update the parameters.

    An optimizer steps on the mean loss. A function gets the gradients of the summed loss, and the
    batch size to divide them by; it also resets them to 0.

    Raises:
        UsageError: the loss is not one number per image.
    """
    if losses.ndim != 1:
        raise UsageError(
            f"loss: its shape is {list(losses.shape)}, wanted one number per image",
            remedy="with PyTorch's losses, pass reduction='none'",
        )
    if isinstance(updater, torch.optim.Optimizer):
        updater.zero_grad()
        losses.mean().backward()  # type: ignore[no-untyped-call]
        updater.step()
    else:
        losses.sum().backward()  # type: ignore[no-untyped-call]
        updater(len(losses))


class Epoch(NamedTuple):
    """The figures of one epoch; accuracies are shares, 0..1."""

    epoch: int
    train_loss: float
    train_acc: float
    test_acc: float


def train(
    net: Net,
    train_data: Batches,
    test_data: Batches,
    loss: Loss,
    epochs: int,
    updater: Updater,
    *,
    watch: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train for some epochs, and measure the test accuracy after each.

    Args:
        net: any function from float images to logits.
        train_data: batches to learn from.
        test_data: batches to measure the accuracy on, never trained on.
        loss: one loss per image, such as `cross_entropy`.
        epochs: passes over the training data.
        updater: an optimizer, or a function of the batch size.
        watch: called with the figures of each epoch as it ends, to print or plot them.

    Raises:
        UsageError: the loss is not one number per image.
        DataError: there are no images.
    """
    history = []
    for epoch in range(1, epochs + 1):
        train_loss, train_acc = train_epoch(net, train_data, loss, updater)
        figures = Epoch(epoch, train_loss, train_acc, evaluate_accuracy(net, test_data))
        history.append(figures)
        if watch is not None:
            watch(figures)
    return history


# ---- Using the model ---------------------------------------------------------------------------


class Predictions(NamedTuple):
    """Some images, their true labels, and the predicted ones."""

    images: Tensor
    labels: Tensor
    predicted: Tensor


@torch.no_grad()
def predict(net: Net, data: Batches, n: int = 6) -> Predictions:
    """Predictions for the first n images of the first batch.

    A module is switched to evaluation mode, and stays there.

    Raises:
        DataError: there are no images.
    """
    set_training(net, training=False)
    images, labels = next(iter(data), (torch.empty(0), torch.empty(0)))
    require_images(len(labels))
    images, labels = images[:n], labels[:n]
    return Predictions(images, labels, net(as_floats(images)).argmax(dim=1))


# ---- Shared helpers ----------------------------------------------------------------------------


def as_floats(images: Tensor) -> Tensor:
    """Raw pixels scaled to 0..1; floats unchanged.

    Raises:
        UsageError: the images are neither uint8 nor floats.
    """
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise UsageError(
            f"images: the dtype is {images.dtype}, wanted raw pixels 0..255 as torch.uint8, or "
            "floats"
        )
    return images


def set_training(net: Net, *, training: bool) -> None:
    """Switch a module between training and evaluation mode; a plain function has no modes."""
    if isinstance(net, nn.Module):
        net.train(training)


def require_images(count: float | int) -> None:
    """Refuse data without images.

    Raises:
        DataError: the count is 0.
    """
    if count == 0:
        raise DataError(
            "data: it has no images",
            remedy="pass a list or a loader; a generator is used up after one epoch",
        )
