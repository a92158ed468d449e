"""One training step: a plain function handed to the loop, so that another can take its place."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tenfold.types import Images, Labels, Logits

TrainStep = Callable[..., tuple[Tensor, Tensor]]
"""Takes what `train_step` takes and gives what it gives."""


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    images: Images,
    labels: Labels,
    *,
    label_smoothing: float = 0.0,
    clip_norm: float = 0.0,
) -> tuple[Tensor, Logits]:
    """Forward, backward, update; the batch's mean loss (a scalar) and its logits, detached.

    Args:
        model: raw images to logits, in training mode.
        optimizer: over the model's parameters.
        images: one batch, on the model's device.
        labels: its labels, on the same device.
        label_smoothing: the share of probability spread over all classes, 0 <= x < 1
            (Szegedy et al., arXiv:1512.00567).
        clip_norm: the largest norm of all gradients together (Pascanu et al., arXiv:1211.5063);
            0 clips nothing.
    """
    logits = model(images)
    loss = nn.functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip_norm:
        nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    optimizer.step()
    return loss.detach(), logits.detach()
