"""A network made from a list of layers computes what the traced network computes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from engines import needs_kernels
from tenfold.models import MODELS, build
from tenfold.models.layers import output_shapes
from tenfold.models.listed import ListedNetwork
from tenfold.models.tracing import layer_list, require_layer_list
from thoroughness import some

SHAPES = {"cifar-cnn": (3, 32, 32)}
SLOW = ("resnet50", "resnet18", "resnet34")
SMALL = {"convpool": {"channels": (4, 8), "hidden": (16,), "dropout": 0.3}}


class Raw(nn.Module):
    """Parameters that are interleaved, with a bias before its weight."""

    def __init__(self) -> None:
        super().__init__()
        self.b1, self.w1 = nn.Parameter(torch.randn(5)), nn.Parameter(torch.randn(64, 5))
        self.w2 = nn.Parameter(torch.randn(5, 3))
        self.fc = nn.Linear(3, 3)
        self.b2 = nn.Parameter(torch.randn(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = torch.relu(x.flatten(1) @ self.w1 + self.b1)
        return self.fc(x @ self.w2 + self.b2)


class Scattered(nn.Module):
    """Parameters in another order than the layers, some of them raw, and a residual sum."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Module()
        self.last.weight_of_all = nn.Parameter(torch.randn(4, 3))
        self.bias_of_all = nn.Parameter(torch.randn(3))
        self.blocks = nn.ModuleDict({"b": nn.Conv2d(4, 4, 3, padding=1), "a": nn.Conv2d(1, 4, 1)})
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.norm(self.blocks["a"](x))
        x = nn.functional.avg_pool2d(torch.relu(x + self.blocks["b"](x)), 2)
        return x.mean((2, 3)) @ self.last.weight_of_all + self.bias_of_all


OWN = {"scattered": Scattered, "raw": Raw}


def network_of(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """A new network and the shape of its images."""
    torch.manual_seed(0)
    if name in OWN:
        return OWN[name](), (1, 8, 8)
    shape = SHAPES.get(name, (1, 28, 28))
    return build(name, shape, 10, **SMALL.get(name, {})), shape


@pytest.mark.parametrize("name", [*OWN, *some(sorted(MODELS.keys() - SLOW), 3), *some(SLOW)])
def test_listed_networks_compute_the_same_bits_forward_and_backward(name: str) -> None:
    network, shape = network_of(name)
    layers = layer_list(network, shape)
    assert layers is not None
    listed = ListedNetwork(layers, [name for name, _ in network.named_parameters()])
    listed.load_state_dict(network.state_dict())
    assert [name for name, _ in listed.named_parameters()] == [
        name for name, _ in network.named_parameters()
    ]
    images = torch.rand(3, *shape)
    for each in (network, listed):
        torch.manual_seed(1)  # of dropout
        each(images).square().sum().backward()
    for (name, parameter), other in zip(
        network.named_parameters(), listed.parameters(), strict=True
    ):
        assert torch.equal(parameter.grad, other.grad), name
    for (name, buffer), (other_name, other) in zip(
        sorted(network.named_buffers()), sorted(listed.named_buffers()), strict=True
    ):
        assert name == other_name
        assert torch.equal(buffer, other), name
    with torch.inference_mode():
        assert torch.equal(network.eval()(images), listed.eval()(images))
    assert require_layer_list(listed, shape) == layers


def test_modules_of_the_network_may_have_any_name() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu1 = nn.Linear(4, 4)
            self.layers = nn.ModuleList([nn.Linear(4, 2)])

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers[0](torch.relu(self.relu1(x.flatten(1))))

    network = Odd()
    layers = layer_list(network, (1, 2, 2))
    assert layers is not None
    assert output_shapes(layers, (1, 2, 2))[-1] == (2,)
    listed = ListedNetwork(layers)
    listed.load_state_dict(network.state_dict())
    images = torch.rand(3, 1, 2, 2)
    assert torch.equal(network(images), listed(images))


@needs_kernels
def test_kernels_compute_listed_networks() -> None:
    from tenfold.evaluation.compiled import CompiledModel
    from tenfold.models import ImageModel, Preprocessing

    network, shape = network_of("scattered")
    layers = layer_list(network, shape)
    assert layers is not None
    listed = ListedNetwork(layers)
    listed.load_state_dict(network.state_dict())
    images = torch.randint(256, (4, *shape), dtype=torch.uint8)
    first, second = (
        CompiledModel(ImageModel(Preprocessing(), each).eval(), shape).logits(images, 4)
        for each in (network, listed)
    )
    assert torch.equal(first, second)
