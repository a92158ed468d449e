"""The residual networks of torchvision, computed by functions from the names of their weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet34": (3, 4, 6, 3), "resnet50": (3, 4, 6, 3)}


def plain_logits(
    name: str, weights: dict[str, Tensor], images: Tensor, *, stride: int = 2, pool: bool = True
) -> Tensor:
    """The logits, from functions and the names that torchvision gives the weights."""

    def conv(x: Tensor, key: str, stride: int = 1) -> Tensor:
        weight = weights[f"{key}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(x: Tensor, key: str) -> Tensor:
        mean, var = weights[f"{key}.running_mean"], weights[f"{key}.running_var"]
        return F.batch_norm(x, mean, var, weights[f"{key}.weight"], weights[f"{key}.bias"])

    x = F.relu(norm(conv(images, "conv1", stride), "bn1"))
    if pool:
        x = F.max_pool2d(x, 3, 2, 1)
    for stage, blocks in enumerate(BLOCKS[name], 1):
        for block in range(blocks):
            key = f"layer{stage}.{block}"
            by = 2 if stage > 1 and block == 0 else 1
            shortcut = x
            if f"{key}.downsample.0.weight" in weights:
                shortcut = norm(conv(x, f"{key}.downsample.0", by), f"{key}.downsample.1")
            if name == "resnet50":
                y = F.relu(norm(conv(x, f"{key}.conv1"), f"{key}.bn1"))
                y = F.relu(norm(conv(y, f"{key}.conv2", by), f"{key}.bn2"))
                y = norm(conv(y, f"{key}.conv3"), f"{key}.bn3")
            else:
                y = F.relu(norm(conv(x, f"{key}.conv1", by), f"{key}.bn1"))
                y = norm(conv(y, f"{key}.conv2"), f"{key}.bn2")
            x = F.relu(y + shortcut)
    return F.linear(x.mean((2, 3)), weights["fc.weight"], weights["fc.bias"])


def shuffled(network: torch.nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """Random values for every weight and every statistic, as of a trained network."""
    generator = torch.Generator().manual_seed(seed)
    values = {}
    for name, tensor in network.state_dict().items():
        if tensor.dtype != torch.float32:
            values[name] = tensor
            continue
        noise = torch.randn(tensor.shape, generator=generator)
        fan = tensor[0].numel() if tensor.ndim > 1 else 1
        values[name] = noise.mul(0.1).add(1).abs() if tensor.ndim == 1 else noise * (2 / fan) ** 0.5
    return values
