"""Weights of tutorials, read into tenfold's models and others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import tenfold
from small_bundles import bundle_with
from tenfold.deployment.bundle import write_bundle
from tenfold.errors import FileRefusedError, UsageError
from tenfold.models import build
from tenfold.training import load_weights, save_checkpoint
from tensor_files import write_tensors


class NeuralNetwork(nn.Module):
    """Of PyTorch's quickstart."""

    def __init__(self) -> None:
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(28 * 28, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
        )

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear_relu_stack(self.flatten(x))
        return logits


class Net(nn.Module):
    """A small CNN for CIFAR-10, written as tutorials do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3)
        self.pool = nn.MaxPool2d(2, 2)
        self.conv2 = nn.Conv2d(6, 16, 3)
        self.fc1 = nn.Linear(16 * 6 * 6, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(nn.functional.relu(self.conv1(x)))
        x = self.pool(nn.functional.relu(self.conv2(x)))
        x = torch.flatten(x, 1)
        x = nn.functional.relu(self.fc1(x))
        x = nn.functional.relu(self.fc2(x))
        logits: Tensor = self.fc3(x)
        return logits


class LeNet5(nn.Module):
    """The variant with a convolution in place of its first linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
        self.c3 = nn.Sequential(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2))
        self.c5 = nn.Sequential(nn.Conv2d(16, 120, 5), nn.ReLU())
        self.f6 = nn.Linear(120, 84)
        self.out = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.c5(self.c3(self.c1(x))).flatten(1)
        logits: Tensor = self.out(nn.functional.relu(self.f6(x)))
        return logits


TUTORIALS: dict[str, tuple[type[nn.Module], tuple[int, int, int], dict[str, str]]] = {
    "mlp": (NeuralNetwork, (1, 28, 28), {"linear_relu_stack.0.weight": "layers.1.weight"}),
    "cifar-cnn": (Net, (3, 32, 32), {"conv1.weight": "features.0.weight"}),
    "lenet": (LeNet5, (1, 28, 28), {"c1.0.weight": "features.0.weight"}),
}
"""By tenfold's name: the class, the shape of its images, and one pair of names."""


@pytest.mark.parametrize("wrapping", ["", "model_state_dict", "net"])
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorials_network_becomes_tenfolds(name: str, wrapping: str, tmp_path: Path) -> None:
    network, shape, pair = TUTORIALS[name]
    theirs = network().eval()
    optimizer = torch.optim.Adam(theirs.parameters())
    theirs(torch.rand(2, *shape)).sum().backward()
    optimizer.step()
    weights = theirs.state_dict()
    checkpoint = {"epoch": 1, wrapping: weights, "optimizer": optimizer.state_dict(), "loss": 0.5}
    torch.save(checkpoint if wrapping else weights, tmp_path / "w.pth")
    ours = build(name, shape, 10).eval()
    names = load_weights(tmp_path / "w.pth", ours)
    assert list(names) == list(weights)
    assert pair.items() <= names.items()
    images = torch.rand(16, *shape)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def small() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))


def is_same(first: nn.Module, second: nn.Module) -> bool:
    """Whatever their names."""
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_names_that_agree_are_not_told(tmp_path: Path) -> None:
    model, path = small(), tmp_path / "w.pth"
    torch.save(model.state_dict(), path)
    assert load_weights(path, other := small()) == {}
    assert is_same(model, other)
    torch.save(nn.DataParallel(model).state_dict(), path)
    assert load_weights(path, other := small()) == {}
    assert is_same(model, other)
    assert load_weights(path, other := nn.ModuleDict({"model": small()})) == {}
    assert is_same(model, other)


def test_the_files_names_are_told_with_their_prefixes(tmp_path: Path) -> None:
    model, path = small(), tmp_path / "w.pth"
    torch.save(nn.DataParallel(model).state_dict(), path)
    names = ("first", "norm", "last")
    other = nn.ModuleDict(dict(zip(names, small(), strict=True)))
    found = load_weights(path, other)
    assert found["module.0.weight"] == "first.weight"
    assert found["module.1.num_batches_tracked"] == "norm.num_batches_tracked"
    assert len(found) == len(model.state_dict())
    assert is_same(model, other)


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_the_weights_of_a_checkpoint_by_tenfold(kind: str, tmp_path: Path) -> None:
    model, path = small(), tmp_path / "w"
    save_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1), kind, epoch=2)
    assert load_weights(path, other := small()) == {}
    assert is_same(model, other)


def test_older_weights_lack_counts_and_may_be_of_another_type(tmp_path: Path) -> None:
    model, path, other = small(), tmp_path / "w.pth", small()
    counted = {n: t for n, t in model.half().state_dict().items() if "batches" not in n}
    torch.save(counted, path)
    other(torch.rand(5, 4))
    assert load_weights(path, other) == {}
    assert other[0].weight.dtype == torch.float32
    assert torch.equal(other[0].weight, model[0].weight.float())
    assert other.state_dict()["1.num_batches_tracked"] == 1


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    weights = small().state_dict() | {key.replace("_", ".", 1): t for key, t in changes.items()}
    return {name: tensor for name, tensor in weights.items() if tensor is not None}


OTHER_NAMES = {f"x{number}": torch.rand(number + 2) for number in range(7)}

REFUSED: dict[str, tuple[dict[str, Tensor], str]] = {
    "more": (changed(more_weight=torch.ones(2)), "more.weight: [2] float32, wanted none"),
    "less": (changed(**{"2_bias": None}), "2.bias: missing, wanted [2] float32"),
    "another shape": (changed(**{"2_bias": torch.ones(5)}), "2.bias: [5] float32, wanted [2]"),
    "whole numbers": (
        changed(**{"2_bias": torch.ones(2, dtype=torch.int64)}),
        "2.bias: [2] int64, wanted [2] float32",
    ),
    "other names": (OTHER_NAMES, "other names than the model's, and cannot be matched"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_changes_nothing(name: str, tmp_path: Path) -> None:
    weights, message = REFUSED[name]
    path, model = tmp_path / "w.pth", small()
    torch.save(weights, path)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(FileRefusedError) as caught:
        load_weights(path, model)
    assert message in caught.value.message
    assert "build the model with the layers, classes and image size" in caught.value.remedy
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in before)


def test_weights_too_large_for_the_model_are_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "w.pth", small().half()
    torch.save(changed(**{"2_bias": torch.tensor([1e5, 0.0])}), path)
    with pytest.raises(FileRefusedError, match=r"not all .* finite in the model's type: 2\.bias"):
        load_weights(path, model)
    load_weights(path, model.float())


def test_a_file_without_order_may_be_saved_in_order(tmp_path: Path) -> None:
    path, model = tmp_path / "w.safetensors", nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    other = nn.ModuleDict({"b": nn.Linear(3, 3), "a": nn.Linear(3, 3)})
    save_checkpoint(path, model, torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(FileRefusedError, match=r"apart: .*torch\.save\(net\.state_dict\(\), FILE"):
        load_weights(path, other)
    torch.save(model.state_dict(), path)
    load_weights(path, other)
    assert is_same(model, other)


def test_a_lazy_model_has_to_see_a_batch_first(tmp_path: Path) -> None:
    path, model = tmp_path / "w.pth", nn.LazyLinear(2)
    torch.save(nn.Linear(4, 2).state_dict(), path)
    with pytest.raises(UsageError, match=r"lazy layers.*: weight, bias; call it once on a batch"):
        load_weights(path, model)
    model(torch.rand(1, 4))
    assert load_weights(path, model) == {}


def test_what_tenfold_itself_wrote(tmp_path: Path) -> None:
    model, path = build("softmax", (1, 2, 2), 2), tmp_path / "model.safetensors"
    header = {"model": "softmax", "input_shape": (1, 2, 2), "classes": ["x", "y"]}
    write_bundle(path, bundle_with(model.state_dict(), **header))
    other = build("softmax", (1, 2, 2), 2)
    for place in (path, tmp_path):
        with pytest.raises(FileRefusedError, match="wanted a file of weights") as caught:
            load_weights(place, other)
    load_weights_as_advised(caught.value.remedy.replace(str(tmp_path), str(path)), other)
    assert is_same(model, other)
    write_tensors(path, {}, kind="tenfold-checkpoint", version=1, header={})
    with pytest.raises(FileRefusedError, match=r"a checkpoint of a run.*tenfold\.load\(RUN\)"):
        load_weights(path, other)


def load_weights_as_advised(remedy: str, model: nn.Module) -> None:
    exec(remedy.partition(" takes")[0], {"model": model, "tenfold": tenfold})
