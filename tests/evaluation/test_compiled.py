"""A model's logits by compiled kernels, where they can compute it, and by PyTorch elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from engines import needs_kernels
from tenfold.errors import NotNativeError, UsageError
from tenfold.evaluation import predict_logits
from tenfold.evaluation.compiled import CompiledModel, predictor
from tenfold.models import ImageModel, Preprocessing, build
from tenfold.models.tracing import layer_list, more_than_its_code

SHAPE = (3, 8, 8)


def images(n: int = 20, shape: tuple[int, ...] = SHAPE) -> Tensor:
    numbers = torch.Generator().manual_seed(1)
    return torch.randint(256, (n, *shape), dtype=torch.uint8, generator=numbers)


def new_model(*, normalize: bool = True) -> ImageModel:
    torch.manual_seed(0)
    preprocessing = (
        Preprocessing([0.2, 0.4, 0.6], [0.1, 0.2, 0.3]) if normalize else Preprocessing()
    )
    network = build("resnet-small", SHAPE, 5, widths=(4, 6), blocks=1, dropout=0.5)
    return ImageModel(preprocessing, network)


@needs_kernels
@pytest.mark.parametrize("normalize", [False, True])
def test_logits_are_those_of_the_module(normalize: bool) -> None:
    model = new_model(normalize=normalize)
    found = CompiledModel(model, SHAPE).logits(images(), 7)
    assert (found.dtype, found.shape) == (torch.float32, (20, 5))
    torch.testing.assert_close(found, predict_logits(model, images()))
    assert all(module.training for module in model.modules())  # nobody has changed the mode


@needs_kernels
def test_batches_make_no_difference_to_the_bits() -> None:
    compiled = CompiledModel(new_model(), SHAPE)
    wanted = compiled.logits(images(50), 1024)
    for size in (1, 3, 16, 50):
        assert torch.equal(compiled.logits(images(50), size), wanted)


@needs_kernels
def test_images_of_any_size_that_the_network_takes() -> None:
    """One after the other, and back again."""
    model = new_model()
    compiled = CompiledModel(model, SHAPE)
    for shape in ((3, 8, 8), (3, 13, 9), (3, 8, 8)):
        found = compiled.logits(images(4, shape), 2)
        torch.testing.assert_close(found, predict_logits(model, images(4, shape)))
    assert compiled.logits(images(0), 16).shape == (0, 5)


@needs_kernels
def test_images_in_another_layout() -> None:
    compiled = CompiledModel(new_model(), SHAPE)
    wanted = compiled.logits(images(), 8)
    turned = images().contiguous(memory_format=torch.channels_last)
    assert torch.equal(compiled.logits(turned, 8), wanted)
    assert torch.equal(compiled.logits(images(40)[::2], 8), compiled.logits(images(40), 8)[::2])


@needs_kernels
def test_images_that_do_not_fit_are_refused() -> None:
    compiled = CompiledModel(new_model(), SHAPE)
    with pytest.raises(UsageError, match=r"layer 0 \(conv2d\): it reads 1x8x8, wanted 3 channels"):
        compiled.logits(images(2, (1, 8, 8)), 2)


@needs_kernels
def test_the_weights_are_read_where_they_are() -> None:
    model = new_model()
    compiled = CompiledModel(model, SHAPE)
    before = compiled.logits(images(), 8)
    with torch.no_grad():
        model.network.stem[0].weight.mul_(2)
        model.network.stem[1].running_mean.add_(1)
    found = compiled.logits(images(), 8)
    assert not torch.equal(found, before)
    torch.testing.assert_close(found, predict_logits(model, images()))
    other = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    other["network.classifier.bias"] += 3
    torch.testing.assert_close(compiled.logits(images(), 8, other), found + 3)


@needs_kernels
def test_a_model_that_moved_away_is_refused() -> None:
    model = new_model()
    compiled = CompiledModel(model, SHAPE)
    model.network.stem[0].weight.data = model.network.stem[0].weight.data.double()
    with pytest.raises(NotNativeError, match=r"stem\.0\.weight is torch\.float64 with strides"):
        compiled.logits(images(), 8)


@needs_kernels
def test_layers_that_are_known_need_not_be_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model()
    layers = layer_list(model.network)

    def looked_for(network: nn.Module, image_shape: tuple[int, ...]) -> None:
        raise AssertionError("the layers were looked for")

    monkeypatch.setattr("tenfold.evaluation.compiled.require_layer_list", looked_for)
    assert CompiledModel(model, SHAPE, layers).layers == layers


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2


@pytest.mark.parametrize(
    "model",
    [
        lambda: ImageModel(Preprocessing(), nn.Sequential(nn.Flatten(), Doubling())),
        lambda: nn.Sequential(Preprocessing(), nn.Flatten(), nn.Linear(192, 5)),
        lambda: new_model().half().float().double(),
    ],
    ids=["an unknown layer", "another class", "double precision"],
)
def test_pytorch_predicts_what_the_kernels_cannot(model: object) -> None:
    module = model()  # type: ignore[operator]
    if next(module.parameters(), torch.zeros(())).dtype == torch.float64:
        module.preprocessing.register_forward_hook(lambda m, i, pixels: pixels.double())
    found = predictor(module, SHAPE)(images(), 8)
    assert torch.equal(found, predict_logits(module, images(), batch_size=8))


@needs_kernels
def test_the_kernels_predict_what_they_can_unless_they_are_not_wanted() -> None:
    model = new_model()
    by_kernels, by_pytorch = (predictor(model, SHAPE, use_kernels=use) for use in (True, False))
    assert torch.equal(by_kernels(images(), 8), CompiledModel(model, SHAPE).logits(images(), 8))
    assert torch.equal(by_pytorch(images(), 8), predict_logits(model, images(), batch_size=8))


class Broadcasting(nn.Module):
    """PyTorch adds one number of a channel to all its pixels; layers add maps of one size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.classifier = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x + functional.adaptive_avg_pool2d(x, 1)
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


@needs_kernels
def test_a_list_that_images_of_this_shape_do_not_fit_is_none() -> None:
    model = ImageModel(Preprocessing(), Broadcasting())
    assert layer_list(model.network) is not None  # for images of another shape
    assert layer_list(model.network, SHAPE) is None
    with pytest.raises(NotNativeError, match=r"\(add\): it reads 4x1x1, wanted 4x6x6"):
        CompiledModel(model, SHAPE)
    found = predictor(model, SHAPE)(images(), 8)
    assert torch.equal(found, predict_logits(model, images(), batch_size=8))


def negated(model: ImageModel) -> None:
    model.network.register_forward_hook(lambda module, inputs, output: -output)


def with_another_layer(model: ImageModel) -> None:
    model.network.stem = nn.Sequential(*model.network.stem, nn.ReLU6())


def with_another_preprocessing(model: ImageModel) -> None:
    class Halved(Preprocessing):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) / 2

    model.preprocessing = Halved()


def with_another_class(model: ImageModel) -> None:
    for module in model.modules():
        if type(module) is nn.ReLU:
            module.__class__ = nn.Tanh  # type: ignore[assignment]


def without_a_bias(model: ImageModel) -> None:
    model.network.classifier.bias = None


@needs_kernels
@pytest.mark.parametrize(
    "change",
    [
        negated,
        with_another_layer,
        with_another_preprocessing,
        with_another_class,
        without_a_bias,
    ],
)
def test_pytorch_goes_on_where_a_model_is_changed(change: Callable[[ImageModel], None]) -> None:
    model = new_model()
    predict = predictor(model, SHAPE)
    before = predict(images(), 8)
    change(model)
    after = predict(images(), 8)
    assert not torch.equal(after, before)
    assert torch.equal(after, predict_logits(model, images(), batch_size=8))


class OtherEachTime:
    """What a class's attribute looks like while another thread replaces it, and puts it back."""

    def __get__(self, module: object, kind: type) -> Callable[..., None]:
        return lambda *_: None


def test_a_thread_that_traces_does_not_look_like_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tracing replaces `nn.Module.__call__` for all threads."""
    model = new_model()
    monkeypatch.setattr(nn.Module, "__call__", OtherEachTime())
    assert more_than_its_code(model) == ""


@needs_kernels
def test_a_layer_in_the_place_of_another_of_its_kind_changes_nothing_but_the_numbers() -> None:
    model = new_model()
    compiled = CompiledModel(model, SHAPE)
    model.network.classifier = copy.deepcopy(model.network.classifier)
    with torch.no_grad():
        model.network.classifier.weight *= 2
    torch.testing.assert_close(compiled.logits(images(), 8), predict_logits(model, images()))
