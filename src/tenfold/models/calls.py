"""Turn the calls recorded by a trace into layers; unknown calls are refused."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypedDict, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, fx, nn
from torch.fx.node import map_aggregate

from tenfold.models import layers
from tenfold.models.layers import IMAGES, Layer

AnyLayer = TypeVar("AnyLayer", layers.Conv2d, layers.Linear, layers.BatchNorm2d)


class NotAListError(Exception):
    """The network cannot be expressed as a list of layers; the message, if any, says why."""


def require(expressible: object, otherwise: str = "") -> None:
    """Refuse what no layer expresses.

    Raises:
        NotAListError: `expressible` is false; with the message `otherwise`.
    """
    if not expressible:
        raise NotAListError(otherwise)


def read_calls(network: nn.Module, graph: fx.Graph, *, training: bool) -> tuple[Layer, ...]:
    """The layers of a traced network.

    Args:
        network: the traced network.
        graph: the recorded trace.
        training: the network's mode during tracing.

    Raises:
        NotAListError: a call is unknown, or has an argument that no layer expresses.
    """
    return _Reader(network, training).read(graph)


@dataclass(frozen=True)
class _Output:
    """A layer's output, or the images."""

    place: int


@dataclass(frozen=True)
class _Parameter:
    name: str
    shape: torch.Size


@dataclass(frozen=True)
class _Product:
    """Features times a parameter: becomes a linear layer when its bias is added."""

    input: int
    weight: _Parameter


class _Sizes(Enum):
    """The known parts of a tensor's shape."""

    ALL = "all"
    BATCH = "batch"


class _Reader:
    """Reads the trace call by call.

    Most methods have the name and signature of the PyTorch function that they read, with outputs
    instead of tensors, so that Python itself binds the arguments and rejects unknown ones.
    """

    def __init__(self, network: nn.Module, training: bool) -> None:
        self._modules = dict(network.named_modules())
        self._parameters = dict(network.named_parameters())
        self._training = training
        self._layers: list[Layer] = []
        self._overwritten: list[int] = []
        self._users: list[fx.Node] = []  # of the call being read

    def read(self, graph: fx.Graph) -> tuple[Layer, ...]:
        """Read all calls."""
        require(len(graph.find_nodes(op="placeholder")) == 1)
        values: dict[fx.Node, Any] = {}
        for node in graph.nodes:
            self._users = list(node.users)
            args, kwargs = (
                map_aggregate(given, lambda arg: values[arg] if isinstance(arg, fx.Node) else arg)
                for given in (node.args, node.kwargs)
            )
            try:
                values[node] = self._value(node, args, kwargs)
            except Exception as error:  # a wrong argument can raise anything
                raise NotAListError(self._what_is_wrong_with(node)) from error
        self._require_harmless_overwriting()
        return tuple(self._layers)

    def _what_is_wrong_with(self, node: fx.Node) -> str:
        match node.op:
            case "call_module":
                kind = type(self._modules[str(node.target)])
                is_known = kind in _WEIGHTED or kind in _PLAIN
                options = " with options that no layer has" if is_known else ""
                return f"its module {node.target} is {kind.__name__}{options}"
            case "call_function" | "call_method":
                name = getattr(node.target, "__name__", str(node.target))
                arguments = " with arguments that no layer has" if node.target in _FUNCTIONS else ""
                return f"its code calls {name}{arguments}"
            case "get_attr":
                return f"its code uses {node.target}, which is not a parameter"
        return "its output is not the output of its last layer"

    def _value(self, node: fx.Node, args: Any, kwargs: Any) -> object:  # noqa: ANN401
        match node.op:
            case "placeholder":
                return _Output(IMAGES)
            case "get_attr":
                name = str(node.target)
                return _Parameter(name, self._parameters[name].shape)
            case "call_module":
                return self._call(str(node.target), *args, **kwargs)
            case "call_function" | "call_method":
                return _FUNCTIONS[node.target](self, *args, **kwargs)
        require(self._place(*args) == len(self._layers) - 1)  # the network's output
        return None

    def _call(self, name: str, x: object) -> object:
        """Read a call of a module: one with weights, or one that wraps a function."""
        module = self._modules[name]
        if type(module) in _WEIGHTED:
            return self._append(_WEIGHTED[type(module)](name, module, self._place(x)))
        function, attributes = _PLAIN[type(module)]
        return function(self, x, **{key: getattr(module, key) for key in attributes})

    def _place(self, x: object, *, overwritten: bool = False) -> int:
        """The place of a layer's input."""
        if not isinstance(x, _Output):
            raise NotAListError
        if overwritten:
            self._overwritten.append(x.place)
        return x.place

    def _append(self, layer: Layer) -> _Output:
        self._layers.append(layer)
        return _Output(len(self._layers) - 1)

    def _require_harmless_overwriting(self) -> None:
        """Refuse an in-place operation on memory that another layer reads, under any name."""
        sources = [source for layer in self._layers for source in layer.sources()]
        for place in self._overwritten:
            layer = self._layers[place]
            require(
                place != IMAGES
                and sources.count(place) == 1
                and not isinstance(layer, layers.Flatten | layers.Dropout),
                "it overwrites values that are read elsewhere",
            )

    def identity(self, x: object) -> object:
        return x

    def relu(self, x: object, inplace: bool = False) -> _Output:
        return self._append(layers.ReLU(input=self._place(x, overwritten=inplace)))

    def dropout(
        self, x: object, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> _Output:
        require(training is self._training)
        return self._append(layers.Dropout(input=self._place(x, overwritten=inplace), p=p))

    def max_pool2d(
        self,
        x: object,
        kernel_size: object,
        stride: object = None,
        padding: object = 0,
        dilation: object = 1,
        ceil_mode: bool = False,
        return_indices: bool = False,
    ) -> _Output:
        require(_pair(dilation) == (1, 1) and not ceil_mode and not return_indices)
        window = _window(kernel_size, stride, padding)
        return self._append(layers.MaxPool2d(input=self._place(x), **window))

    def avg_pool2d(
        self,
        x: object,
        kernel_size: object,
        stride: object = None,
        padding: object = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: object = None,
    ) -> _Output:
        require(not ceil_mode and count_include_pad and divisor_override is None)
        window = _window(kernel_size, stride, padding)
        return self._append(layers.AveragePool2d(input=self._place(x), **window))

    def adaptive_avg_pool2d(self, x: object, output_size: object) -> _Output:
        require(_pair(output_size) == (1, 1))
        return self._append(layers.GlobalAveragePool(input=self._place(x)))

    def mean(self, x: object, dim: Sequence[int], keepdim: bool = False) -> _Output:
        require(sorted(dim) in ([2, 3], [-2, -1]))
        pooled = self.adaptive_avg_pool2d(x, 1)
        return pooled if keepdim else self.flatten(pooled, 1)

    def flatten(self, x: object, start_dim: int = 0, end_dim: int = -1) -> _Output:
        require((start_dim, end_dim) == (1, -1))
        return self._append(layers.Flatten(input=self._place(x)))

    def reshape(self, x: object, *shape: Any) -> _Output:  # noqa: ANN401
        batch, features = shape[0] if len(shape) == 1 else shape
        if batch == -1:
            # With any other number of features, the number of images would change.
            require(all(self._is_linear(user, features) for user in self._users))
        else:
            require(batch is _Sizes.BATCH)
        return self.flatten(x, 1)

    def _is_linear(self, node: fx.Node, features: object) -> bool:
        module = self._modules.get(str(node.target)) if node.op == "call_module" else None
        return type(module) is nn.Linear and module.in_features == features

    def size(self, x: object, dim: int | None = None) -> _Sizes:
        self._place(x)
        require(dim in (None, 0))
        return _Sizes.ALL if dim is None else _Sizes.BATCH

    def attribute(self, x: object, name: str) -> _Sizes:
        require(name == "shape")
        return self.size(x)

    def item(self, sizes: object, index: int) -> _Sizes:
        require(sizes is _Sizes.ALL and index == 0)
        return _Sizes.BATCH

    def add(self, x: object, other: object) -> _Output:
        if isinstance(x, _Product) and isinstance(other, _Parameter):
            return self._append(_transposed_linear(x, other))
        return self._append(layers.Add(input=self._place(x), other=self._place(other)))

    def add_in_place(self, x: object, other: object) -> _Output:
        if isinstance(x, _Output):
            self._place(x, overwritten=True)
        return self.add(x, other)

    def matmul(self, x: object, weight: object) -> _Product:
        if not isinstance(weight, _Parameter):
            raise NotAListError
        return _Product(self._place(x), weight)


def _conv2d(name: str, module: nn.Conv2d, place: int) -> Layer:
    require(module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros")
    padding = module.padding
    if isinstance(padding, str):
        require(padding == "valid" or all(size % 2 for size in module.kernel_size))
        padding = tuple(size // 2 if padding == "same" else 0 for size in module.kernel_size)
    window = _window(module.kernel_size, module.stride, padding)
    return _layer_of(layers.Conv2d, name, module, input=place, **window)


def _linear(name: str, module: nn.Linear, place: int) -> Layer:
    return _layer_of(layers.Linear, name, module, input=place, transposed=False)


def _batch_norm2d(name: str, module: nn.BatchNorm2d, place: int) -> Layer:
    require(module.track_running_stats)
    channels = module.num_features
    return _layer_of(layers.BatchNorm2d, name, module, input=place, channels=channels)


def _layer_of(kind: type[AnyLayer], name: str, module: nn.Module, **others: object) -> AnyLayer:
    """A layer whose other fields come from the module's attributes of the same names.

    Tensors are replaced by their names. If the module lacks something the layer requires, such as
    the weight of batch normalization, the layer's own validation refuses it.
    """
    found = {key: getattr(module, key) for key in kind.model_fields if hasattr(module, key)}
    tensors = {key: f"{name}.{key}" for key, value in found.items() if isinstance(value, Tensor)}
    return kind.model_validate({**found, **tensors, **others})


def _transposed_linear(product: _Product, bias: _Parameter) -> Layer:
    in_features, out_features = product.weight.shape
    return layers.Linear(
        input=product.input,
        in_features=in_features,
        out_features=out_features,
        weight=product.weight.name,
        bias=bias.name,
        transposed=True,
    )


class _Window(TypedDict):
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


def _window(kernel_size: object, stride: object, padding: object) -> _Window:
    return {
        "kernel_size": _pair(kernel_size),
        "stride": _pair(kernel_size if stride is None else stride),
        "padding": _pair(padding),
    }


def _pair(value: Any) -> tuple[int, int]:  # noqa: ANN401
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


_WEIGHTED: dict[type[nn.Module], Callable[[str, Any, int], Layer]] = {
    nn.Conv2d: _conv2d,
    nn.Linear: _linear,
    nn.BatchNorm2d: _batch_norm2d,
}

_POOL = ("kernel_size", "stride", "padding", "ceil_mode")
_PLAIN: dict[type[nn.Module], tuple[Callable[..., object], tuple[str, ...]]] = {
    nn.Identity: (_Reader.identity, ()),
    nn.ReLU: (_Reader.relu, ("inplace",)),
    nn.Dropout: (_Reader.dropout, ("p", "training", "inplace")),
    nn.Flatten: (_Reader.flatten, ("start_dim", "end_dim")),
    nn.MaxPool2d: (_Reader.max_pool2d, (*_POOL, "dilation", "return_indices")),
    nn.AvgPool2d: (_Reader.avg_pool2d, (*_POOL, "count_include_pad", "divisor_override")),
    nn.AdaptiveAvgPool2d: (_Reader.adaptive_avg_pool2d, ("output_size",)),
}
"""For each module: the function it calls, and the attributes it passes as arguments."""

_FUNCTIONS: dict[object, Callable[..., object]] = {
    **dict.fromkeys(("relu", torch.relu, F.relu), _Reader.relu),
    **dict.fromkeys(("add", torch.add, operator.add), _Reader.add),
    **dict.fromkeys(("matmul", torch.matmul, operator.matmul), _Reader.matmul),
    **dict.fromkeys(("flatten", torch.flatten), _Reader.flatten),
    **dict.fromkeys(("view", "reshape", torch.reshape), _Reader.reshape),
    **dict.fromkeys(("mean", torch.mean), _Reader.mean),
    F.dropout: _Reader.dropout,
    F.max_pool2d: _Reader.max_pool2d,
    F.avg_pool2d: _Reader.avg_pool2d,
    F.adaptive_avg_pool2d: _Reader.adaptive_avg_pool2d,
    operator.iadd: _Reader.add_in_place,
    operator.getitem: _Reader.item,
    getattr: _Reader.attribute,
    "size": _Reader.size,
}
"""The readers, by function or by name of a tensor method."""
