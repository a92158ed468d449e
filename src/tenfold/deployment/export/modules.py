"""The code of an `nn.Module`: what its `__init__` declares, and what its `forward` calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from tenfold.deployment.export.text import LONGEST_LINE, call, size_literal
from tenfold.models.layers import (
    AveragePool2d,
    BatchNorm2d,
    Conv2d,
    Dropout,
    Flatten,
    GlobalAveragePool,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
)

INSIDE = 8
"""Spaces before the statements of a method."""

_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")

_USUAL_EPS, _USUAL_MOMENTUM = 1e-5, 0.1
"""PyTorch's defaults for batch normalization."""

Sizes = Callable[[str], str]
"""From a size of a layer, such as `out_channels`, to the expression for it."""


class ModuleCode:
    """The code of one module, layer by layer.

    Args:
        linear_layers: number of those among the layers that will be added; one alone has no
            number in its name.

    Attributes:
        declarations: the statements of `__init__`.
        calls: the expressions of `forward` in order, with `{x}` for what they are applied to.
    """

    def __init__(self, linear_layers: int) -> None:
        self.declarations: list[str] = []
        self.calls: list[str] = []
        self._linear_layers = linear_layers
        self._counts = Counter[str]()

    def add(self, layer: Layer, sizes: Sizes | None = None) -> str:
        """Add a layer; returns the name of the attribute that has its weights, if it has any.

        Args:
            layer: any but an addition.
            sizes: the expressions for its sizes; None for the numbers.
        """
        sizes = sizes or (lambda name: _number(getattr(layer, name)))
        match layer:
            case Conv2d():
                return self._declare("conv", layer, sizes)
            case BatchNorm2d():
                return self._declare("bn", layer, sizes)
            case Linear(transposed=True):
                return self._raw_linear(layer, sizes)
            case Linear():
                return self._declare("fc", layer, sizes)
            case Flatten() if self.calls and self.calls[-1] == _MEAN_OF_PIXELS:
                self.calls[-1] = "{x}.mean((2, 3))"
            case Dropout(p=0):
                pass
            case _:
                self.calls.append(_function(layer))
        return ""

    def add_attribute(self, name: str, declaration: str) -> None:
        """Add a module: the statement that declares it, and its call."""
        self.declarations.append(declaration)
        self.calls.append(f"self.{name}({{x}})")

    def _declare(self, kind: str, layer: Layer, sizes: Sizes) -> str:
        name = self._name(kind)
        self.add_attribute(name, constructor(layer, sizes, INSIDE, f"self.{name} = "))
        return name

    def _raw_linear(self, layer: Linear, sizes: Sizes) -> str:
        """A linear layer whose weight is inputs x outputs, which `nn.Linear` has the other way."""
        name = self._name("W")
        shape = [sizes("in_features"), sizes("out_features")]
        margin = " " * INSIDE
        made = call(f"self.{name} = nn.Parameter(torch.zeros(", shape, "))", INSIDE)
        self.declarations.append(made)
        if layer.bias is None:
            self.calls.append(f"{{x}} @ self.{name}")
            return name
        bias = _bias_beside(name)
        self.declarations.append(f"{margin}self.{bias} = nn.Parameter(torch.zeros({shape[1]}))")
        self.calls.append(f"{{x}} @ self.{name} + self.{bias}")
        return name

    def _name(self, kind: str) -> str:
        self._counts[kind] += 1
        is_alone = kind in ("fc", "W") and self._linear_layers == 1
        return kind if is_alone else f"{kind}{self._counts[kind]}"


def tensor_names(layer: Layer, attribute: str) -> dict[str, str]:
    """The names of a layer's tensors in the bundle, by those in the module with its code."""
    if isinstance(layer, Linear) and layer.transposed:
        bias = {} if layer.bias is None else {_bias_beside(attribute): layer.bias}
        return {attribute: layer.weight, **bias}
    found = {field: getattr(layer, field, None) for field in _TENSORS}
    return {f"{attribute}.{field}": name for field, name in found.items() if name is not None}


def statements(calls: Sequence[str], read: str, written: str) -> list[str]:
    """The statements of a `forward` that apply calls one after the other.

    What follows a layer with weights and has none itself is applied in the same statement.

    Args:
        calls: with `{x}` for what they are applied to.
        read: the variable that the first one is applied to.
        written: the variable that each statement is assigned to.
    """
    found: list[str] = []
    expression = read
    for each in calls:
        applied = each.format(x=expression)
        too_long = INSIDE + len(f"{written} = {applied}") > LONGEST_LINE
        if expression not in (read, written) and (_begins_a_statement(each) or too_long):
            found.append(f"{' ' * INSIDE}{written} = {expression}")
            applied = each.format(x=written)
        expression = applied
    found.append(f"{' ' * INSIDE}{written} = {expression}")
    return found


def _begins_a_statement(text: str) -> bool:
    return not text.startswith(("F.", "self.bn"))


def constructor(layer: Layer, sizes: Sizes, indent: int, start: str = "") -> str:
    """The statement or expression that makes the `nn.Module` of a layer.

    Args:
        layer: any but an addition, and not a linear layer with a transposed weight.
        sizes: the expressions for its sizes.
        indent: spaces before each line.
        start: what comes before the expression.
    """
    name, arguments = _call_of(layer, sizes)
    return call(f"{start}nn.{name}(", arguments, ")", indent)


def _call_of(layer: Layer, sizes: Sizes) -> tuple[str, list[str]]:
    match layer:
        case Conv2d():
            channels = [sizes("in_channels"), sizes("out_channels")]
            window = _window(layer, sizes("stride"), usual_stride="1")
            return "Conv2d", [*channels, *window, *_without_bias(layer)]
        case BatchNorm2d():
            options = {
                "eps": (repr(layer.eps), repr(_USUAL_EPS)),
                "momentum": (repr(layer.momentum), repr(_USUAL_MOMENTUM)),
            }
            return "BatchNorm2d", [sizes("channels"), *_unusual(options)]
        case Linear():
            features = [sizes("in_features"), sizes("out_features")]
            return "Linear", [*features, *_without_bias(layer)]
        case MaxPool2d() | AveragePool2d():
            stride, usual = size_literal(layer.stride), size_literal(layer.kernel_size)
            name = "MaxPool2d" if isinstance(layer, MaxPool2d) else "AvgPool2d"
            return name, _window(layer, stride, usual_stride=usual)
        case GlobalAveragePool():
            return "AdaptiveAvgPool2d", ["1"]
        case Dropout():
            return "Dropout", [repr(layer.p)]
        case ReLU():
            return "ReLU", []
    assert isinstance(layer, Flatten), "additions are parts of blocks"
    return "Flatten", []


def _window(
    layer: Conv2d | MaxPool2d | AveragePool2d, stride: str, *, usual_stride: str
) -> list[str]:
    """The arguments for a window that is moved over pixels."""
    options = {"stride": (stride, usual_stride), "padding": (size_literal(layer.padding), "0")}
    return [f"kernel_size={size_literal(layer.kernel_size)}", *_unusual(options)]


def _without_bias(layer: Conv2d | Linear) -> list[str]:
    return ["bias=False"] if layer.bias is None else []


def _unusual(options: Mapping[str, tuple[str, str]]) -> list[str]:
    return [f"{name}={value}" for name, (value, usual) in options.items() if value != usual]


_MEAN_OF_PIXELS = "{x}.mean((2, 3), keepdim=True)"


def _function(layer: Layer) -> str:
    """The call of a layer without weights."""
    match layer:
        case ReLU():
            return "F.relu({x})"
        case MaxPool2d():
            return _pooling("max_pool2d", layer)
        case AveragePool2d():
            return _pooling("avg_pool2d", layer)
        case GlobalAveragePool():
            return _MEAN_OF_PIXELS
        case Dropout():
            return f"F.dropout({{x}}, {layer.p!r}, self.training)"
    assert isinstance(layer, Flatten), "additions are parts of blocks"
    return "{x}.flatten(1)"


def _pooling(name: str, layer: MaxPool2d | AveragePool2d) -> str:
    usual = size_literal(layer.kernel_size)
    options = {
        "stride": (size_literal(layer.stride), usual),
        "padding": (size_literal(layer.padding), "0"),
    }
    return f"F.{name}({', '.join(['{x}', usual, *_unusual(options)])})"


def _number(size: int | tuple[int, int]) -> str:
    return str(size) if isinstance(size, int) else size_literal(size)


def _bias_beside(weight: str) -> str:
    return weight.replace("W", "b")
