"""Checkpoints as tutorials write and read them, by `torch.save` and `torch.load`."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_parts import batches, network
from torch import nn

from tenfold.errors import FileRefusedError, UsageError
from tenfold.training import load_checkpoint, load_weights, save_checkpoint, train_epoch

KINDS: dict[str, Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]] = {
    "SGD": lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
    "Adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, amsgrad=True),
    "AdamW": lambda parameters: torch.optim.AdamW(parameters, lr=0.01),
    "RMSprop": lambda parameters: torch.optim.RMSprop(parameters, lr=0.01, momentum=0.5),
    "NAdam": lambda parameters: torch.optim.NAdam(parameters, lr=0.01),
}


def trained(kind: str = "Adam") -> tuple[nn.Module, torch.optim.Optimizer, float]:
    model = network()
    optimizer = KINDS[kind](model.parameters())
    return model, optimizer, train_epoch(model, batches(), optimizer)[0]


def untrained(kind: str = "Adam") -> tuple[nn.Module, torch.optim.Optimizer]:
    model = network()
    return model, KINDS[kind](model.parameters())


def same_after_an_epoch(
    first: tuple[nn.Module, torch.optim.Optimizer], second: tuple[nn.Module, torch.optim.Optimizer]
) -> bool:
    found = []
    for model, optimizer in (first, second):
        train_epoch(model, batches(), optimizer)
        found.append(model.state_dict())
    return all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def by_hand(path: Path, **changes: object) -> tuple[nn.Module, torch.optim.Optimizer]:
    """Written as PyTorch's own tutorial does: "Saving & Loading a General Checkpoint"."""
    model, optimizer, loss = trained()
    checkpoint = {
        "epoch": 5,
        "model_state_dict": model.state_dict(),
        "optimizer_state_dict": optimizer.state_dict(),
        "loss": torch.tensor(loss, requires_grad=True) * 1,
        **changes,
    }
    torch.save({key: value for key, value in checkpoint.items() if value is not None}, path)
    return model, optimizer


# --- writing


@pytest.mark.parametrize("kind", KINDS)
def test_a_tutorial_reads_it_and_goes_on_with_the_same_numbers(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    model, optimizer, loss = trained(kind)
    save_checkpoint(path, model, optimizer, format="torch", epoch=1, loss=torch.tensor(loss))

    other, its_optimizer = untrained(kind)
    checkpoint = torch.load(path, weights_only=True)
    other.load_state_dict(checkpoint["model_state_dict"])
    its_optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
    assert checkpoint["epoch"] == 1
    assert checkpoint["loss"] == pytest.approx(loss)
    assert same_after_an_epoch((model, optimizer), (other, its_optimizer))


def test_only_numbers_of_the_states_are_written(tmp_path: Path) -> None:
    """Not the rest of a tensor that they are a view of, and none that share memory with it."""
    path, model = tmp_path / "x.pth", nn.Linear(2, 2)
    model.weight = nn.Parameter(torch.ones(1000, 1000)[:2, :2])
    optimizer = torch.optim.SGD(model.parameters(), lr=np.float64(0.1))
    save_checkpoint(path, model, optimizer, format="torch")
    assert path.stat().st_size < 10_000
    assert load_checkpoint(path, model, optimizer) == {}
    assert type(optimizer.param_groups[0]["lr"]) is float


@pytest.mark.parametrize("name", ["model_state_dict", "optimizer_state_dict"])
def test_a_fact_with_the_name_of_a_state_is_refused(name: str, tmp_path: Path) -> None:
    facts: dict[str, Any] = {name: 1}
    with pytest.raises(UsageError, match=f"a fact is called {name}.*give it another name"):
        save_checkpoint(tmp_path / "x.pth", *untrained(), format="torch", **facts)
    assert not any(tmp_path.iterdir())


def test_a_name_that_torch_load_misunderstands_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.safetensors.*choose a name .* \.pth"):
        save_checkpoint(tmp_path / "x.safetensors", *untrained(), format="torch")
    path = tmp_path / "other.safetensors"
    model, optimizer = by_hand(path)
    other = untrained()
    load_checkpoint(path, *other)
    assert same_after_an_epoch((model, optimizer), other)


def test_an_optimizer_with_objects_is_refused(tmp_path: Path) -> None:
    model, optimizer = untrained()
    optimizer.param_groups[0]["rule"] = object()
    with pytest.raises(UsageError, match="the optimizer's state has an object of type object"):
        save_checkpoint(tmp_path / "x.pth", model, optimizer, format="torch")
    assert not any(tmp_path.iterdir())


# --- reading


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_again_with_the_same_facts(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    model, optimizer, loss = trained(kind)
    facts: dict[str, Any] = {"loss": loss, "history": [{"epoch": 1}], "note": "a", "best": None}
    save_checkpoint(path, model, optimizer, "torch", **facts)
    other = untrained(kind)
    assert load_checkpoint(path, *other) == facts
    assert same_after_an_epoch((model, optimizer), other)


@pytest.mark.parametrize("weights", ["model_state_dict", "state_dict", "model", "net"])
@pytest.mark.parametrize("optimizer", ["optimizer_state_dict", "optimizer", "optim"])
def test_the_usual_keys(weights: str, optimizer: str, tmp_path: Path) -> None:
    path, (model, its_optimizer, _) = tmp_path / "ckpt.pth", trained()
    torch.save({weights: model.state_dict(), optimizer: its_optimizer.state_dict(), "acc": 9}, path)
    other = untrained()
    assert load_checkpoint(path, *other) == {"acc": 9}
    assert same_after_an_epoch((model, its_optimizer), other)


def test_a_tutorials_file_of_any_facts(tmp_path: Path) -> None:
    path, state = tmp_path / "ckpt.pth", torch.get_rng_state()
    facts: dict[str, Any] = {
        "scheduler": {"last_epoch": 3, "base_lrs": [0.1]},
        "losses": [torch.tensor(0.5), 0.25],
        "size": (3, torch.tensor([4])),
        "random": state,
    }
    wanted = by_hand(path, **facts)
    other = untrained()
    found = load_checkpoint(path, *other)
    assert torch.equal(found.pop("random"), state)
    assert found.pop("loss") == pytest.approx(trained()[2])
    assert found == {
        "epoch": 5,
        "scheduler": {"last_epoch": 3, "base_lrs": [0.1]},
        "losses": [0.5, 0.25],
        "size": (3, 4),
    }
    assert same_after_an_epoch(wanted, other)


def test_prefixes_of_other_programs_do_not_matter(tmp_path: Path) -> None:
    path, (model, optimizer, _) = tmp_path / "ckpt.pth", trained()
    wrapped = nn.DataParallel(model)
    torch.save({"net": wrapped.state_dict(), "optimizer_states": [optimizer.state_dict()]}, path)
    other = untrained()
    load_checkpoint(path, *other)
    assert same_after_an_epoch((model, optimizer), other)
    within = nn.ModuleDict({"model": network()})  # a name of the model's own
    save_checkpoint(path, within, torch.optim.SGD(within.parameters(), lr=0.1), "torch")
    load_checkpoint(path, within)


def with_named_groups(model: nn.Module, lr: float) -> torch.optim.Optimizer:
    weight, *others = model.parameters()
    groups = [{"params": [weight], "name": "first"}, {"params": others, "lr": lr, "name": "rest"}]
    return torch.optim.AdamW(groups, lr=0.01)


@pytest.mark.parametrize("is_old", [False, True])
def test_groups_with_names_and_of_older_versions(is_old: bool, tmp_path: Path) -> None:
    path, model = tmp_path / "ckpt.pth", network()
    optimizer = with_named_groups(model, 0.02)
    train_epoch(model, batches(), optimizer)
    state = deepcopy(optimizer.state_dict())
    if is_old:  # older versions of PyTorch do not save these
        for group in state["param_groups"]:
            del group["decoupled_weight_decay"], group["fused"]
    torch.save({"model": model.state_dict(), "optimizer": state}, path)
    other = network()
    its_optimizer = with_named_groups(other, 0.5)
    load_checkpoint(path, other, its_optimizer)
    assert [group["lr"] for group in its_optimizer.param_groups] == [0.01, 0.02]
    assert same_after_an_epoch((model, optimizer), (other, its_optimizer))


def test_weights_alone_are_enough_to_evaluate(tmp_path: Path) -> None:
    path, (model, _, _) = tmp_path / "w.pth", trained()
    torch.save(model.state_dict(), path)
    other = network()
    assert load_checkpoint(path, other) == {}
    assert all(map(torch.equal, model.parameters(), other.parameters()))


# --- what is refused


class Runs:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("it ran"),))


def weights_only(path: Path) -> None:
    torch.save(network().state_dict(), path)


def cut(path: Path) -> None:
    by_hand(path)
    path.write_bytes(path.read_bytes()[:-500])


def in_itself(path: Path) -> None:
    loop: list[object] = []
    loop.append(loop)
    by_hand(path, loop=loop)


def changed_state(key: str, value: object) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        state = deepcopy(trained()[1].state_dict())
        state["state"][0][key] = value
        by_hand(path, optimizer_state_dict=state)

    return write


def changed_group(**changes: object) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        state = deepcopy(trained()[1].state_dict())
        state["param_groups"][0] |= changes
        by_hand(path, optimizer_state_dict=state)

    return write


LEAVE_IT_OUT = "load_checkpoint(path, model)"
SAVE_STATES = "save state dicts, numbers and text instead of objects"

REFUSED: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "empty": (lambda path: path.write_bytes(b""), "0 bytes", "restore"),
    "cut": (cut, "it is damaged", "get or save it again"),
    "code": (lambda path: by_hand(path, loss=Runs()), "could run code", SAVE_STATES),
    "plain pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1}, 2)), "damaged", "again"),
    "a whole model": (lambda path: torch.save(network(), path), "could run code", SAVE_STATES),
    "a number of NumPy": (
        lambda path: by_hand(path, loss=np.mean([1.0, 2.0])),
        "such as numpy",
        "a number of NumPy as float",
    ),
    "weights only": (weights_only, "it has weights, but no optimizer's state", LEAVE_IT_OUT),
    "another name for an optimizer": (
        lambda path: by_hand(path, optimizer_state_dict="Adam"),
        "it has weights, but no optimizer's state",
        LEAVE_IT_OUT,
    ),
    "two optimizers": (
        lambda path: by_hand(path, second=trained()[1].state_dict()),
        "the states of 2 optimizers: optimizer_state_dict, second",
        "optimizer.load_state_dict(torch.load(FILE, weights_only=True)[KEY])",
    ),
    "two networks": (
        lambda path: by_hand(path, net=network().state_dict()),
        "weights of several networks: model_state_dict, net",
        "save only the weights",
    ),
    "another network": (
        lambda path: by_hand(path, model_state_dict=network(9).state_dict()),
        r"another architecture: 0.bias: [9] float32, wanted [8]",
        "build the model and the optimizer as they were",
    ),
    "weights that are not finite": (
        lambda path: by_hand(path, model_state_dict={"0.bias": torch.tensor([torch.inf])}),
        "not all of its weights are finite",
        "",
    ),
    "a state that is not finite": (
        changed_state("exp_avg", torch.full((8, 4), torch.nan)),
        "not all numbers of its optimizer's state are finite",
        LEAVE_IT_OUT,
    ),
    "a state of another shape": (changed_state("exp_avg", torch.zeros(3)), "no usable exp_avg", ""),
    "a state of other things": (changed_state("speed", torch.zeros(8, 4)), "speed, step, want", ""),
    "AdamW": (
        changed_group(decoupled_weight_decay=True),
        "the checkpoint's optimizer is AdamW, this one is Adam",
        LEAVE_IT_OUT,
    ),
    "SGD": (
        lambda path: by_hand(path, optimizer_state_dict=trained("SGD")[1].state_dict()),
        "the checkpoint's optimizer is SGD, this one is Adam",
        LEAVE_IT_OUT,
    ),
    "other groups": (
        changed_group(params=[0, 1]),
        "has 1 group of 2 parameters, this one 1 group of 4 parameters",
        LEAVE_IT_OUT,
    ),
    "another order": (changed_group(params=[3, 2, 1, 0]), "does not number", LEAVE_IT_OUT),
    "another setting": (changed_group(speed=1), "one with amsgrad, betas, eps, lr, speed", ""),
    "a repeated number": (
        lambda path: by_hand(path, mask=torch.zeros(1).expand(10**9)),
        "its mask has a tensor that is not plain numbers",
        "torch.load(FILE, weights_only=True)",
    ),
    "many views": (
        lambda path: by_hand(path, views=[torch.zeros(300, 300).t()] * 40),
        "its views takes far more memory than the file has",
        "torch.load(FILE, weights_only=True)",
    ),
    "a list in itself": (in_itself, "its loop takes far more memory", "torch.load(FILE"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write, message, remedy = REFUSED[name]
    path = tmp_path / "checkpoint.pth"
    write(path)
    model, optimizer, _ = trained()
    before = deepcopy((model.state_dict(), optimizer.state_dict()))
    with pytest.raises(FileRefusedError) as caught:
        load_checkpoint(path, model, optimizer)
    assert caught.value.message.startswith(f"{path}: ")
    assert message in caught.value.message
    assert remedy in caught.value.remedy
    after = model.state_dict(), optimizer.state_dict()
    torch.testing.assert_close(after, before, rtol=0, atol=0)
    assert not (tmp_path / "it ran").exists()


def test_a_state_that_pytorch_refuses_halfway_changes_nothing(tmp_path: Path) -> None:
    """Its own check comes after it has replaced the state."""
    path = tmp_path / "checkpoint.pth"
    model, optimizer, _ = trained("NAdam")
    state = deepcopy(optimizer.state_dict())
    del state["state"][0]["step"]
    torch.save({"model": model.state_dict(), "optimizer": state}, path)
    before = deepcopy(optimizer.state_dict())
    with pytest.raises(FileRefusedError, match="optimizer does not fit: 'step'"):
        load_checkpoint(path, model, optimizer)
    torch.testing.assert_close(optimizer.state_dict(), before, rtol=0, atol=0)


def test_what_is_advised_works(tmp_path: Path) -> None:
    """Of a file that does not fit: without an optimizer, by order, and what can be saved."""
    path = tmp_path / "checkpoint.pth"
    model, _ = by_hand(path)
    other = nn.ModuleDict({"a": nn.Linear(4, 8), "b": nn.Linear(8, 3)})
    with pytest.raises(FileRefusedError, match=r"fit in their order: .*load_weights\(path, model"):
        load_checkpoint(path, other)
    assert load_weights(path, other)["0.weight"] == "a.weight"
    by_hand(path, optimizer_state_dict=None)
    load_checkpoint(path, other := network())
    assert all(map(torch.equal, model.parameters(), other.parameters()))
    by_hand(path, second=trained()[1].state_dict())
    untrained()[1].load_state_dict(torch.load(path, weights_only=True)["second"])
    by_hand(path, loss=float(np.mean([1.0, 2.0])))
    assert load_checkpoint(path, *untrained()) == {"epoch": 5, "loss": 1.5}
