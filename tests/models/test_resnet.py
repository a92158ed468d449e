"""The residual networks in torchvision's layout, against a plain computation with its names."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from installed_torchvision import torchvision
from plain_resnet import BLOCKS, plain_logits, shuffled
from tenfold.errors import UsageError
from tenfold.models import build
from tenfold.models.layers import multiply_adds
from tenfold.models.tracing import layer_list


@pytest.mark.parametrize("stem", [{}, {"stem_stride": 1, "stem_pool": False}])
@pytest.mark.parametrize("name", BLOCKS)
def test_they_compute_what_the_names_of_their_weights_say(name: str, stem: dict) -> None:
    network = build(name, (3, 40, 33), 7, **stem).eval()
    weights = shuffled(network)
    network.load_state_dict(weights)
    images = torch.randn(3, 3, 40, 33, generator=torch.Generator().manual_seed(1))
    wanted = plain_logits(
        name, weights, images, stride=stem.get("stem_stride", 2), pool=stem.get("stem_pool", True)
    )
    with torch.no_grad():
        found = network(images)
    assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("name", "parameters", "multiplications"),
    [
        # Of torchvision's documentation, which counts them as GFLOPS.
        ("resnet18", 11_689_512, 1.81),
        ("resnet34", 21_797_672, 3.66),
        ("resnet50", 25_557_032, 4.09),
    ],
)
def test_their_sizes_are_those_of_torchvisions(
    name: str, parameters: int, multiplications: float
) -> None:
    network = build(name, (3, 224, 224), 1000, device="meta")
    assert sum(p.numel() for p in network.parameters()) == parameters
    layers = layer_list(network, (3, 224, 224))
    assert layers is not None, "so that kernels and the choice of epochs know their work"
    assert round(multiply_adds(layers, (3, 224, 224)) / 1e9, 2) == multiplications


def test_they_are_those_of_torchvision() -> None:
    for name in BLOCKS:
        theirs = getattr(torchvision().models, name)(num_classes=5).eval()
        weights = shuffled(theirs)
        theirs.load_state_dict(weights)
        ours = build(name, (3, 64, 48), 5).eval()
        ours.load_state_dict(weights)
        images = torch.from_numpy(np.random.default_rng(0).random((2, 3, 64, 48), np.float32))
        with torch.no_grad():
            assert torch.allclose(ours(images), theirs(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stem_stride": 3}, "stem_stride"),
        ({"stem_stride": 0}, "stem_stride"),
        ({"dropout": 1.0}, "dropout"),
        ({"widths": (1,)}, "there is no argument 'widths'"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build("resnet18", (3, 32, 32), 2, **arguments)


def test_images_of_any_size_pass() -> None:
    for shape in ((1, 1, 1), (3, 5, 2), (4, 28, 28)):
        network = build("resnet18", shape, 3).eval()
        assert network(torch.zeros(1, *shape)).shape == (1, 3)
