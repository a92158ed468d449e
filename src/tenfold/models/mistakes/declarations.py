"""Networks that are not declared as PyTorch needs it: `__init__`, `forward`, and attributes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from itertools import islice

from torch import Tensor, nn

from tenfold.errors import UsageError, nearest
from tenfold.models.mistakes.failure import Failure
from tenfold.models.mistakes.naming import called, in_forward

_NOT_CALLED = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def require_module(network: object) -> nn.Module:
    """The network, if it is a module on which `nn.Module.__init__` was called, as on all inside it.

    Raises:
        UsageError: it is not.
    """
    kind = type(network).__name__
    if isinstance(network, type):
        raise UsageError(
            f"{network.__name__} is a class, wanted a network made from it",
            remedy=f"call it: {network.__name__}()",
        )
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"the network is an object of type {kind}, wanted an nn.Module",
            remedy=f"write class {kind}(nn.Module): and call super().__init__() first in __init__",
        )
    for module in _modules(network, (), set()):
        if not _has_begun(module):
            raise UsageError(_without_init(module), remedy=_WITH_INIT)
    return network


def _modules(
    network: nn.Module, outside: tuple[tuple[nn.Module, str], ...], seen: set[nn.Module]
) -> Iterator[nn.Module]:
    """Like `network.modules()`, which fails at a module that never called `__init__`.

    Args:
        network: any module.
        outside: what it is in, outermost first, and under which names.
        seen: those that were given already.

    Raises:
        UsageError: it is in itself.
    """
    yield network
    seen.add(network)
    for name, module in vars(network).get("_modules", {}).items():
        inside = (*outside, (network, name))
        if any(module is each for each, _ in inside):
            path = ".".join(part for _, part in inside)
            raise UsageError(
                f"{type(module).__name__} contains itself, as {path}, wanted layers inside layers "
                "without a circle",
                remedy=f"keep it where PyTorch does not look for layers: self.{name} = (module,)",
            )
        if module is not None and module not in seen:
            yield from _modules(module, inside, seen)


def _has_begun(module: nn.Module) -> bool:
    return "_modules" in vars(module)


def _without_init(module: nn.Module) -> str:
    return f"{type(module).__name__}.__init__ does not call nn.Module's, wanted it called first"


_WITH_INIT = "make super().__init__() the first line of __init__"


def init_not_called(failure: Failure, _match: re.Match[str]) -> UsageError | None:
    """A module that is used or gets layers before `super().__init__()`."""
    module = getattr(failure.error, "obj", None) or failure.place.variables.get("self")
    if not isinstance(module, nn.Module) or _has_begun(module):
        return None
    return failure.explained_by(_without_init(module), remedy=_WITH_INIT)


def unknown_attribute(failure: Failure, match: re.Match[str]) -> UsageError | None:
    """A misspelt layer."""
    module = getattr(failure.error, "obj", None)
    if not isinstance(module, nn.Module) or not _has_begun(module):
        return None
    known = [name for name in dir(module) if not name.startswith("_")]
    similar = nearest(match[1], known)
    if not similar:
        return None
    return failure.explained_by(
        f"{type(module).__name__} has no attribute {match[1]!r}",
        remedy=f"did you mean {similar!r}?",
    )


def no_forward(failure: Failure, match: re.Match[str]) -> UsageError:
    """A module without `forward`, or with a misspelt one."""
    kind = match[1]
    modules = () if failure.network is None else failure.network.modules()
    module = next((each for each in modules if type(each).__name__ == kind), None)
    if isinstance(module, _NOT_CALLED):
        return failure.explained_by(
            f"{called(failure.network, module)} is a {kind}, which cannot be called",
            remedy="call its layers one after another, or make it an nn.Sequential",
        )
    own = [] if module is None else [name for name in vars(type(module)) if name[:2] != "__"]
    similar = nearest("forward", own)
    if similar:
        return failure.explained_by(
            f"{kind} has a method {similar!r}, wanted 'forward'",
            remedy=f"rename {similar} to forward",
        )
    return failure.explained_by(
        f"{kind} has no method forward, wanted one that takes the images",
        remedy="define forward(self, x) in the class, indented as far as __init__",
    )


def not_called(failure: Failure, match: re.Match[str]) -> UsageError | None:
    """A layer in the place of what it computes, as after `x = nn.ReLU(x)` or `x = self.relu`."""
    kind, attribute = match["kind"], match.groupdict().get("attribute")
    if failure.network is None or (attribute and not hasattr(Tensor, attribute)):
        return None
    found = about_not_called(failure.network, kind, failure.place.code)
    return None if found is None else failure.explained_by(found.message, remedy=found.remedy)


def about_not_called(network: nn.Module, kind: str, failed: str = "") -> UsageError | None:
    """The error for a layer that is used as if it were a tensor; None if no such layer is known.

    Args:
        network: in whose `forward` it is used.
        kind: the name of the layer's class.
        failed: the line that failed, if it is named already.
    """
    layer = getattr(nn, kind, None)
    if not (isinstance(layer, type) and issubclass(layer, nn.Module)):
        return None
    makes = rf"\bnn\.{kind}\((?!\)\()"
    if made := in_forward(network, makes):
        where = "" if re.search(makes, failed) else made
        arguments = "..." if _needs_arguments(layer) else ""
        return UsageError(
            f"nn.{kind}(x) makes a layer and computes nothing{where}, wanted a call of one",
            remedy=f"write nn.{kind}({arguments})(x), or make the layer in __init__ and call it in "
            "forward",
        )
    names = [name for name, each in network.named_modules() if type(each) is layer]
    if not names:
        return None
    return UsageError(
        f"{names[0]} is a layer of type {kind}, wanted what it computes",
        remedy=f"call it: self.{names[0]}(x)",
    )


def _needs_arguments(layer: type[nn.Module]) -> bool:
    parameters = inspect.signature(layer).parameters.values()
    return any(
        each.default is each.empty and each.kind < each.VAR_POSITIONAL for each in parameters
    )


def wrong_signature(failure: Failure, match: re.Match[str]) -> UsageError | None:
    """A `forward` that does not take `self` and the images."""
    kind = match[1].rpartition(".")[2]
    modules = () if failure.network is None else failure.network.modules()
    found = next((type(each) for each in modules if type(each).__name__ == kind), None)
    if found is None or kind in vars(nn):
        return None
    taken = [each.name for each in inspect.signature(found.forward).parameters.values()]
    if len(taken) > 2:
        return failure.explained_by(
            f"{kind}.forward takes {', '.join(taken)}, but gets only the images",
            remedy=f"write def forward(self, {taken[1]}), or give {taken[2]} a default",
        )
    if len(taken) == 2:
        return None
    return failure.explained_by(
        f"{kind}.forward takes only {', '.join(taken) or 'nothing'}, wanted self and the images",
        remedy="write def forward(self, x)",
    )


def require_registered_layers(network: nn.Module) -> None:
    """Refuse layers and parameters in plain lists, tuples and dicts, where PyTorch is blind.

    Raises:
        UsageError: an attribute of a module holds some that are not found elsewhere.
    """
    found = {id(each) for each in (*network.modules(), *network.parameters())}
    for module in network.modules():
        for name, value in vars(module).items():
            if name in ("_modules", "_parameters"):
                continue
            hidden = [
                each for each in _inside(value, set()) if id(each) not in found and _counts(each)
            ]
            if not hidden:
                continue
            kind, whole = type(value).__name__, all(isinstance(each, nn.Module) for each in hidden)
            what, where = ("layers", "Module") if whole else ("parameters", "Parameter")
            container = f"nn.{where}{'Dict' if isinstance(value, dict) else 'List'}"
            made = f"self.{name} = {container}({'...' if isinstance(value, dict) else '[...]'})"
            remedy = f"write {made}"
            if whole and not isinstance(value, dict):
                remedy = f"write {made}, or nn.Sequential(...) if they follow one another"
            raise UsageError(
                f"{type(module).__name__}: self.{name} is a plain {kind} of {what}, where PyTorch "
                "does not find their weights to train and save them",
                remedy=remedy,
            )


_MOST_LOOKED_AT = 1000
"""Items of a container that may be layers; what has more of them is data."""


def _inside(value: object, seen: set[int]) -> Iterator[nn.Module | nn.Parameter]:
    """The layers and parameters in a plain container, which may hold others.

    Args:
        value: anything.
        seen: the containers that were looked into already.
    """
    if not isinstance(value, list | tuple | dict) or id(value) in seen:
        return
    seen.add(id(value))
    for each in islice(value.values() if isinstance(value, dict) else value, _MOST_LOOKED_AT):
        if isinstance(each, nn.Module | nn.Parameter):
            yield each
        else:
            yield from _inside(each, seen)


def _counts(each: nn.Module | nn.Parameter) -> bool:
    """Whether it matters that PyTorch does not find it."""
    if isinstance(each, nn.Parameter):
        return True
    return any(
        any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False)))
        or isinstance(module, nn.modules.dropout._DropoutNd)
        for module in each.modules()
    )


def require_parameters(network: nn.Module) -> None:
    """Refuse a network without weights to train.

    Raises:
        UsageError: it has none, they have no sizes yet, or all are frozen.
    """
    kind, parameters = type(network).__name__, list(network.parameters())
    if not parameters:
        raise UsageError(
            f"{kind} has no parameters, wanted some to train",
            remedy="make its layers attributes of self in __init__, such as self.fc = "
            "nn.Linear(784, 10)",
        )
    if any(isinstance(each, nn.UninitializedParameter) for each in parameters):
        raise UsageError(
            f"{kind} has lazy layers, whose weights have no sizes yet",
            remedy="call it once before, with a batch of one image",
        )
    if not any(each.requires_grad for each in parameters):
        raise UsageError(
            f"{kind}: requires_grad is False for all parameters, wanted some to train",
            remedy="call .requires_grad_() on the network, or on the layers to train",
        )
    if all(each.is_meta for each in parameters):
        raise UsageError(
            f"{kind} is on the meta device, where weights have no values",
            remedy='leave out device="meta" where its layers are made',
        )


def imported_late(failure: Failure, match: re.Match[str]) -> UsageError | None:
    """A module that is imported in `forward`, when the file's folder is no longer searched."""
    if failure.network is None or not isinstance(failure.error, ModuleNotFoundError):
        return None
    return failure.explained_by(
        f"there is no module {match[1]!r} to be imported while the network computes",
        remedy="import it at the top of the file, and not in forward",
    )
