"""Softmax regression: one linear layer over the pixels."""

from __future__ import annotations

import math

from jaxtyping import Float
from torch import Tensor, nn

from tenfold.models.arguments import require_arguments
from tenfold.tensors import Logits
from tenfold.types import ImageShape


class Softmax(nn.Module):
    """The linear part of softmax regression; the loss applies the softmax.

    Args:
        input_shape: shape of one image; any.
        classes: number of classes.
        init_std: standard deviation of the initial weights, which are normal with mean 0; biases
            start at 0; 0 <= init_std <= 100.

    Raises:
        UsageError: an argument is out of range.
    """

    def __init__(self, input_shape: ImageShape, classes: int, *, init_std: float = 0.01) -> None:
        super().__init__()
        require_arguments("softmax", input_shape, classes, init_std=init_std)
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(math.prod(input_shape), classes)
        # On the meta device there is nothing to initialize, and PyTorch would import its compiler.
        if not self.linear.weight.is_meta:
            nn.init.normal_(self.linear.weight, mean=0.0, std=init_std)
        nn.init.zeros_(self.linear.bias)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """Logits, one per image and class."""
        logits: Tensor = self.linear(self.flatten(images))
        return logits
