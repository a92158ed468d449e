"""Softmax regression from raw tensors: what layers, losses and optimizers do for you.

Read it from top to bottom. With `train_data` and `test_data`, two lists of (images, labels)
batches, this trains a classifier of 28x28 pixels into 10 classes:

    weights, bias = new_parameters(28 * 28, 10)

    def net(images):
        return linear(images, weights, bias)

    def updater(batch_size):
        sgd([weights, bias], lr=0.1, batch_size=batch_size)

    train(net, train_data, test_data, cross_entropy, 10, updater)

Nothing here asks that `net` be a module: any function from images to logits will do. Images are
floats, or raw pixels 0..255 as uint8, which are scaled to 0..1 before `net` sees them.
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
"""From float images to logits, or to other scores of which the largest wins."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""From scores and labels to one loss for every image."""

Updater = torch.optim.Optimizer | Callable[[int], None]
"""An optimizer, or a function of the batch size that changes the parameters by their gradients."""

Batches = Iterable[tuple[Tensor, Tensor]]
"""Batches of images and labels; something that can be gone through once an epoch."""


# ---- The model ---------------------------------------------------------------------------------


def new_parameters(inputs: int, classes: int, *, std: float = 0.01) -> tuple[Tensor, Tensor]:
    """Weights from a normal distribution (mean 0, deviation `std`) and biases of 0."""
    weights = (std * torch.randn(inputs, classes)).requires_grad_()
    bias = torch.zeros(classes).requires_grad_()
    return weights, bias


def linear(
    images: Float[Tensor, "n ..."],
    weights: Float[Tensor, "inputs classes"],
    bias: Float[Tensor, " classes"],
) -> Logits:
    """Every class's logit is a weighted sum of all pixels, and a bias."""
    return images.flatten(start_dim=1) @ weights + bias


# ---- From logits to probabilities --------------------------------------------------------------


def naive_softmax(logits: Logits) -> Float[Tensor, "n classes"]:
    """Probabilities as the formula says; above about 88, exp is no longer a float32."""
    powers = torch.exp(logits)
    return powers / powers.sum(dim=1, keepdim=True)


def softmax(logits: Logits) -> Float[Tensor, "n classes"]:
    """Probabilities: positive, and in every row they add up to 1.

    Shifting a row of logits does not change its probabilities. So the largest becomes 0, and no
    exp is larger than 1.
    """
    powers = torch.exp(logits - largest(logits))
    return powers / powers.sum(dim=1, keepdim=True)


def largest(logits: Logits) -> Float[Tensor, "n 1"]:
    """Every row's largest logit, as a number that no gradient flows through."""
    return logits.detach().amax(dim=1, keepdim=True)


# ---- The loss ----------------------------------------------------------------------------------


def naive_cross_entropy(
    probabilities: Float[Tensor, "n classes"], labels: Labels
) -> Float[Tensor, " n"]:
    """Minus the logarithm of the true class's probability; infinite where that rounds to 0."""
    return -torch.log(of_true_class(probabilities, labels))


def cross_entropy(logits: Logits, labels: Labels) -> Float[Tensor, " n"]:
    """The same loss from logits, finite for all of them: one loss for every image.

    The logarithm of softmax's quotient is a difference: -log(exp(z_true) / sum(exp(z))) is
    log(sum(exp(z))) - z_true. With all z shifted by their largest, the sum is between 1 and the
    number of classes.
    """
    shifted = logits - largest(logits)
    log_of_sum = torch.log(torch.exp(shifted).sum(dim=1))
    return log_of_sum - of_true_class(shifted, labels)


def of_true_class(scores: Float[Tensor, "n classes"], labels: Labels) -> Float[Tensor, " n"]:
    """Out of every row the entry that the label points at."""
    # Unlike scores[rows, labels], gather refuses a label of -1 instead of taking the last class.
    return scores.gather(1, labels.unsqueeze(1)).squeeze(1)


# ---- Measuring ---------------------------------------------------------------------------------


def accuracy(scores: Float[Tensor, "n classes"], labels: Labels) -> int:
    """How many predictions are correct: a count, so that batches of any size can be added."""
    return int((scores.argmax(dim=1) == labels).sum())


class Accumulator:
    """Running sums of n numbers.

    Args:
        n: how many sums there are.
    """

    def __init__(self, n: int) -> None:
        self._sums = [0.0] * n

    def add(self, *numbers: SupportsFloat) -> None:
        """Add one number to every sum; a tensor of one element counts as its value.

        Raises:
            UsageError: there are more or fewer numbers than sums.
        """
        if len(numbers) != len(self._sums):
            raise UsageError(
                f"accumulator: {len(numbers)} numbers to add, wanted {len(self._sums)}"
            )
        # A float of each: a sum of tensors would keep the graphs of all their gradients alive.
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
    """The share of images, 0..1, whose largest score is the true class's.

    A module is put into evaluation mode, and stays in it.

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
        params: changed in place; their gradients are set to 0 for the next step.
        lr: the learning rate.
        batch_size: how many images the loss was summed over.

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
    """Go through the data once and learn from every batch.

    A module is put into training mode.

    Returns:
        The mean loss and the share of correct predictions, 0..1, over all images, each measured
        before its batch was learned from.

    Raises:
        UsageError: the loss is not one number for every image.
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
    """Compute the gradients and let the updater use them.

    An optimizer works with the mean loss. A function gets the gradients of the summed loss, and
    the batch size to divide them by; it also sets them back to 0.

    Raises:
        UsageError: the loss is not one number for every image.
    """
    if losses.ndim != 1:
        raise UsageError(
            f"loss: it has shape {list(losses.shape)}, wanted one number for every image",
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
    """Train for some epochs, and look at the test data after each, without learning from it.

    Args:
        net: any function from float images to logits.
        train_data: batches to learn from.
        test_data: batches to measure the accuracy on.
        loss: one loss for every image, such as `cross_entropy`.
        epochs: passes over the training data.
        updater: an optimizer, or a function of the batch size.
        watch: called with the figures of every epoch as it ends, to print or plot them.

    Raises:
        UsageError: the loss is not one number for every image.
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
    """Some images, their true labels, and what the model takes them for."""

    images: Tensor
    labels: Tensor
    predicted: Tensor


@torch.no_grad()
def predict(net: Net, data: Batches, n: int = 6) -> Predictions:
    """The model's answers for the first n images of the first batch.

    A module is put into evaluation mode, and stays in it.

    Raises:
        DataError: there are no images.
    """
    set_training(net, training=False)
    images, labels = next(iter(data), (torch.empty(0), torch.empty(0)))
    require_images(len(labels))
    images, labels = images[:n], labels[:n]
    return Predictions(images, labels, net(as_floats(images)).argmax(dim=1))


# ---- Small things that the functions above share -----------------------------------------------


def as_floats(images: Tensor) -> Tensor:
    """Raw pixels scaled to 0..1; floats as they are.

    Raises:
        UsageError: the images are neither uint8 nor floats.
    """
    if images.dtype == torch.uint8:
        return images.float() / 255
    if not images.is_floating_point():
        raise UsageError(
            f"images: they are {images.dtype}, wanted raw pixels 0..255 as torch.uint8, or floats"
        )
    return images


def set_training(net: Net, *, training: bool) -> None:
    """Tell a module whether it is being trained; a plain function does not need to know."""
    if isinstance(net, nn.Module):
        net.train(training)


def require_images(count: float | int) -> None:
    """Refuse data that gave no images.

    Raises:
        DataError: the count is 0.
    """
    if count == 0:
        raise DataError(
            "data: there are no images in it",
            remedy="hand over a list or a loader; a generator is used up after one epoch",
        )
