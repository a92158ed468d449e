"""A PyTorch optimizer whose steps compiled kernels take: its options, moments and step counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import optimizer as torch_optimizer

from tenfold.errors import NotNativeError, listing
from tenfold.native import records
from tenfold.native.structures import StepSettingsRecord
from tenfold.training.eager_optimizers import SGD, Adam, AdamW

_OF_SGD, _OF_ADAM = ("momentum_buffer",), ("exp_avg", "exp_avg_sq")

MOMENTS: dict[type[torch.optim.Optimizer], tuple[str, ...]] = {
    SGD: _OF_SGD,
    Adam: _OF_ADAM,
    AdamW: _OF_ADAM,
    torch.optim.SGD: _OF_SGD,
    torch.optim.Adam: _OF_ADAM,
    torch.optim.AdamW: _OF_ADAM,
}
"""Per-parameter state of each class, besides the step count, by PyTorch's names."""

_KNOWN = {"momentum", "nesterov", "weight_decay", "betas", "eps", "decoupled_weight_decay"}
"""Options that the kernels support."""

_IRRELEVANT = {"params", "lr", "foreach", "fused"}
"""The learning rate is set at every step; the others only select an implementation."""

_LARGEST_COUNT = {torch.float32: 2**24, torch.float64: 2**53}
"""Where a count stops growing because adding 1 is lost to rounding."""


class NativeOptimizer:
    """A PyTorch optimizer whose steps the kernels take, directly on its own state.

    Args:
        optimizer: over some of the parameters.
        parameters: all of the model's parameters, by name.

    Raises:
        NotNativeError: the kernels do not support the optimizer or one of its options.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
    ) -> None:
        if type(optimizer) not in MOMENTS:
            kind = type(optimizer).__name__
            raise NotNativeError(f"the optimizer is {kind}, wanted SGD, Adam or AdamW")
        self._optimizer, self._is_adam = optimizer, not isinstance(optimizer, torch.optim.SGD)
        self._parameters = parameters
        self.require_known()

    def require_known(self) -> None:
        """Check the optimizer's current state and the parameters to be trained.

        Raises:
            NotNativeError: the kernels cannot take its steps.
        """
        if _has_hooks(self._optimizer):
            raise NotNativeError("the optimizer has hooks or a custom step method")
        _require_all_trained(self._optimizer, self._parameters)
        _options(self._optimizer)
        _ = self.steps

    @property
    def _trained(self) -> list[nn.Parameter]:
        """Currently trained parameters; they may be frozen or unfrozen at any time."""
        return [each for each in self._parameters.values() if each.requires_grad]

    @property
    def steps(self) -> int:
        """Number of steps taken; always 0 for SGD, which does not count.

        Raises:
            NotNativeError: the count differs between parameters.
        """
        states = [self._optimizer.state.get(parameter, {}) for parameter in self._trained]
        counts = {float(state.get("step", 0.0)) for state in states}
        if len(counts) > 1:
            raise NotNativeError("the optimizer has taken more steps for some parameters")
        return int(max(counts, default=0))

    def record(self) -> StepSettingsRecord:
        """The optimizer's current options, for the kernels.

        Raises:
            NotNativeError: the kernels do not support them.
        """
        options = _options(self._optimizer)
        if not self._is_adam:
            return StepSettingsRecord(
                optimizer=records.SGD,
                momentum=options["momentum"],
                nesterov=options["nesterov"],
                weight_decay=options["weight_decay"],
            )
        beta1, beta2 = options["betas"]
        return StepSettingsRecord(
            optimizer=records.ADAMW if options["decoupled_weight_decay"] else records.ADAM,
            beta1=beta1,
            beta2=beta2,
            epsilon=options["eps"],
            weight_decay=options["weight_decay"],
        )

    def moments(self, parameter: nn.Parameter) -> list[Tensor]:
        """The moments of a parameter; created as PyTorch would if they do not exist yet."""
        is_needed = self._is_adam or self._optimizer.param_groups[0]["momentum"]
        if not is_needed or not parameter.requires_grad:
            return []
        state = self._optimizer.state[parameter]
        if self._is_adam and "step" not in state:
            state["step"] = torch.zeros((), dtype=self._count_type())
        names = MOMENTS[type(self._optimizer)]
        for name in names:
            if state.get(name) is None:
                state[name] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        return [state[name] for name in names]

    def count(self, learning_rates: Sequence[float]) -> None:
        """Update step counts and learning rate as PyTorch would for these steps."""
        for parameter in self._trained:
            step = self._optimizer.state.get(parameter, {}).get("step")
            if step is not None:
                step.fill_(min(int(step) + len(learning_rates), _LARGEST_COUNT[step.dtype]))
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rates[-1]

    def _count_type(self) -> torch.dtype:
        if self._optimizer.param_groups[0]["fused"]:
            return torch.float32
        return torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32


def _has_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step does anything extra; a scheduler, for one, replaces `step`."""
    hooks = (
        optimizer._optimizer_step_pre_hooks,
        optimizer._optimizer_step_post_hooks,
        torch_optimizer._global_optimizer_pre_hooks,
        torch_optimizer._global_optimizer_post_hooks,
    )
    return any(hooks) or "step" in vars(optimizer)


def _options(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's options, all of which the kernels support.

    Raises:
        NotNativeError: an unsupported option is on, or groups have different options.
    """
    groups = [
        {key: value for key, value in group.items() if key not in _IRRELEVANT}
        for group in optimizer.param_groups
    ]
    options = groups[0]
    numbers = [
        *options.get("betas", ()),
        *(value for key, value in options.items() if key != "betas"),
    ]
    if any(isinstance(number, Tensor) for number in numbers):
        raise NotNativeError("an option of the optimizer is a tensor, wanted a number")
    others = [f"{key} = {value}" for key, value in options.items() if key not in _KNOWN and value]
    if others:
        raise NotNativeError(
            f"the optimizer has {listing(others)}, which the kernels do not support"
        )
    if any(group != options for group in groups):
        raise NotNativeError("the optimizer has parameter groups with different options")
    return options


def _require_all_trained(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> None:
    """Refuse an optimizer that lacks trained parameters or has some from outside the model."""
    owned = {id(each) for group in optimizer.param_groups for each in group["params"]}
    if not owned <= {id(each) for each in parameters.values()}:
        raise NotNativeError("the optimizer has parameters that are not in the model")
    for name, parameter in parameters.items():
        if parameter.requires_grad and id(parameter) not in owned:
            raise NotNativeError(f"the optimizer does not have the parameter {name}")
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise NotNativeError("no parameter of the model requires a gradient")
