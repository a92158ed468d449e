"""A network made from a list of layers, for one whose own code is not at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tenfold.models import layers
from tenfold.models.layers import IMAGES, Layer


@dataclass(frozen=True)
class _Plan:
    """What a `ListedNetwork` computes.

    Attributes:
        layers: in order.
        paths: for each, the name of the module that computes it; empty if functions do.
        last_reader: for each place that is read, the last layer that reads it.
    """

    layers: tuple[Layer, ...]
    paths: tuple[str, ...]
    last_reader: dict[int, int]


class ListedNetwork(nn.Module):
    """Computes a list of layers.

    Its weights have the names that the list gives them, so it accepts the state dict of the network
    that was traced. It computes the same bits: PyTorch is called with the same numbers in the same
    order.

    Args:
        listed: a valid `Network`.
        parameters: names of the traced network's parameters, in its order, which is also that of an
            optimizer's state; empty for the order of the layers.
    """

    def __init__(self, listed: Sequence[Layer], parameters: Sequence[str] = ()) -> None:
        super().__init__()
        owners = {name: layer for layer in listed for name, _ in layer.tensors()}
        for name in dict.fromkeys([*parameters, *owners]):
            if name in owners:
                _attach(self, name, owners[name])
        # The only attribute: any other name may be that of one of the network's modules.
        self._tenfold_plan = _Plan(
            tuple(listed),
            tuple(_path(self, place, layer) for place, layer in enumerate(listed)),
            {source: place for place, layer in enumerate(listed) for source in layer.sources()},
        )

    def forward(self, images: Tensor) -> Tensor:
        """Logits, n x classes, of preprocessed images."""
        plan, outputs = self._tenfold_plan, {IMAGES: images}
        for place, (layer, path) in enumerate(zip(plan.layers, plan.paths, strict=True)):
            inputs = [outputs[source] for source in layer.sources()]
            outputs[place] = _output(self, layer, path, inputs)
            for source in layer.sources():
                if plan.last_reader[source] == place:
                    outputs.pop(source, None)  # its memory is free to be used again
        return outputs[len(plan.layers) - 1]


def _path(network: nn.Module, place: int, layer: Layer) -> str:
    """The name of the module that computes a layer, created if it has no weights; or empty."""
    if layer.tensors():
        return "" if _is_transposed(layer) else _parent(layer.tensors()[0][0])
    module = _without_weights(layer)
    if module is None:
        return ""
    name = f"{layer.op}{place}"
    while hasattr(network, name):
        name += "_"
    network.add_module(name, module)
    return name


def _output(network: nn.Module, layer: Layer, path: str, inputs: Sequence[Tensor]) -> Tensor:
    if path:
        output: Tensor = network.get_submodule(path)(*inputs)
        return output
    if len(inputs) == 2:
        return inputs[0] + inputs[1]
    weight, bias = (_tensor(network, name) for name, _ in layer.tensors())
    return inputs[0] @ weight + bias


def _tensor(network: nn.Module, name: str) -> Tensor:
    """One of its parameters; `get_parameter` refuses the proxy that it is while being traced."""
    found: Tensor = getattr(network.get_submodule(_parent(name)), _last(name))
    return found


def _is_transposed(layer: Layer) -> bool:
    return isinstance(layer, layers.Linear) and layer.transposed


def _attach(network: nn.Module, name: str, layer: Layer) -> None:
    """Give a network a parameter of a layer, or the layer's whole module if it does not have it."""
    if _is_transposed(layer):
        parameter = nn.Parameter(torch.zeros(dict(layer.tensors())[name]))
        _container(network, _parent(name)).register_parameter(_last(name), parameter)
        return
    path = _parent(name)
    inside = _container(network, _parent(path))
    if _last(path) not in inside._modules:
        inside.add_module(_last(path), _with_weights(layer))


def _with_weights(layer: Layer) -> nn.Module:
    match layer:
        case layers.Conv2d():
            return nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size,
                layer.stride,
                layer.padding,
                bias=layer.bias is not None,
            )
        case layers.BatchNorm2d():
            return nn.BatchNorm2d(layer.channels, layer.eps, layer.momentum)
    assert isinstance(layer, layers.Linear), "no other layer has weights"
    return nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)


def _without_weights(layer: Layer) -> nn.Module | None:
    """The module of a layer that has no weights; None for an addition."""
    match layer:
        case layers.MaxPool2d():
            return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding)
        case layers.AveragePool2d():
            return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding)
        case layers.GlobalAveragePool():
            return nn.AdaptiveAvgPool2d(1)
        case layers.ReLU():
            return nn.ReLU()
        case layers.Flatten():
            return nn.Flatten()
        case layers.Dropout():
            return nn.Dropout(layer.p)
    return None


def _container(network: nn.Module, path: str) -> nn.Module:
    """The submodule with this name, created where it is missing; the network for no name."""
    found = network
    for name in path.split(".") if path else ():
        if name not in found._modules:
            found.add_module(name, nn.Module())
        found = found.get_submodule(name)
    return found


def _parent(name: str) -> str:
    return name.rpartition(".")[0]


def _last(name: str) -> str:
    return name.rpartition(".")[2]
