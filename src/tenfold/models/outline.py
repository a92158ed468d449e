"""A model's structure without its weights."""

from __future__ import annotations

import copy

from torch import Tensor, nn


def without_weights(model: nn.Module) -> nn.Module:
    """A copy on the meta device; no weight is copied, and shared tensors stay shared."""
    shapes: dict[int, Tensor] = {id(buffer): buffer.to("meta") for buffer in model.buffers()}
    for parameter in model.parameters():
        shapes[id(parameter)] = nn.Parameter(
            parameter.detach().to("meta"), requires_grad=parameter.requires_grad
        )
    return copy.deepcopy(model, shapes)
