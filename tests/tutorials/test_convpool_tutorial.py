"""A wide CNN on MNIST as a learner writes it: validation, the running loss, and continuing."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import tenfold
from tenfold.training.watching import Watcher

pytestmark = pytest.mark.real_data


def block(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding="same"), nn.ReLU(), nn.MaxPool2d(2)
    )


class ConvPool(nn.Module):
    """15,168,266 parameters if it is as wide as in the tutorial."""

    def __init__(self, width: int = 64, hidden: int = 2048) -> None:
        super().__init__()
        self.block1, self.block2 = block(1, width, 11), block(width, 2 * width, 5)
        self.fc1 = nn.Linear(2 * width * 7 * 7, hidden)
        self.fc2, self.fc3 = nn.Linear(hidden, hidden // 2), nn.Linear(hidden // 2, 10)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.block2(self.block1(x)).flatten(1)
        x = self.dropout(torch.relu(self.fc1(x)))
        return self.fc3(torch.relu(self.fc2(x)))


class Notes(Watcher):
    """Keeps what a run says."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_it_dies_is_told_so_and_can_be_continued(real_data: Path, tmp_path: Path) -> None:
    """Published: nothing; a loss that sits at ln 10 is expected."""
    wide = ConvPool()
    assert sum(parameter.numel() for parameter in wide.parameters()) == 15_168_266
    notes = Notes()
    given = {"data_root": real_data, "report": False}
    run = tenfold.train(
        "mnist",
        recipe="convpool-mnist",
        model=ConvPool,
        model_args={"width": 8, "hidden": 256},
        limit=5000,
        epochs=2,
        lr=0.1,  # ten times the tutorial's, as a network of this width is not as easily lost
        out=tmp_path / "run",
        watcher=notes,
        **given,
    )
    assert run.figures["n_train"] == 4000
    assert run.figures["n_val"] == 1000
    assert run.history[-1].train_loss == pytest.approx(math.log(10), abs=0.05)
    assert any("not learning" in note or "zero in every layer" in note for note in notes.notes)
    further = tenfold.resume(run, epochs=3, watcher=Watcher(), **given)
    assert len(further.history) == 3
    assert further.history[:2] == run.history[:2]


def test_with_a_lower_learning_rate_it_learns(real_data: Path, tmp_path: Path) -> None:
    run = tenfold.train(
        "mnist",
        recipe="convpool-mnist",
        model=ConvPool,
        model_args={"width": 8, "hidden": 256},
        limit=2000,
        epochs=2,
        lr=1e-3,
        out=tmp_path / "run",
        quiet=True,
        data_root=real_data,
        report=False,
    )
    assert run.figures["test_acc"] > 0.85
