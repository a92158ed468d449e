"""An exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class AveragedWeights:
    """A moving average of the weights, which often generalizes better than the last weights.

    After step t each averaged tensor a becomes `d * a + (1 - d) * w`. `d` rises from 2/11 to
    `decay` as `(1 + t) / (10 + t)`, so that the random initial weights are soon forgotten.
    Floating-point buffers (batch norm's running statistics) are averaged too, integer ones copied.
    Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.

    Args:
        model: the model to average; the average starts as a copy of its weights.
        decay: 0 < decay < 1; about `1 - 1/decay_steps`.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Add the weights after `step` steps (counted from 1) to the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages: list[Tensor] = []
        weights: list[Tensor] = []
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                averages.append(self.tensors[name])
                weights.append(tensor)
            else:
                self.tensors[name].copy_(tensor)
        torch._foreach_lerp_(averages, weights, 1 - decay)

    @contextmanager
    def in_place_of(self, model: nn.Module) -> Iterator[None]:
        """Put the averaged weights into the model inside the block, then restore its own."""
        own = {name: t.detach().clone() for name, t in model.state_dict().items()}
        model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            model.load_state_dict(own)
