"""A multilayer perceptron: linear layers with ReLU between them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.models.arguments import require_arguments
from tenfold.tensors import Logits
from tenfold.types import ImageShape


class MLP(nn.Module):
    """A multilayer perceptron over the pixels.

    Args:
        input_shape: shape of one image; any.
        classes: number of classes.
        hidden: width of each hidden layer; empty makes the model linear.
        dropout: dropout probability after each hidden layer, 0 <= dropout < 1.

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
        layers = {"hidden": hidden}
        require_arguments("mlp", input_shape, classes, dropout=dropout, layers=layers)
        self.layers = perceptron(math.prod(input_shape), hidden, classes, dropout)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """Logits, one per image and class."""
        logits: Tensor = self.layers(images)
        return logits


def perceptron(
    inputs: int,
    hidden: Sequence[int],
    classes: int,
    dropout: float,
    *,
    only_the_first_drops: bool = False,
) -> nn.Sequential:
    """Linear layers over flattened features, with ReLU and dropout after the hidden ones.

    With probability 0 there are no dropout layers, so that weights have the names, such as
    `layers.3.weight`, of a network written without dropout.

    Args:
        inputs: number of features of an image.
        hidden: width of each hidden layer.
        classes: width of the last layer.
        dropout: dropout probability after the hidden layers, 0 <= dropout < 1.
        only_the_first_drops: dropout only after the first hidden layer.
    """
    layers: list[nn.Module] = [nn.Flatten()]
    for place, width in enumerate(hidden):
        layers += [nn.Linear(inputs, width), nn.ReLU()]
        if dropout and (place == 0 or not only_the_first_drops):
            layers.append(nn.Dropout(dropout))
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, classes))
