"""A user's own networks: what makes them, and what is recorded of them.

Importing this does not import PyTorch.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from tenfold.errors import UsageError, counted, did_you_mean, listing, printable
from tenfold.models.own_files import CodeFile, code_of, run_file
from tenfold.models.siblings import Siblings
from tenfold.storage import Facts, expanded

if TYPE_CHECKING:
    from torch import nn

    from tenfold.models.layers import Layer
else:
    nn = Layer = Any

_CODE = re.compile(r"(?P<file>.+\.py)(?::(?P<name>[^/\\]*))?")

LONGEST_NAME = 200
"""Characters that the name of a class or a function may have."""

LARGEST_NETWORK = 2**30
"""Maximum number of weights of a network that a file or arguments describe: 4 GiB in single
precision."""

NAMELESS = "network"
"""What a network is called of which the user's code has no name."""

WITHOUT_FILE = "own:"
"""What a recipe's model begins with if it is code that is in no file, or has no name there."""


class OwnFacts(Facts):
    """What is recorded of a network of the user's own.

    Attributes:
        name: of its class, or of the function that makes it.
        file: the name of the file with its code; empty if it is not from a file.
        sha256: of that file's contents; empty without a file.
        parameters: the names of its parameters, in its order.
        frozen: the names of those that are not trained.
    """

    name: Annotated[str, Field(max_length=LONGEST_NAME, pattern=r"^[^\W\d]\w*$")]
    file: Annotated[str, Field(max_length=500)] = ""
    sha256: str = ""
    parameters: list[str]
    frozen: list[str] = Field(default_factory=list)

    @property
    def model(self) -> str:
        """What a recipe has as its model."""
        return _model(self.file, self.name)


@dataclass(frozen=True)
class OwnModel:
    """What makes a network of the user's own.

    Attributes:
        name: see `OwnFacts`.
        maker: a class or function: from keyword arguments to a new network.
        code: where it is written; None if that is not known.
        given: the network itself, if that was given and not what makes one.
        recorded: of a run's network that is made from its layers.
    """

    name: str
    maker: Callable[..., object] = field(repr=False)
    code: CodeFile | None = None
    given: nn.Module | None = field(default=None, repr=False)
    recorded: OwnFacts | None = None

    @classmethod
    def listed(cls, recorded: OwnFacts, layers: Sequence[Layer]) -> OwnModel:
        """What makes the network of a run from its layers, without its code.

        Raises:
            UsageError: no network can have such layers.
        """
        import torch

        from tenfold.models.listed import ListedNetwork

        weights = sum(math.prod(shape) for layer in layers for _, shape in layer.tensors())
        if weights > LARGEST_NETWORK:
            raise UsageError(
                f"its layers have {weights:,} weights, wanted at most {LARGEST_NETWORK:,}"
            )
        try:
            with torch.device("meta"):
                names = dict(ListedNetwork(layers, recorded.parameters).named_parameters())
        except (KeyError, TypeError) as error:
            raise UsageError("the weights of its layers have names that none can have") from error
        if list(names) != recorded.parameters or not names.keys() >= {*recorded.frozen}:
            raise UsageError("its layers have other parameters than its network")

        def make() -> nn.Module:
            network = ListedNetwork(layers, recorded.parameters)
            for name in recorded.frozen:
                network.get_parameter(name).requires_grad = False
            return network

        return cls(recorded.name, make, recorded=recorded)

    @property
    def model(self) -> str:
        """What a recipe has as its model."""
        if self.recorded is not None:
            return self.recorded.model
        return _model("" if self.code is None else self.code.name, self.name)

    def build(self, arguments: Mapping[str, Any]) -> nn.Module:
        """A new network; a copy of the one that was given, whatever the arguments.

        Raises:
            UsageError: the arguments are not those that it takes, or making it fails, or what is
                made is not an `nn.Module`.
        """
        from torch.nn import Module

        from tenfold.models.mistakes.explaining import explained, named

        taken = {} if self.given is not None or self.recorded is not None else arguments
        self._require_taken(taken)
        siblings = self._siblings
        with (
            nullcontext() if siblings is None else siblings.importable(),
            named(f"making {self.name}"),
            explained(None, None),
            redirect_stdout(sys.stderr),
        ):
            network = self.maker(**taken)
        if not isinstance(network, Module):
            raise UsageError(
                f"{self.name} makes an object of type {type(network).__name__}, wanted an "
                "nn.Module",
                remedy=f"write class {self.name}(nn.Module):"
                if isinstance(self.maker, type)
                else "let it return the network",
            )
        return network

    def imports_known(self) -> AbstractContextManager[None]:
        """Inside the block, Python knows what its file has imported: PyTorch's compiler asks."""
        siblings = self._siblings
        return nullcontext() if siblings is None else siblings.known()

    @property
    def _siblings(self) -> Siblings | None:
        return None if self.code is None else self.code.siblings

    def _require_taken(self, arguments: Mapping[str, Any]) -> None:
        try:
            inspect.signature(self.maker).bind(**arguments)
        except TypeError as error:
            raise UsageError(
                f"{self.name}: {error}",
                remedy="give its arguments with model_args, as in --set model_args.width=64",
            ) from error
        except ValueError:  # it has no signature
            return

    def facts_of(self, network: nn.Module) -> OwnFacts:
        """What is recorded of a network that this has made."""
        if self.recorded is not None:
            return self.recorded
        parameters = dict(network.named_parameters())
        return OwnFacts(
            name=self.name,
            file="" if self.code is None else self.code.name,
            sha256="" if self.code is None else self.code.sha256,
            parameters=list(parameters),
            frozen=[name for name, each in parameters.items() if not each.requires_grad],
        )

    def give_back(self, network: nn.Module) -> None:
        """Put a trained network's weights into the one that was given, if one was."""
        if self.given is not None:
            self.given.load_state_dict(network.state_dict())
            self.given.eval()


def own_model(value: object) -> OwnModel | None:
    """What makes a network; None for the name of one of tenfold's models.

    Args:
        value: `FILE.py:NAME`, of which the file is run; or an `nn.Module`, or a class or function
            that makes one.

    Raises:
        UsageError: it is none of these, or the file cannot be run, or has no such name.
    """
    if isinstance(value, str | Path):
        named = _CODE.fullmatch(str(value))
        return None if named is None else _from_file(expanded(named["file"]), named["name"] or "")
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.nn.Module):
        return _from_network(value)
    if callable(value):
        return OwnModel(_name_of(value), value, code_of(value))
    raise UsageError(
        f"model is of type {type(value).__name__}, wanted the name of a tenfold model, an "
        "nn.Module, or what makes one",
        remedy="give, for example, model=Net() or model=Net",
    )


def is_code(model: str) -> bool:
    """Whether a recipe's model is the user's own code."""
    return _CODE.fullmatch(model) is not None


def _model(file: str, name: str) -> str:
    return f"{file}:{name}" if file else f"{WITHOUT_FILE}{name}"


def _name_of(maker: object) -> str:
    name = str(getattr(maker, "__name__", NAMELESS))
    return name if name.isidentifier() and len(name) <= LONGEST_NAME else NAMELESS


def _from_file(path: Path, name: str) -> OwnModel:
    module, code = run_file(path)
    found = getattr(module, name, None) if name else _only_network(path, module)
    if found is None:
        names = _networks(module)
        raise UsageError(
            f"{path}: it has no {name!r}", remedy=did_you_mean(name, names) if names else ""
        )
    own = own_model(found) if callable(found) else None  # a network is callable too
    if own is None:
        raise UsageError(
            f"{path}: {name} is of type {type(found).__name__}, wanted an nn.Module, or what "
            "makes one",
            remedy=did_you_mean(name, _networks(module)),
        )
    return replace(own, name=name or own.name, code=code, given=None)


def _only_network(path: Path, module: ModuleType) -> object:
    names = _networks(module)
    if len(names) != 1:
        raise UsageError(
            f"{path}: it defines {counted(len(names), 'network')}"
            f"{f': {listing(names)}' if names else ''}",
            remedy=f"name one: {path.name}:{names[-1]}"
            if names
            else "define one: class Net(nn.Module)",
        )
    return getattr(module, names[0])


def _networks(module: ModuleType) -> list[str]:
    """The names of the classes of networks that a module defines."""
    from torch.nn import Module

    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Module)
        and value.__module__ == module.__name__
    ]


def _from_network(network: nn.Module) -> OwnModel:
    """What makes copies of a network as it is now."""
    try:
        kept = copy.deepcopy(network)
    except Exception as error:  # of the user's class; it may raise anything
        raise UsageError(
            f"the network cannot be copied: {type(error).__name__}: {printable(str(error), 200)}",
            remedy="give what makes it: model=Net, or model=lambda: Net(...)",
        ) from error
    kind = type(network)
    return OwnModel(_name_of(kind), lambda: copy.deepcopy(kept), code_of(kind), network)
