"""Snapshots of a model's structure, to detect later changes."""

from __future__ import annotations

from torch import nn

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
"""Attributes in which a module keeps its hooks."""

_TABLES = ("_modules", "_parameters", "_buffers")


class Snapshot:
    """The classes, submodules, tensors and attributes of a model's modules, by identity.

    Changes inside an object, such as the values of a weight, do not count; nor does the mode,
    training or evaluation.
    """

    def __init__(self, model: nn.Module) -> None:
        self._held = [(module, type(module), _held(module)) for module in model.modules()]

    def is_up_to_date(self) -> bool:
        """Whether nothing has been replaced, added or removed, and no module has hooks."""
        return not nn.modules.module._has_any_global_hook() and all(  # type: ignore[no-untyped-call]
            type(module) is kind
            and not any(vars(module)[hooks] for hooks in HOOKS)
            and _are_same(_held(module), held)
            for module, kind, held in self._held
        )


def _held(module: nn.Module) -> list[tuple[str, object]]:
    held = [item for item in vars(module).items() if item[0] != "training"]
    for table in _TABLES:
        held += vars(module)[table].items()
    return held


def _are_same(some: list[tuple[str, object]], others: list[tuple[str, object]]) -> bool:
    return len(some) == len(others) and all(
        name == other_name and value is other
        for (name, value), (other_name, other) in zip(some, others, strict=True)
    )
