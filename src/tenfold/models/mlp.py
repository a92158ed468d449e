"""A multilayer perceptron: linear layers with ReLU between them."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.models.arguments import (
    LARGEST_WIDTH,
    require_dropout,
    require_task,
    require_wholes,
)
from tenfold.tensors import Logits
from tenfold.types import ImageShape


class MLP(nn.Module):
    """A multilayer perceptron over the pixels.

    Args:
        input_shape: of one image; any.
        classes: how many there are.
        hidden: the width of every hidden layer; none makes the model linear.
        dropout: the probability that a hidden unit is silenced in training, 0 <= dropout < 1.

    Raises:
        UsageError: an argument is out of range.
    """

    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        hidden: tuple[int, ...] = (512, 512),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require_task("mlp", input_shape, classes)
        require_wholes("mlp", "hidden", hidden, LARGEST_WIDTH)
        require_dropout("mlp", dropout)
        layers: list[nn.Module] = [nn.Flatten()]
        inputs = math.prod(input_shape)
        for width in hidden:
            layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
            inputs = width
        layers.append(nn.Linear(inputs, classes))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """One logit for every image and class."""
        logits: Tensor = self.layers(images)
        return logits
