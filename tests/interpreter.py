"""A list of layers, run with PyTorch's functions: what the list means, as short as can be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

from tenfold.models.layers import IMAGES, Layer


def interpret(
    layers: Sequence[Layer],
    weights: Mapping[str, Tensor],
    images: Tensor,
    *,
    training: bool = False,
) -> Tensor:
    """The logits; in training, what batch normalization keeps is changed in place."""
    outputs = {IMAGES: images}
    for place, layer in enumerate(layers):
        x, *others = (outputs[source] for source in layer.sources())
        tensors = [weights[name] for name, _ in layer.tensors()]
        outputs[place] = _run(layer, tensors, x, others, training)
    return outputs[len(layers) - 1]


def _run(
    layer: Layer, tensors: list[Tensor], x: Tensor, others: list[Tensor], training: bool
) -> Tensor:
    match layer.op:
        case "conv2d":
            return F.conv2d(x, *tensors, stride=layer.stride, padding=layer.padding)
        case "max_pool2d":
            return F.max_pool2d(x, layer.kernel_size, layer.stride, layer.padding)
        case "average_pool2d":
            return F.avg_pool2d(x, layer.kernel_size, layer.stride, layer.padding)
        case "global_average_pool":
            return x.mean(dim=(2, 3), keepdim=True)
        case "relu":
            return F.relu(x)
        case "flatten":
            return x.flatten(start_dim=1)
        case "linear" if layer.transposed:
            weight, bias = tensors
            return x @ weight + bias
        case "linear":
            return F.linear(x, *tensors)
        case "dropout":
            return F.dropout(x, layer.p, training)
        case "batch_norm2d":
            weight, bias, mean, variance, count = tensors
            if training:
                count.add_(1)
            return F.batch_norm(
                x, mean, variance, weight, bias, training, layer.momentum, layer.eps
            )
        case "add":
            return x + others[0]
    raise AssertionError(layer.op)
