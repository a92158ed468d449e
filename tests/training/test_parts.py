"""Building blocks for your own training loop: an epoch, and checkpoints by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tenfold
from tenfold.errors import DataError, FileRefusedError, UsageError
from tenfold.models import build
from tenfold.training import parts
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
def test_continuing_from_a_checkpoint_gives_the_same_bits(
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


def test_a_fact_that_is_not_json_is_refused_by_name(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for fact in (torch.zeros(2), np.zeros(2), object(), {1, 2}, [{"a": torch.zeros(2)}]):
        with pytest.raises(
            UsageError, match=r"loss cannot be saved: found an object of type .*, wanted a JSON"
        ):
            save_checkpoint(tmp_path / "x.safetensors", model, optimizer, loss=fact)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fact", "saved"),
    [
        (torch.tensor(1.5, requires_grad=True), 1.5),
        (torch.tensor([[3]]), 3),
        (np.float32(0.5), 0.5),
        (np.array([7]), 7),
        (np.int64(2), 2),
        ([1, {"a": None}], [1, {"a": None}]),
        ([torch.tensor(2.5), {"by": np.float32(0.5)}], [2.5, {"by": 0.5}]),
    ],
    ids=str,
)
def test_one_number_of_any_kind_is_saved(fact: object, saved: object, tmp_path: Path) -> None:
    model, path = network(), tmp_path / "x.safetensors"
    save_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1), loss=fact)
    assert load_checkpoint(path, model) == {"loss": saved}


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_save_file_is_recognized_and_the_remedy_works(zipped: bool, tmp_path: Path) -> None:
    path, model = tmp_path / "own.pt", network()
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(FileRefusedError, match=r"own\.pt: torch\.save wrote this file") as caught:
        load_checkpoint(path, network())
    assert "load_state_dict(torch.load(..., weights_only=True))" in caught.value.remedy
    other = network()
    other.load_state_dict(torch.load(path, weights_only=True))
    save_checkpoint(path, other, torch.optim.SGD(other.parameters(), lr=0.1))
    found = network()
    load_checkpoint(path, found)
    for key, value in model.state_dict().items():
        assert torch.equal(found.state_dict()[key], value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_torch_save_file_is_no_model_of_a_run(zipped: bool, tmp_path: Path) -> None:
    """It cannot become one: there are no classes in it."""
    path = tmp_path / "own.pt"
    torch.save(network().state_dict(), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(FileRefusedError, match=r"lacks the network, classes and") as caught:
        tenfold.load(path)
    assert "save_checkpoint" not in str(caught.value)


def test_version_1_with_the_names_of_today_is_loaded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names changed a little before the version did."""
    monkeypatch.setattr(parts, "VERSION", 1)
    model, path = build("mlp", (1, 4, 4), 3), tmp_path / "x.safetensors"
    save_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1), epoch=2)
    monkeypatch.undo()
    assert load_checkpoint(path, build("mlp", (1, 4, 4), 3)) == {"epoch": 2}


def test_any_other_zip_file_is_just_not_ours(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=1)
    with pytest.raises(FileRefusedError, match="not a file that tenfold wrote; name a checkpoint"):
        load_checkpoint(tmp_path / "x.npz", network())


def test_tenfold_files_are_not_mistaken_for_one_another(tmp_path: Path) -> None:
    path, model = tmp_path / "x.safetensors", network()
    save_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(FileRefusedError, match="is a checkpoint written by save_checkpoint"):
        tenfold.load(path)


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
