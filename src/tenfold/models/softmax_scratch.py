"""Softmax regression whose parameters are two raw tensors."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from tenfold.models.arguments import require_arguments
from tenfold.scratch import linear
from tenfold.tensors import Logits
from tenfold.types import ImageShape


class SoftmaxScratch(nn.Module):
    """Softmax regression as in `tenfold.scratch`: the parameters are `W` and `b`.

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
        require_arguments("softmax-scratch", input_shape, classes, init_std=init_std)
        self.W = nn.Parameter(torch.empty(math.prod(input_shape), classes))
        self.b = nn.Parameter(torch.empty(classes))
        # On the meta device there is nothing to initialize, and PyTorch would import its compiler.
        if not self.W.is_meta:
            nn.init.normal_(self.W, mean=0.0, std=init_std)
        nn.init.zeros_(self.b)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Logits:
        """Logits, one per image and class."""
        return linear(images, self.W, self.b)
