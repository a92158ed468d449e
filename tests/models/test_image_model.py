"""Preprocessing and network as one module, and the names of its tensors."""

import pytest
import torch
from torch import nn

from tenfold.errors import UsageError
from tenfold.models import ImageModel, Preprocessing, build
from tenfold.tensors import part_of

IMAGES = torch.randint(
    0, 256, (5, 3, 9, 9), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def model() -> ImageModel:
    return ImageModel(
        Preprocessing([0.5, 0.4, 0.3], [0.2, 0.3, 0.4]), build("resnet-small", (3, 9, 9), 4)
    )


def test_it_gives_the_bits_of_the_two_in_a_row():
    whole = model().eval()
    in_a_row = nn.Sequential(whole.preprocessing, whole.network)
    assert torch.equal(whole(IMAGES), in_a_row(IMAGES))


def test_its_state_is_the_networks_in_the_same_order():
    whole = model()
    assert list(whole.state_dict()) == [f"network.{name}" for name in whole.network.state_dict()]
    assert [id(p) for p in whole.parameters()] == [id(p) for p in whole.network.parameters()]


def test_the_networks_weights_fit_another_network():
    whole, other = model().eval(), build("resnet-small", (3, 9, 9), 4).eval()
    other.load_state_dict(part_of(whole.state_dict(), "network"))
    assert torch.equal(other(whole.preprocessing(IMAGES)), whole(IMAGES))


def test_only_the_prefix_is_taken_off_and_other_tensors_are_left_out():
    one, two = torch.zeros(1), torch.ones(1)
    tensors = {"network.network.weight": one, "other.weight": two, "networks.weight": two}
    assert part_of(tensors, "network") == {"network.weight": one}


def test_images_that_are_not_raw_are_refused():
    with pytest.raises(UsageError, match="wanted raw pixels"):
        model()(IMAGES.float())
