"""A building block for your own training loop: an epoch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import tenfold
from tenfold.errors import DataError, UsageError
from tenfold.training.parts import train_epoch


def network(hidden: int = 8) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, hidden), nn.ReLU(), nn.Linear(hidden, 3))


def batches(n: int = 5, size: int = 7) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size + number, 4, generator=generator),
            torch.randint(0, 3, (size + number,), generator=generator),
        )
        for number in range(n)
    ]


def test_an_epoch_is_the_plain_loop() -> None:
    ours, plain = network(), network()
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1, momentum=0.9)
    other = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    seen: list[tuple[int, float, int]] = []
    loss, accuracy = train_epoch(
        ours.eval(), batches(), optimizer, watch=lambda *facts: seen.append(facts)
    )
    losses, correct, total = 0.0, 0, 0
    for images, labels in batches():
        logits = plain(images)
        batch_loss = nn.functional.cross_entropy(logits, labels)
        other.zero_grad()
        batch_loss.backward()
        other.step()
        losses += batch_loss.item() * len(labels)
        correct += int((logits.argmax(1) == labels).sum())
        total += len(labels)
    assert ours.training
    assert loss == losses / total
    assert accuracy == correct / total
    assert [fact[0] for fact in seen] == [1, 2, 3, 4, 5]
    assert [fact[2] for fact in seen] == [7, 15, 24, 34, 45]
    for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_an_epoch_of_nothing_is_refused() -> None:
    model = network()
    with pytest.raises(DataError, match="no batches"):
        train_epoch(model, [], torch.optim.SGD(model.parameters(), lr=0.1))


class Halves(nn.Module):
    """Takes raw pixels, and gives floats."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images / 255


def test_raw_pixels_that_a_network_cannot_take_are_explained() -> None:
    splits = tenfold.data.load_splits("digits").splits
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    raw = tenfold.data.DataLoader(splits.train, batch_size=512)
    for use in (
        lambda: train_epoch(net, raw, optimizer),
        lambda: tenfold.evaluation.evaluate_accuracy(net, raw),
        lambda: tenfold.evaluation.evaluate_accuracy(lambda images: net(images), raw),
        lambda: tenfold.evaluation.evaluate(net, splits.train),
    ):
        with pytest.raises(UsageError, match=r"raw pixels .* and the network failed") as caught:
            use()
        assert "tenfold.models.Preprocessing()" in caught.value.remedy
    scaled = tenfold.data.DataLoader(splits.train, batch_size=512, scale=True)
    train_epoch(net, scaled, optimizer)
    tenfold.evaluation.evaluate_accuracy(net, scaled)
    with_first_step = nn.Sequential(tenfold.models.Preprocessing(), net)
    train_epoch(with_first_step, raw, optimizer)
    scales_itself = nn.Sequential(nn.Flatten(), Halves(), nn.Linear(65, 10))
    with pytest.raises(UsageError, match=r"takes 65 features per image, but gets 64"):
        train_epoch(scales_itself, raw, torch.optim.SGD(scales_itself.parameters(), lr=0.1))
    wrong_shape = nn.Sequential(tenfold.models.Preprocessing(), nn.Flatten(), nn.Linear(65, 10))
    with pytest.raises(UsageError, match=r"takes 65 features per image, but gets 64"):
        train_epoch(wrong_shape, raw, torch.optim.SGD(wrong_shape.parameters(), lr=0.1))
