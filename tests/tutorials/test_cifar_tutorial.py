"""A small CNN on CIFAR-10 as a learner writes it: in a file, trained from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command_line import Tenfold
from tenfold.reproduction.published import SYSTEMS
from thoroughness import only_if_thorough

pytestmark = pytest.mark.real_data

SOURCE = """
import torch.nn.functional as F
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.fc1 = nn.Linear(16 * 6 * 6, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.conv1(x)))
        x = self.pool(F.relu(self.conv2(x)))
        x = x.view(-1, 16 * 6 * 6)
        x = F.relu(self.fc1(x))
        x = F.relu(self.fc2(x))
        return self.fc3(x)
"""


@pytest.fixture
def cifar(real_data: Path) -> str:
    """CIFAR-10, or a copy of it as JPEG files."""
    folder, copy = real_data / "cifar-10-batches-py", real_data / "cifar10-jpeg.tar.xz"
    if folder.is_dir():
        return "cifar10"
    if not copy.is_file():
        pytest.skip(f"neither {folder.name} nor {copy.name} is in {real_data}")
    return str(copy)


@only_if_thorough
def test_the_published_figures_from_the_command_line(
    cifar: str, real_data: Path, tenfold: Tenfold
) -> None:
    Path("net.py").write_text(SOURCE, "utf-8")
    summary = tenfold("summary", "net.py:Net", "--shape", "3x32x32")
    assert "parameters     81,302 (81,302 trainable)" in summary.out
    options = ["--model", "net.py:Net", "--epochs", "5", "--json", "--data-root", str(real_data)]
    answer = tenfold("train", cifar, "--recipe", "cnn-cifar10", "--out", "run", *options)
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result["parameters"] == 81_302
    measured = {
        (name, epoch["epoch"]): epoch[name]
        for epoch in result["history"]
        for name in ("train_loss", "train_acc")
    }
    compared = 0
    for figure in SYSTEMS["cnn-cifar10"].figures:
        place = (figure.figure, figure.epoch or 0)
        if place in measured:
            assert figure.accepted is not None
            fits = [figure.accepted, *(each.range for each in figure.expected)]
            assert any(each.holds(measured[place]) for each in fits), (place, measured[place])
            compared += 1
    assert compared == 10
    further = tenfold("evaluate", "run", "--json")
    assert json.loads(further.out)["test_acc"] == result["test_acc"]
