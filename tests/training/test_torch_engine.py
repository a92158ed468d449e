"""One training step, compared with the formulas for loss, clipping and update."""

import math

import pytest
import torch
from torch import nn

from tenfold.models import Preprocessing
from tenfold.training import train_step


def problem(n=16, classes=5):
    torch.manual_seed(0)
    model = nn.Sequential(Preprocessing(), nn.Flatten(), nn.Linear(12, classes))
    images = torch.randint(256, (n, 3, 2, 2), dtype=torch.uint8)
    return model, images, torch.randint(classes, (n,))


def weights_and_bias(model):
    return model[2].weight.detach().double().clone(), model[2].bias.detach().double().clone()


def by_hand(model, images, labels, smoothing=0.0, class_weights=None):
    """Loss, logits and gradients of softmax regression, in double precision."""
    weight, bias = weights_and_bias(model)
    pixels = images.flatten(1).double() / 255
    logits = pixels @ weight.T + bias
    probabilities = logits.softmax(1)
    classes = logits.shape[1]
    wanted = nn.functional.one_hot(labels, classes).double()
    wanted = (1 - smoothing) * wanted + smoothing / classes
    counts = torch.ones(classes) if class_weights is None else class_weights
    wanted *= counts.double()
    whole = counts.double()[labels].sum()
    loss = -(wanted * probabilities.log()).sum() / whole
    error = (wanted.sum(1, keepdim=True) * probabilities - wanted) / whole
    return loss, logits, error.T @ pixels, error.sum(0)


@pytest.mark.parametrize("class_weights", [None, torch.tensor([1.0, 0.2, 3.0, 0.0, 0.5])])
@pytest.mark.parametrize("smoothing", [0.0, 0.05, 0.3])
def test_loss_logits_and_update_by_hand(smoothing, class_weights):
    model, images, labels = problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    weight, bias = weights_and_bias(model)
    options = smoothing, class_weights
    wanted_loss, wanted_logits, for_weight, for_bias = by_hand(model, images, labels, *options)
    loss, logits = train_step(
        *(model, optimizer, images, labels), label_smoothing=smoothing, class_weights=class_weights
    )
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(loss.double(), wanted_loss, **close)
    torch.testing.assert_close(logits.double(), wanted_logits, **close)
    after = weights_and_bias(model)
    torch.testing.assert_close(after[0], weight - 0.5 * for_weight, **close)
    torch.testing.assert_close(after[1], bias - 0.5 * for_bias, **close)


@pytest.mark.parametrize("clip_norm", [1e-3, 0.1, 1e6])
def test_all_gradients_together_are_clipped_to_the_norm(clip_norm):
    model, images, labels = problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    weight, bias = weights_and_bias(model)
    _, _, for_weight, for_bias = by_hand(model, images, labels)
    norm = math.sqrt(float(for_weight.square().sum() + for_bias.square().sum()))
    assert 0.1 < norm < 1e6
    scale = min(1.0, clip_norm / norm)
    train_step(model, optimizer, images, labels, clip_norm=clip_norm)
    after = weights_and_bias(model)
    torch.testing.assert_close(after[0], weight - scale * for_weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(after[1], bias - scale * for_bias, rtol=1e-5, atol=1e-6)


def test_gradients_of_the_previous_step_are_cleared():
    model, images, labels = problem()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    train_step(model, optimizer, images, labels)
    first = model[2].weight.grad.clone()
    train_step(model, optimizer, images, labels)
    assert torch.equal(model[2].weight.grad, first)


def test_the_results_do_not_hold_the_graph():
    model, images, labels = problem()
    loss, logits = train_step(model, torch.optim.SGD(model.parameters(), lr=0.1), images, labels)
    assert loss.shape == ()
    assert logits.shape == (16, 5)
    assert not loss.requires_grad
    assert not logits.requires_grad


def test_the_figures_are_from_before_the_update():
    model, images, labels = problem()
    wanted = by_hand(model, images, labels)[0]
    loss, _ = train_step(model, torch.optim.SGD(model.parameters(), lr=100.0), images, labels)
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-5)
    assert by_hand(model, images, labels)[0] != pytest.approx(wanted.item(), rel=1e-2)
