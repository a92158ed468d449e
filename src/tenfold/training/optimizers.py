"""The optimizers that a recipe can name, built from flat options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tenfold.errors import UsageError, did_you_mean, set_option

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer


@dataclass(frozen=True)
class OptimizerEntry:
    """An entry in the table of optimizers.

    Attributes:
        kind: the name of its class in `torch.optim`, which checkpoints store.
        remembers: the keys of its per-parameter state in PyTorch.
        own: options that not every optimizer has, with defaults; each is a recipe key.
        needs: own options that have no effect without another one.
        fixed: arguments that the class always gets besides the options.
    """

    kind: str
    remembers: frozenset[str]
    own: Mapping[str, float | bool] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, object] = field(default_factory=dict)


# The fused kernel updates all moments in one pass; on a CPU, that is where Adam spends its time.
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
    # ... and decoupled from the gradient here (Loshchilov and Hutter, arXiv:1711.05101).
    "adamw": OptimizerEntry("AdamW", _MOMENTS, fixed=_FUSED),
}
"""The optimizers by name."""

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
        lr: the initial learning rate; a schedule sets it at every step.
        momentum: for `sgd`, 0 <= momentum < 1.
        nesterov: Nesterov's momentum, for `sgd` with momentum.
        weight_decay: at least 0.

    Raises:
        UsageError: the name is unknown, or momentum is set for an optimizer that has none.
    """
    from tenfold.training import eager_optimizers

    if name not in OPTIMIZERS:
        raise UsageError(f"there is no optimizer {name!r}", remedy=did_you_mean(name, OPTIMIZERS))
    options = {"momentum": momentum, "nesterov": nesterov}
    require_own_options(name, options)
    entry = OPTIMIZERS[name]
    own = {key: options[key] for key in entry.own}
    optimizer: Optimizer = getattr(eager_optimizers, entry.kind)(
        parameters, lr=lr, weight_decay=weight_decay, **own, **entry.fixed
    )
    return optimizer


def require_own_options(name: str, options: Mapping[str, object]) -> None:
    """Refuse options that an optimizer does not have, or that have no effect without another one.

    Args:
        name: one of `OPTIMIZERS`.
        options: the options of all optimizers by name; other keys are ignored.

    Raises:
        UsageError: names the options, their values and what to set.
    """
    entry = OPTIMIZERS[name]
    foreign = [
        key
        for key, default in _DEFAULTS.items()
        if key not in entry.own and options[key] != default
    ]
    if foreign:
        owners = [other for other in OPTIMIZERS if {*foreign} <= OPTIMIZERS[other].own.keys()]
        defaults = " ".join(set_option(key, str(_DEFAULTS[key]).lower()) for key in foreign)
        raise UsageError(
            f"optimizer {name} takes no {' and no '.join(foreign)}, "
            f"found {_settings(foreign, options)}",
            remedy=f"choose {defaults}, or --optimizer {' or '.join(owners)}",
        )
    for key, needed in entry.needs.items():
        if options[key] and not options[needed]:
            raise UsageError(
                f"{_settings([key], options)} needs a {needed} above 0, found {needed} = 0"
            )


def _settings(keys: Iterable[str], options: Mapping[str, object]) -> str:
    """The options as written in a recipe."""
    return ", ".join(f"{key} = {options[key]}".lower() for key in keys)
