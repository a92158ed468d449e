"""The optimisers a recipe can name, built over flat arguments."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tenfold.errors import UsageError, did_you_mean

OPTIMIZERS = ("sgd", "adam", "adamw")
"""`sgd` with momentum and Nesterov's form; `adam` (Kingma and Ba, arXiv:1412.6980) with weight
decay as an L2 penalty; `adamw` with decoupled weight decay (Loshchilov and Hutter,
arXiv:1711.05101)."""


def build_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> torch.optim.Optimizer:
    """An optimiser by name.

    Args:
        name: one of `OPTIMIZERS`.
        parameters: what to train; all in one group.
        lr: the learning rate to begin with; a schedule sets it anew at every step.
        momentum: for `sgd`, 0 <= momentum < 1.
        nesterov: Nesterov's momentum, for `sgd` with momentum.
        weight_decay: at least 0.

    Raises:
        UsageError: an unknown name, or a momentum for an optimiser that has none.
    """
    if name not in OPTIMIZERS:
        raise UsageError(f"there is no optimizer {name!r}", remedy=did_you_mean(name, OPTIMIZERS))
    if name != "sgd" and (momentum or nesterov):
        raise UsageError(
            f"optimizer {name} takes no momentum, found momentum={momentum}, nesterov={nesterov}",
            remedy="set momentum = 0 and nesterov = false, or choose optimizer sgd",
        )
    if nesterov and not momentum:
        raise UsageError("nesterov = true needs a momentum above 0, found momentum = 0")
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )
    # The fused kernels update all moments in one pass: on a CPU that is where Adam's time goes.
    adam = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return adam(parameters, lr=lr, weight_decay=weight_decay, fused=True)
