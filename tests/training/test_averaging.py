"""The moving average of weights, compared with one in double precision."""

import pytest
import torch
from torch import nn

from tenfold.training.averaging import AveragedWeights


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))


def move(model, step):
    """Change all weights and batch norm's running statistics."""
    generator = torch.Generator().manual_seed(step)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator))
        model(torch.randn(8, 6, generator=generator))


@pytest.mark.parametrize("decay", [0.1, 0.9, 0.999])
def test_it_is_the_formula(decay):
    model = network()
    averaged = AveragedWeights(model, decay)
    wanted = {name: tensor.double() for name, tensor in model.state_dict().items()}
    for step in range(1, 101):
        move(model, step)
        averaged.update(model, step)
        d = min(decay, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            wanted[name] = d * wanted[name] + (1 - d) * tensor.double()
    assert averaged.tensors.keys() == wanted.keys()
    for name, tensor in averaged.tensors.items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), wanted[name], rtol=1e-5, atol=1e-5)


def test_the_first_steps_outweigh_the_random_initial_weights():
    model = network()
    averaged = AveragedWeights(model, 0.999)
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(11.0)
    averaged.update(model, 1)
    torch.testing.assert_close(averaged.tensors["0.weight"], before + 9.0)  # 1 - 2/11 of the way


def test_constant_weights_are_their_own_average():
    model = network()
    averaged = AveragedWeights(model, 0.99)
    for step in range(1, 50):
        averaged.update(model, step)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(averaged.tensors[name], tensor)


def test_whole_numbers_are_copied():
    model = network()
    averaged = AveragedWeights(model, 0.99)
    for step in range(1, 4):
        move(model, step)
        averaged.update(model, step)
    assert averaged.tensors["1.num_batches_tracked"] == 3


def test_neither_disturbs_the_other():
    model = network()
    averaged = AveragedWeights(model, 0.9)
    start = {name: tensor.clone() for name, tensor in averaged.tensors.items()}
    move(model, 1)
    assert all(torch.equal(tensor, start[name]) for name, tensor in averaged.tensors.items())
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    averaged.update(model, 1)
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_they_are_in_the_model_inside_the_block(error):
    model = network()
    averaged = AveragedWeights(model, 0.9)
    move(model, 1)
    averaged.update(model, 1)
    own = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    place = model[0].weight.data_ptr()
    try:
        with averaged.in_place_of(model):
            for name, tensor in model.state_dict().items():
                assert torch.equal(tensor, averaged.tensors[name])
            if error:
                raise error
    except ZeroDivisionError:
        pass
    assert all(torch.equal(tensor, own[name]) for name, tensor in model.state_dict().items())
    assert model[0].weight.data_ptr() == place  # the optimizer still holds the same tensors
