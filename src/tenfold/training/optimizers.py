"""The optimizers that a recipe can name, built over flat options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenfold.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@dataclass(frozen=True)
class OptimizerEntry:
    """An optimizer that has a name.

    Attributes:
        kind: the name of its class in `torch.optim`, which checkpoints carry.
        remembers: what it keeps for each parameter, by PyTorch's names.
        own: the options that not every optimizer has, each a key of the recipe, with defaults.
        needs: own options that do nothing without another one.
        fixed: what the class is always given beside the options.
    """

    kind: str
    remembers: frozenset[str]
    own: Mapping[str, float | bool] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)


# The fused kernel updates all moments in one pass: on a CPU that is where Adam's time goes.
_FUSED = {"fused": True}

_MOMENTS = frozenset({"step", "exp_avg", "exp_avg_sq"})

OPTIMIZERS: dict[str, OptimizerEntry] = {
    "sgd": OptimizerEntry(
        "SGD",
        frozenset({"momentum_buffer"}),
        own={"momentum": 0.0, "nesterov": False},
        needs={"nesterov": "momentum"},
    ),
    # Weight decay is an L2 penalty here (Kingma and Ba, arXiv:1412.6980) ...
    "adam": OptimizerEntry("Adam", _MOMENTS, fixed=_FUSED),
    # ... and apart from the gradient here (Loshchilov and Hutter, arXiv:1711.05101).
    "adamw": OptimizerEntry("AdamW", _MOMENTS, fixed=_FUSED),
}
"""Every optimizer that has a name."""

_DEFAULTS = {key: default for entry in OPTIMIZERS.values() for key, default in entry.own.items()}


def build_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Optimizer:
    """An optimizer by name.

    Args:
        name: one of `OPTIMIZERS`.
        parameters: what to train; all in one group.
        lr: the learning rate to begin with; a schedule sets it anew at every step.
        momentum: for `sgd`, 0 <= momentum < 1.
        nesterov: Nesterov's momentum, for `sgd` with momentum.
        weight_decay: at least 0.

    Raises:
        UsageError: an unknown name, or a momentum for an optimizer that has none.
    """
    import torch

    if name not in OPTIMIZERS:
        raise UsageError(f"there is no optimizer {name!r}", remedy=did_you_mean(name, OPTIMIZERS))
    options = {"momentum": momentum, "nesterov": nesterov}
    require_own_options(name, options)
    entry = OPTIMIZERS[name]
    own = {key: options[key] for key in entry.own}
    optimizer: Optimizer = getattr(torch.optim, entry.kind)(
        parameters, lr=lr, weight_decay=weight_decay, **own, **entry.fixed
    )
    return optimizer


def require_own_options(name: str, options: Mapping[str, object]) -> None:
    """Refuse options that an optimizer does not have, or that do nothing without another one.

    Args:
        name: one of `OPTIMIZERS`.
        options: those of all optimizers, by name; may hold anything else beside them.

    Raises:
        UsageError: with the options, their values and what to set.
    """
    entry = OPTIMIZERS[name]
    foreign = [
        key
        for key, default in _DEFAULTS.items()
        if key not in entry.own and options[key] != default
    ]
    if foreign:
        owners = [other for other in OPTIMIZERS if {*foreign} <= OPTIMIZERS[other].own.keys()]
        raise UsageError(
            f"optimizer {name} takes no {' and no '.join(foreign)}, "
            f"found {_settings(foreign, options)}",
            remedy=f"set {_settings(foreign, _DEFAULTS)}, "
            f"or choose optimizer {' or '.join(owners)}",
        )
    for key, needed in entry.needs.items():
        if options[key] and not options[needed]:
            raise UsageError(
                f"{_settings([key], options)} needs a {needed} above 0, found {needed} = 0"
            )


def _settings(keys: Iterable[str], options: Mapping[str, object]) -> str:
    """As they stand in a recipe."""
    return ", ".join(f"{key} = {options[key]}".lower() for key in keys)
