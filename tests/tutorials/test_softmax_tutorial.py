"""Softmax regression on Fashion-MNIST as a learner writes it: raw tensors, then its own module."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import tenfold
from tenfold import scratch
from tenfold.data import DataLoader, load_splits

pytestmark = pytest.mark.real_data


class SoftmaxRegression(nn.Module):
    """The same as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(784, 10)
        nn.init.normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.linear(x.flatten(1))


def test_from_raw_tensors(real_data: Path) -> None:
    splits = load_splits("fashion-mnist", data_root=real_data).splits
    train = DataLoader(splits.train, batch_size=256, shuffle=True, scale=True)
    test = DataLoader(splits.test, batch_size=256, scale=True)
    images, labels = next(iter(train))
    assert images.shape == (256, 1, 28, 28)
    assert labels.shape == (256,)

    torch.manual_seed(0)
    weights = torch.normal(0, 0.01, (784, 10), requires_grad=True)
    bias = torch.zeros(10, requires_grad=True)

    def net(images: torch.Tensor) -> torch.Tensor:
        return images.reshape(-1, 784) @ weights + bias

    def updater(batch_size: int) -> None:
        scratch.sgd([weights, bias], 0.1, batch_size)

    assert scratch.evaluate_accuracy(net, test) == pytest.approx(0.1, abs=0.11)
    loss, accuracy = scratch.train_epoch(net, train, scratch.cross_entropy, updater)
    assert loss < 1
    assert accuracy > 0.7
    predicted = scratch.predict(net, test, n=6)
    assert len(predicted.labels) == 6


def test_the_published_figures_by_a_run_of_ones_own_module(real_data: Path, tmp_path: Path) -> None:
    """Published: loss < 0.5, training and test accuracy in (0.7, 1] after ten epochs."""
    run = tenfold.train(
        "fashion-mnist",
        recipe="softmax-fashion",
        model=SoftmaxRegression,
        data_root=real_data,
        out=tmp_path / "run",
        quiet=True,
        report=False,
    )
    assert len(run.history) == 10
    assert run.history[-1].train_loss < 0.5
    assert 0.7 < run.history[-1].train_acc <= 1
    assert 0.7 < run.figures["test_acc"] <= 1
    assert run.facts.conditions.engine == "native"
