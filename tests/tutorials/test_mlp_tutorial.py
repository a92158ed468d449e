"""The parts on Fashion-MNIST as a learner writes them: data set, loader, loop, checkpoint."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tenfold.data import DataLoader, load_splits
from tenfold.evaluation import evaluate_accuracy
from tenfold.training import load_checkpoint, save_checkpoint, train_epoch

pytestmark = pytest.mark.real_data

N = 64 * 200


class Clothes(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """A data set of one's own: its length, and one image with its label."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return torch.from_numpy(self.images[index]).float() / 255, int(self.labels[index])


class Perceptron(nn.Module):
    """669,706 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.stack = nn.Sequential(
            *(nn.Linear(784, 512), nn.ReLU()),
            *(nn.Linear(512, 512), nn.ReLU()),
            nn.Linear(512, 10),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        return self.stack(self.flatten(x))


def test_the_parts(real_data: Path, tmp_path: Path) -> None:
    train = load_splits("fashion-mnist", data_root=real_data).splits.train
    clothes = Clothes(train.image_array[:N], train.label_array[:N])
    image, label = clothes[0]
    assert image.shape == (1, 28, 28)
    assert train.classes[label] == "Ankle boot"
    loader = DataLoader(clothes, batch_size=64)
    images, labels = next(iter(loader))
    assert images.shape == (64, 1, 28, 28)
    assert labels[0] == label

    torch.manual_seed(0)
    model = Perceptron()
    assert sum(parameter.numel() for parameter in model.parameters()) == 669_706
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    printed: list[tuple[float, int]] = []

    def every_100_batches(number: int, loss: float, seen: int) -> None:
        if number % 100 == 0:
            printed.append((loss, seen))

    loss, accuracy = train_epoch(model, loader, optimizer, watch=every_100_batches)
    assert [seen for _, seen in printed] == [6400, 12800]
    assert loss < np.log(10)
    assert accuracy > 0.1

    # The tutorial's checkpoint, which its own code reads.
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, model, optimizer, format="torch", epoch=1, loss=loss)
    checkpoint = torch.load(path, weights_only=True)
    assert checkpoint.keys() == {"epoch", "model_state_dict", "optimizer_state_dict", "loss"}
    other = Perceptron()
    other.load_state_dict(checkpoint["model_state_dict"])
    its = torch.optim.SGD(other.parameters(), lr=1e-3)
    its.load_state_dict(checkpoint["optimizer_state_dict"])

    # And one that its own code wrote.
    torch.save(
        {
            "epoch": 1,
            "model_state_dict": other.state_dict(),
            "optimizer_state_dict": its.state_dict(),
            "loss": torch.tensor(loss),
        },
        tmp_path / "theirs.pt",
    )
    again = Perceptron()
    ours = torch.optim.SGD(again.parameters(), lr=1e-3)
    facts = load_checkpoint(tmp_path / "theirs.pt", again, ours)
    assert facts["epoch"] == 1
    assert facts["loss"] == pytest.approx(loss)
    assert evaluate_accuracy(again, loader) == evaluate_accuracy(model, loader)
    figures = {train_epoch(each, loader, by) for each, by in ((model, optimizer), (again, ours))}
    assert len(figures) == 1
