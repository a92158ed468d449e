"""Kernels and PyTorch are compared before a run uses them, and nothing is changed by it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from engines import needs_kernels
from tenfold.data.dataset import ImageDataset
from tenfold.errors import NotNativeError
from tenfold.evaluation.compiled import CompiledModel
from tenfold.models import MODELS, ImageModel, Preprocessing, build
from tenfold.models.layers import Add, BatchNorm2d, Conv2d, Layer, Linear, ReLU
from tenfold.native.network import CompiledNetwork, TakenSteps
from tenfold.training import agreement
from tenfold.training.agreement import TOLERANCE, require_agreement
from tenfold.training.engine import StepSettings
from thoroughness import some

pytestmark = needs_kernels

SHAPE = (3, 12, 12)


def data(n: int = 100, shape: tuple[int, ...] = SHAPE) -> ImageDataset:
    """Sorted by class."""
    numbers = torch.Generator().manual_seed(1)
    images = torch.randint(256, (n, *shape), dtype=torch.uint8, generator=numbers)
    return ImageDataset(images, torch.arange(n) * 4 // n, tuple("abcd"))


def model_of(network: nn.Module) -> ImageModel:
    return ImageModel(Preprocessing([0.4] * 3, [0.3] * 3), network)


def resnet(dropout: float = 0.3) -> ImageModel:
    torch.manual_seed(0)
    return model_of(build("resnet-small", SHAPE, 4, widths=(8, 12), blocks=1, dropout=dropout))


DEEP = ("resnet18", "resnet50", "resnet34")
"""Rounding decides so much in them that they are compared with how much that is."""

SHAPES = {"lenet": (3, 28, 28), "cifar-cnn": (3, 32, 32), **dict.fromkeys(DEEP, (3, 64, 64))}

SETTINGS = {
    "plain": StepSettings(64),
    "small batches": StepSettings(3),
    "another loss": StepSettings(64, label_smoothing=0.2, class_weights=(1.0, 0.1, 2.0, 1.0)),
}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        pytest.param(name, given, id=f"{name}, {settings}")
        for name in [*(name for name in MODELS if name not in DEEP), *some(DEEP, 2)]
        for settings, given in SETTINGS.items()
        if settings == "plain" or name not in DEEP
    ],
)
def test_every_model_agrees(name: str, settings: StepSettings) -> None:
    shape = SHAPES.get(name, SHAPE)
    torch.manual_seed(0)
    compiled = CompiledModel(model_of(build(name, shape, 4)), shape)
    require_agreement(compiled, data(shape=shape), settings)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in DEEP])
def test_models_agree_by_far_more_than_is_asked_for(name: str) -> None:
    """So that no run is left to PyTorch for its rounding; but see `TOLERANCE`."""
    shape = SHAPES.get(name, SHAPE)
    differences = []
    for seed in range(5):
        torch.manual_seed(seed)
        compiled = CompiledModel(model_of(build(name, shape, 4)), shape)
        batch = data(32, shape)
        differences.append(
            agreement.largest_difference(
                agreement._step_of_pytorch(compiled.model, batch, SETTINGS["plain"]),
                agreement._step_of_kernels(compiled, batch, SETTINGS["plain"]),
            )
        )
    assert sorted(differences)[2][0] < TOLERANCE / 50, differences


SMALL = (3, 32, 32)


def test_deep_models_with_a_wrong_layer_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a factor of one gradient, which rounding cannot explain, or not there."""
    torch.manual_seed(0)
    layer, factor = "layer2.0.conv1", 1.2
    compiled = CompiledModel(model_of(build("resnet18", SMALL, 4)), SMALL)
    real = agreement._step_of_kernels

    def wrong(*arguments: Any) -> Any:
        results = real(*arguments)
        gradients = dict(results.gradients)
        gradients[f"{layer}.weight"] = gradients[f"{layer}.weight"] * factor
        return replace(results, gradients=gradients)

    monkeypatch.setattr(agreement, "_step_of_kernels", wrong)
    with pytest.raises(NotNativeError, match=re.escape(f"the gradient of {layer}.weight")):
        require_agreement(compiled, data(shape=SMALL), SETTINGS["plain"])


def test_what_rounding_does_to_gradients_does_not_excuse_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    compiled = CompiledModel(model_of(build("resnet18", SMALL, 4)), SMALL)
    real = agreement._step_of_kernels
    monkeypatch.setattr(
        agreement,
        "_step_of_kernels",
        lambda *given: (lambda found: replace(found, logits=found.logits * 1.02))(real(*given)),
    )
    with pytest.raises(NotNativeError, match="differ in"):
        require_agreement(compiled, data(shape=SMALL), SETTINGS["plain"])


def test_a_gradient_that_is_zero_but_for_rounding_is_no_difference() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        *(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)),
    )
    require_agreement(CompiledModel(model_of(network), SHAPE), data(), SETTINGS["plain"])


def test_frozen_parameters_are_not_compared() -> None:
    model = resnet()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("classifier" in name)
    require_agreement(CompiledModel(model, SHAPE), data(), SETTINGS["plain"])


def test_nothing_is_changed() -> None:
    model = resnet()
    model.network.stem.eval()
    model(data(8).images).sum().backward()
    optimizer = torch.optim.Adam(model.parameters())
    tensors = {
        **{name: each.clone() for name, each in model.state_dict().items()},
        **{f"{name}.grad": p.grad.clone() for name, p in model.named_parameters()},
    }
    modes = [module.training for module in model.modules()]
    of_pytorch, of_numpy = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    dataset = data()
    pixels = dataset.image_array.copy()

    require_agreement(CompiledModel(model, SHAPE), dataset, SETTINGS["another loss"])

    for name, each in model.state_dict().items():
        assert torch.equal(each, tensors[name]), name
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, tensors[f"{name}.grad"]), name
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), of_pytorch)
    assert all(map(np.array_equal, np.random.get_state(), of_numpy))  # noqa: NPY002
    assert np.array_equal(dataset.image_array, pixels)
    assert not optimizer.state


def test_the_batch_has_every_class_of_sorted_data(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = agreement._step_of_pytorch

    def spy(model: ImageModel, batch: ImageDataset, settings: StepSettings) -> Any:
        seen.append(batch.label_array.tolist())
        return real(model, batch, settings)

    monkeypatch.setattr(agreement, "_step_of_pytorch", spy)
    require_agreement(CompiledModel(resnet(), SHAPE), data(), StepSettings(64))
    require_agreement(CompiledModel(resnet(), SHAPE), data(), StepSettings(8))
    require_agreement(CompiledModel(resnet(), SHAPE), data(5), StepSettings(64))
    assert [len(labels) for labels in seen] == [32, 8, 5]
    assert all(set(labels) == {0, 1, 2, 3} for labels in seen)


# ---- What it finds -----------------------------------------------------------------------------


def with_layer(kind: type[Layer], **changes: object) -> list[Layer]:
    """The layers of the network, with the first of a kind changed."""
    layers = list(CompiledModel(resnet(), SHAPE).layers)
    place = next(place for place, layer in enumerate(layers) if isinstance(layer, kind))
    layers[place] = layers[place].model_copy(update=changes)
    return layers


def without_relu() -> list[Layer]:
    layers = list(CompiledModel(resnet(), SHAPE).layers)
    place = next(place for place, layer in enumerate(layers) if isinstance(layer, ReLU))
    source = layers[place].input
    for other, layer in enumerate(layers):
        if layer.input == place:
            layers[other] = layer.model_copy(update={"input": source})
    return layers


WRONG_LISTS: dict[str, Callable[[], Sequence[Layer]]] = {
    "batch norm with other eps": lambda: with_layer(BatchNorm2d, eps=0.1),
    "batch norm that forgets": lambda: with_layer(BatchNorm2d, momentum=0.9),
    "an addition of the wrong output": lambda: with_layer(Add, other=1),
    "a ReLU that is not there": without_relu,
}


@pytest.mark.parametrize("layers", WRONG_LISTS.values(), ids=WRONG_LISTS)
def test_a_list_that_is_not_the_network_is_found_out(
    layers: Callable[[], Sequence[Layer]],
) -> None:
    compiled = CompiledModel(resnet(), SHAPE, layers())
    with pytest.raises(
        NotNativeError, match=r"on 32 training images the kernels and PyTorch differ in"
    ):
        require_agreement(compiled, data(), SETTINGS["plain"])


class LooksAtWhatItIsGiven(nn.Module):
    """Tracing takes the way that no tensor takes."""

    def __init__(self) -> None:
        super().__init__()
        self.end = nn.Linear(3 * 144, 4)

    def forward(self, images: Tensor) -> Tensor:
        if isinstance(images, Tensor):
            images = images.clamp(max=0.5)
        return self.end(images.flatten(1))


class OtherInTraining(nn.Module):
    """Only in training, what tracing cannot see."""

    def __init__(self) -> None:
        super().__init__()
        self.end = nn.Linear(3 * 144, 4)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and isinstance(images, Tensor):
            images = images * 1.01
        return self.end(images.flatten(1))


@pytest.mark.parametrize("kind", [LooksAtWhatItIsGiven, OtherInTraining])
def test_a_network_that_deceives_the_tracer_is_found_out(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    compiled = CompiledModel(model_of(kind()), SHAPE)
    with pytest.raises(NotNativeError, match="the kernels and PyTorch differ in"):
        require_agreement(compiled, data(), SETTINGS["plain"])


def spoiled(monkeypatch: pytest.MonkeyPatch, spoil: Callable[[dict[str, Any]], None]) -> None:
    """Kernels whose steps are wrong."""
    real = CompiledNetwork.train

    def train(self: CompiledNetwork, tensors: dict[str, Any], *a: Any, **k: Any) -> TakenSteps:
        taken = real(self, tensors, *a, **k)
        spoil(tensors)
        return taken

    monkeypatch.setattr(CompiledNetwork, "train", train)


def one_wrong_gradient(tensors: dict[str, Any]) -> None:
    gradient = tensors["stages.0.0.residual.0.weight"].moments[0]
    gradient[1] *= 1.05


def one_that_is_no_number(tensors: dict[str, Any]) -> None:
    tensors["classifier.bias"].moments[0][2] = np.nan


def one_wrong_figure(tensors: dict[str, Any]) -> None:
    tensors["stem.1.running_var"].value[0] *= 1.2


@pytest.mark.parametrize(
    ("spoil", "place"),
    [
        (one_wrong_gradient, r"the gradient of stages\.0\.0\.residual\.0\.weight: relative"),
        (one_that_is_no_number, r"the gradient of classifier\.bias: relative difference inf,"),
        (one_wrong_figure, "the logits: relative"),
    ],
)
def test_kernels_that_are_wrong_are_found_out(
    spoil: Callable[[dict[str, Any]], None], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoiled(monkeypatch, spoil)
    with pytest.raises(NotNativeError, match=place):
        require_agreement(CompiledModel(resnet(), SHAPE), data(), SETTINGS["plain"])


def test_one_batch_that_rounding_decides_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = iter([True, True, False])

    def spoil(tensors: dict[str, Any]) -> None:
        if next(batches):
            one_wrong_gradient(tensors)

    spoiled(monkeypatch, spoil)
    require_agreement(CompiledModel(resnet(), SHAPE), data(), SETTINGS["plain"])
    assert next(batches, None) is None


def test_dropout_by_function_is_left_out_of_the_comparison() -> None:
    class ByFunction(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.end = nn.Conv2d(3, 4, 3), nn.Linear(400, 4)

        def forward(self, images: Tensor) -> Tensor:
            features = nn.functional.dropout(self.first(images), 0.4, self.training)
            return self.end(nn.functional.dropout(features.flatten(1), training=self.training))

    compiled = CompiledModel(model_of(ByFunction()), SHAPE)
    assert sum(layer.op == "dropout" for layer in compiled.layers) == 2
    require_agreement(compiled, data(), SETTINGS["plain"])
    assert isinstance(compiled.layers[0], Conv2d)
    assert isinstance(compiled.layers[-1], Linear)
