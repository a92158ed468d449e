"""What takes the steps of training: the seam between the loop and whatever computes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int64
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.errors import UsageError
from tenfold.evaluation.passes import predict_logits
from tenfold.tensors import Images, Logits
from tenfold.training.state import TrainingState

Augment = Callable[[Images, Tensor, int], Images]
"""From a batch, the indices of its images in the data set, and the epoch, to a changed batch."""


@dataclass(frozen=True)
class StepSettings:
    """How a step is taken.

    Attributes:
        batch_size: images in a step; the last batch of an epoch has what is left.
        label_smoothing: the share of probability spread over all classes, 0 <= x < 1.
        clip_norm: maximum norm of all gradients together; 0 clips nothing.
        augment: changes a batch of raw images before the step; None leaves them as they are.
        class_weights: how much an image of each class counts in the loss; None for all the same.
        seed: keys what a step draws at random, where an engine does not draw it from PyTorch.

    Raises:
        UsageError: a class weight is negative or not finite, or all are 0.
    """

    batch_size: int
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    augment: Augment | None = None
    class_weights: tuple[float, ...] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        weights = self.class_weights
        if weights is not None and not (
            any(weights) and all(0 <= weight < math.inf for weight in weights)
        ):
            raise UsageError(
                f"class_weights is {list(weights)}, wanted finite numbers that are 0 or more, "
                "and not all 0"
            )


@dataclass(frozen=True)
class Stretch:
    """What came of some batches in a row.

    Attributes:
        losses: the mean loss of each batch, on the model's device.
        correct: correct predictions in all of them, an int64 scalar on the model's device.
        gradient_norms: of the last step, the largest absolute entry of the gradient of each weight
            matrix and kernel, by the parameter's name; None unless asked for.
    """

    losses: Float[Tensor, " batches"]
    correct: Int64[Tensor, ""]
    gradient_norms: Mapping[str, float] | None = None


class Engine(ABC):
    """Takes the steps of one training, epoch by epoch and stretch by stretch.

    What it computes must not depend on where the stretches begin and end. Threads of its own must
    be gone, or start again, in a process that was forked.

    Args:
        state: what is trained; the loop keeps its counters, the engine changes the rest.
        data: what to learn from.
        settings: how a step is taken.

    Attributes:
        name: in the table of engines.
        version: raised when the same training would end with other bits.

    Raises:
        UsageError: there is not one class weight for every class of the data.
    """

    name: ClassVar[str]
    version: ClassVar[int]

    def __init__(self, state: TrainingState, data: ImageDataset, settings: StepSettings) -> None:
        weights, classes = settings.class_weights, len(data.classes)
        if weights is not None and len(weights) != classes:
            raise UsageError(
                f"class_weights has {len(weights)} numbers, wanted {classes}, one for every class"
            )
        self.state, self.data, self.settings = state, data, settings

    @abstractmethod
    def begin_epoch(self, epoch: int, order: Int64[Tensor, " n"]) -> None:
        """Get ready for an epoch, counted from 0, that visits the images in this order."""

    @abstractmethod
    def advance(
        self, first: int, learning_rates: Sequence[float], *, gradient_norms: bool = False
    ) -> Stretch:
        """Take the steps of the epoch's batches `first`, `first + 1`, ..., one a learning rate.

        `state.step` is the number of steps taken before.
        """

    def logits(self, images: Images, batch_size: int) -> Logits:
        """The model as it would be used now (averaged, in evaluation mode) on raw images."""
        with self.state.final_weights_in_place():
            return predict_logits(self.state.model, images, batch_size=batch_size)

    def close(self) -> None:  # noqa: B027 - most have nothing to give back
        """Give back what the engine holds; it is of no use any more."""


MakeEngine = Callable[[TrainingState, ImageDataset, StepSettings], Engine]
"""An engine's class, or whatever makes one."""
