"""Checkpoints of a model and an optimizer by hand, in tenfold's own format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_parts import batches, network

import tenfold
from tenfold.errors import FileRefusedError, UsageError
from tenfold.models import build
from tenfold.training import parts_checkpoint
from tenfold.training.parts import train_epoch
from tenfold.training.parts_files import load_checkpoint, save_checkpoint


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
    monkeypatch.setattr(parts_checkpoint, "VERSION", 1)
    model, path = build("mlp", (1, 4, 4), 3), tmp_path / "x.safetensors"
    save_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1), epoch=2)
    monkeypatch.undo()
    assert load_checkpoint(path, build("mlp", (1, 4, 4), 3)) == {"epoch": 2}


def test_any_other_zip_file_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=1)
    with pytest.raises(
        FileRefusedError, match=r"damaged, or not a state dict that torch\.save wrote"
    ):
        load_checkpoint(tmp_path / "x.npz", network())


def test_tenfold_files_are_not_mistaken_for_one_another(tmp_path: Path) -> None:
    path, model = tmp_path / "x.safetensors", network()
    save_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(FileRefusedError, match="is a checkpoint written by save_checkpoint"):
        tenfold.load(path)


def test_adam_with_maximum_moments_continues(tmp_path: Path) -> None:
    path, model = tmp_path / "x.safetensors", network()
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    train_epoch(model, batches(), optimizer)
    save_checkpoint(path, model, optimizer)
    other = torch.optim.Adam(model.parameters(), amsgrad=True)
    load_checkpoint(path, model, other)
    for parameter, values in optimizer.state.items():
        assert torch.equal(other.state[parameter]["max_exp_avg_sq"], values["max_exp_avg_sq"])


def test_an_unknown_format_is_refused_by_name(tmp_path: Path) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(UsageError, match=r"no format 'pytorch'; did you mean 'torch'\?"):
        save_checkpoint(tmp_path / "x", model, optimizer, format="pytorch")
    assert not any(tmp_path.iterdir())
