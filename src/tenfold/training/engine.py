"""The engine interface: what the training loop calls to take steps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError
from tenfold.evaluation.passes import predict_logits
from tenfold.tensors import Images, Logits
from tenfold.training.acceleration import PLAIN, Acceleration
from tenfold.training.state import TrainingState

Augment = Callable[[Images, Tensor, int], Images]
"""From a batch, its images' indices in the data set, and the epoch to an augmented batch."""


@dataclass(frozen=True)
class StepSettings:
    """How to take a step.

    Attributes:
        batch_size: images per step; an epoch's last batch may be smaller.
        label_smoothing: the probability spread over all classes, 0 <= x < 1.
        clip_norm: maximum norm of all gradients together; 0 for no clipping.
        augment: augments a batch of raw images before the step; None for no augmentation.
        class_weights: weight of each class in the loss; None for equal weights.
        seed: keys a step's random numbers, if the engine does not draw them from PyTorch.
        acceleration: how PyTorch computes a step.

    Raises:
        UsageError: a class weight is negative or not finite, or all are 0.
    """

    batch_size: int
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    augment: Augment | None = None
    class_weights: tuple[float, ...] | None = None
    seed: int = 0
    acceleration: Acceleration = PLAIN

    def __post_init__(self) -> None:
        weights = self.class_weights
        if weights is not None and not (
            any(weights) and all(0 <= weight < math.inf for weight in weights)
        ):
            raise UsageError(
                f"class_weights is {list(weights)}, wanted finite numbers of at least 0, "
                "not all of them 0"
            )


@dataclass(frozen=True)
class Stretch:
    """The result of some consecutive batches.

    Attributes:
        losses: the mean loss of each batch, on the model's device.
        correct: total correct predictions, an int64 scalar on the model's device.
        gradient_norms: for each weight matrix and kernel, the largest absolute entry of its
            gradient in the last step, by parameter name; None unless requested.
    """

    losses: Float[Tensor, " batches"]
    correct: Int64[Tensor, ""]
    gradient_norms: Mapping[str, float] | None = None


class Engine(ABC):
    """Takes the steps of one training run, epoch by epoch and stretch by stretch.

    Results must not depend on where stretches begin and end. In a forked process, the engine must
    have no threads or start them again.

    Args:
        state: what to train; the loop updates the counters, the engine everything else.
        data: the training images.
        settings: how to take a step.

    Attributes:
        name: in the table of engines.
        version: incremented when the same training would end with different bits.
        note: on the choice of the engine, for whoever watches; empty for nothing.

    Raises:
        UsageError: the number of class weights differs from the number of classes.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    note: str = ""

    def __init__(self, state: TrainingState, data: ImageDataset, settings: StepSettings) -> None:
        weights, classes = settings.class_weights, len(data.classes)
        if weights is not None and len(weights) != classes:
            raise UsageError(
                f"class_weights has {len(weights)} numbers, wanted {classes}, one per class"
            )
        self.state, self.data, self.settings = state, data, settings

    @abstractmethod
    def begin_epoch(self, epoch: int, order: Int64[Tensor, " n"]) -> None:
        """Prepare for an epoch, counted from 0, that visits the images in this order."""

    @abstractmethod
    def advance(
        self, first: int, learning_rates: Sequence[float], *, gradient_norms: bool = False
    ) -> Stretch:
        """Take a step on the epoch's batches `first`, `first + 1`, ..., one per learning rate.

        `state.step` is the number of steps taken before the first.
        """

    def logits(self, images: Images, batch_size: int) -> Logits:
        """The current model's logits for raw images, in evaluation mode with averaged weights."""
        with self.final_weights_in_place():
            return self.logits_as_it_is(images, batch_size)

    @contextmanager
    def final_weights_in_place(self) -> Iterator[None]:
        """Put the averaged weights, if there are any, into the model, in their usual layout."""
        model, acceleration = self.state.model, self.settings.acceleration
        with self.state.final_weights_in_place(), acceleration.evaluating(model):
            yield

    def logits_as_it_is(self, images: Images, batch_size: int) -> Logits:
        """The logits with the weights that the model has now."""
        return predict_logits(self.state.model, images, batch_size=batch_size)

    def close(self) -> None:  # noqa: B027 - most have nothing to release
        """Release the engine's resources; it cannot be used afterwards."""


MakeEngine = Callable[[TrainingState, ImageDataset, StepSettings], Engine]
"""An engine's class, or a function that creates an engine."""
