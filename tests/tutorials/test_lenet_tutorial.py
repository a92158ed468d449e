"""LeNet on MNIST as a learner writes it: a class, a loop, a file of weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import tenfold
from tenfold.data import DataLoader, load_splits
from tenfold.evaluation import evaluate_accuracy
from tenfold.reproduction.published import SYSTEMS
from tenfold.training import load_weights, train_epoch
from thoroughness import only_if_thorough

pytestmark = pytest.mark.real_data


class LeNet(nn.Module):
    """61,706 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, kernel_size=5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, kernel_size=5)
        self.conv3 = nn.Conv2d(16, 120, kernel_size=5)
        self.pool = nn.MaxPool2d(2)
        self.relu = nn.ReLU()
        self.fc1 = nn.Linear(120, 84)
        self.fc2 = nn.Linear(84, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.conv3(x))
        x = x.view(x.size(0), -1)
        return self.fc2(self.relu(self.fc1(x)))


def test_the_loop_by_hand(real_data: Path, tmp_path: Path) -> None:
    splits = load_splits("mnist", data_root=real_data).splits
    few = splits.train.select(torch.arange(6400).numpy())
    train = DataLoader(few, batch_size=64, shuffle=True, scale=True)
    test = DataLoader(splits.test, batch_size=1000, scale=True)
    torch.manual_seed(0)
    net = LeNet()
    assert sum(parameter.numel() for parameter in net.parameters()) == 61_706
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    losses = [train_epoch(net, train, optimizer, nn.CrossEntropyLoss())[0] for _ in range(4)]
    assert losses[-1] < losses[0]
    accuracy = evaluate_accuracy(net, test)
    assert accuracy > 0.8

    torch.save(net.state_dict(), tmp_path / "lenet.pth")
    other = LeNet()
    assert load_weights(tmp_path / "lenet.pth", other) == {}
    assert evaluate_accuracy(other, test) == accuracy
    ours = tenfold.models.build("lenet", (1, 28, 28), 10)
    names = load_weights(tmp_path / "lenet.pth", ours)  # by order, since it has other names
    assert names["conv1.weight"] == "features.0.weight"
    assert evaluate_accuracy(ours, test) == accuracy


@only_if_thorough
def test_the_published_figures_by_a_run_of_ones_own_module(real_data: Path, tmp_path: Path) -> None:
    """Those of ten epochs, of a model that had been trained for one before."""
    run = tenfold.train(
        "mnist",
        recipe="lenet-mnist",
        model=LeNet,
        epochs=11,
        data_root=real_data,
        out=tmp_path / "run",
        quiet=True,
    )
    measured = {("train_loss", m.epoch): m.train_loss for m in run.history}
    report = tenfold.evaluate(run, split="train", data_root=real_data)
    measured["evaluated_train_acc", 11] = report.accuracy
    published = {(f.figure, f.epoch or 11): f.accepted for f in SYSTEMS["lenet-mnist"].figures}
    for place in (("train_loss", 2), ("train_loss", 11), ("evaluated_train_acc", 11)):
        accepted = published[place]
        assert accepted is not None
        assert accepted.holds(measured[place]), (place, measured[place])
