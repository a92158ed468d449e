"""An epoch, and a checkpoint by hand, for those who write their own loop."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tenfold.errors import DataError, FileRefusedError, UsageError
from tenfold.training.parts import load_checkpoint, save_checkpoint, train_epoch


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


@pytest.mark.parametrize(
    "kind", [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop]
)
def test_going_on_from_a_checkpoint_gives_the_same_bits(
    kind: type[torch.optim.Optimizer], tmp_path: Path
) -> None:
    first = network()
    optimizer = kind(first.parameters(), lr=0.01)
    loss, _ = train_epoch(first, batches(), optimizer)
    save_checkpoint(tmp_path / "last.safetensors", first, optimizer, epoch=1, loss=loss)
    train_epoch(first, batches(), optimizer)

    second = network()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.add_(1)
    other = kind(second.parameters(), lr=0.5)
    facts = load_checkpoint(tmp_path / "last.safetensors", second, other)
    assert facts == {"epoch": 1, "loss": loss}
    train_epoch(second, batches(), other)
    for mine, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_checkpoint_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    model = network()
    save_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1))
    other = network(hidden=9)
    before = [parameter.clone() for parameter in other.parameters()]
    with pytest.raises(FileRefusedError, match=r"last\.safetensors.*0\.bias"):
        load_checkpoint(path, other)
    with pytest.raises(FileRefusedError, match="SGD"):
        load_checkpoint(path, model, torch.optim.Adam(model.parameters()))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FileRefusedError, match="damaged"):
        load_checkpoint(path, model)
    for parameter, kept in zip(other.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)


def test_a_fact_that_json_cannot_hold_is_refused_by_name(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UsageError, match=r"loss is a Tensor.*tensor\.item\(\)"):
        save_checkpoint(tmp_path / "x.safetensors", model, optimizer, loss=torch.tensor(1.0))
    assert not any(tmp_path.iterdir())


def test_a_file_that_pytorch_saved_is_not_called_damaged(tmp_path: Path) -> None:
    torch.save(network().state_dict(), tmp_path / "own.pt")
    with pytest.raises(FileRefusedError, match=r"own\.pt: this is not a file that tenfold wrote"):
        load_checkpoint(tmp_path / "own.pt", network())
