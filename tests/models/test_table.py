"""One suite for every model of the table, and what `build` refuses."""

import copy
import json
import subprocess
import sys
from itertools import product
from pkgutil import resolve_name

import pytest
import torch
from torch import nn

from tenfold.errors import UsageError
from tenfold.models import MODELS, build, model_arguments
from tenfold.types import ImageShape
from thoroughness import some

ALL_SHAPES = [*product([1, 3], [(8, 8), (32, 32), (28, 36)], [1, 37])]
FEW_SHAPES = [(1, (8, 8), 37), (3, (28, 36), 1)]
TABLE = pytest.mark.parametrize("name", MODELS)
SMALLEST = {"lenet": 28, "cifar-cnn": 10, "convpool": 4}
"""By hand: lenet 28, 28, 14, 10, 5, 1; cifar-cnn 10, 8, 4, 2, 1; convpool 4, 2, 1 pixels."""

SMALL = {"convpool": {"channels": [4, 8], "hidden": [16, 8]}}
"""Arguments that keep the widest model fast in tests where its width does not matter."""


def small(name, shape=(1, 28, 28), classes=10, **arguments):
    torch.manual_seed(0)
    return build(name, shape, classes, **(SMALL.get(name, {}) | arguments))


def images(shape, n=4):
    return torch.rand(n, *shape, generator=torch.Generator().manual_seed(1))


def test_a_shape_with_the_channels_last_is_refused():
    with pytest.raises(UsageError, match=r"is \(28, 28, 1\), wanted channels, .*: \(1, 28, 28\)"):
        build("lenet", (28, 28, 1), 10)


@TABLE
@pytest.mark.parametrize(
    ("channels", "size", "classes"),
    [*FEW_SHAPES, *some([each for each in ALL_SHAPES if each not in FEW_SHAPES], 0)],
)
def test_it_gives_one_logit_for_every_image_and_class(name, channels, size, classes):
    shape = (channels, *size)
    if min(size) < SMALLEST.get(name, 1):
        with pytest.raises(UsageError, match="too small"):
            small(name, shape, classes)
        return
    logits = small(name, shape, classes)(images(shape))
    assert logits.shape == (4, classes)
    assert logits.dtype == torch.float32
    assert logits.isfinite().all()


@TABLE
def test_gradients_reach_every_parameter(name):
    model = small(name, (3, 32, 32))
    labels = torch.tensor([0, 3, 5, 9, 1, 2, 4, 6])
    nn.functional.cross_entropy(model(images((3, 32, 32), n=8)), labels).backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.count_nonzero() > 0, parameter_name


@TABLE
def test_in_evaluation_an_image_gives_the_same_logits_each_time_and_in_any_batch(name):
    model = small(name).eval()
    batch = images((1, 28, 28), n=6)
    logits = model(batch)
    assert torch.equal(model(batch), logits)
    for i in range(len(batch)):
        torch.testing.assert_close(model(batch[i : i + 1]), logits[i : i + 1])


@TABLE
def test_training_mode_differs_from_evaluation_only_by_dropout_and_normalization(name):
    model = small(name)
    batch = images((1, 28, 28), n=8)
    same = torch.equal(model.train()(batch), model.eval()(batch))
    assert same == (name in {"mlp", "lenet", "cifar-cnn"} or "softmax" in name)


@pytest.mark.parametrize(
    "name", [name for name in MODELS if "dropout" in model_arguments(name, {})]
)
def test_dropout_acts_only_in_training(name):
    model, other = small(name, dropout=0.5), small(name, dropout=0.1)
    batch = images((1, 28, 28), n=8)
    assert not torch.equal(model.train()(batch), model.train()(batch))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.eval()(batch), other.eval()(batch))


@pytest.mark.parametrize("name", ["mlp", "lenet", "cifar-cnn", "convpool"])
def test_without_dropout_layers_are_numbered_as_in_a_network_written_without_them(name):
    model = small(name, dropout=0.0)
    assert not [module for module in model.modules() if isinstance(module, nn.Dropout)]
    sequence = "layers" if name == "mlp" else "classifier"
    linear = [
        int(key.split(".")[1])
        for key in model.state_dict()
        if key.startswith(sequence) and key.endswith("weight")
    ]
    assert linear == [1 + 2 * place for place in range(len(linear))]


@TABLE
def test_a_state_dict_carries_everything_into_another_model(name):
    model = small(name)
    model.train()(images((1, 28, 28), n=8))  # updates the batch normalization statistics
    torch.manual_seed(99)
    other = build(name, (1, 28, 28), 10, **SMALL.get(name, {}))
    other.load_state_dict(model.state_dict())
    batch = images((1, 28, 28))
    assert torch.equal(other.eval()(batch), model.eval()(batch))


@TABLE
def test_on_the_meta_device_it_has_the_same_shapes_and_no_weights(name):
    real, outline = small(name), small(name, device="meta")
    assert all(tensor.is_meta for tensor in outline.state_dict().values())
    assert {key: (t.shape, t.dtype) for key, t in outline.state_dict().items()} == {
        key: (t.shape, t.dtype) for key, t in real.state_dict().items()
    }


@TABLE
def test_the_same_seed_gives_the_same_weights_as_the_class_itself(name):
    built = small(name).state_dict()
    given = model_arguments(name, SMALL.get(name, {}))
    torch.manual_seed(0)
    direct = resolve_name(MODELS[name])(
        ImageShape(1, 28, 28),
        10,
        **{key: tuple(v) if isinstance(v, list) else v for key, v in given.items()},
    ).state_dict()
    assert list(built) == list(direct)
    assert all(torch.equal(built[key], direct[key]) for key in built)


@TABLE
def test_it_learns_four_images_by_heart(name):
    model = small(name, (1, 28, 28), classes=4, **_without_dropout(name)).train()
    batch, labels = images((1, 28, 28)), torch.arange(4)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch), labels)
        if loss < 0.1:  # each image is right, with a probability of 0.67 at least
            return
        loss.backward()
        optimizer.step()
    pytest.fail(f"the loss is still {loss}")


@TABLE
def test_a_copy_is_independent(name):
    model = small(name)
    before = copy.deepcopy(model.state_dict())
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@TABLE
def test_the_complete_arguments_survive_json(name):
    complete = model_arguments(name, SMALL.get(name, {}))
    read = json.loads(json.dumps(complete))
    assert read == complete
    assert model_arguments(name, read) == complete
    shapes = [p.shape for p in build(name, (1, 28, 28), 10, **read).parameters()]
    assert shapes == [p.shape for p in small(name).parameters()]


@TABLE
@pytest.mark.parametrize(
    ("shape", "classes"),
    [((0, 28, 28), 10), ((1, 28, -1), 10), ((1, 28, 28), 0), ((1, 2**40, 28), 10)],
)
def test_it_refuses_images_without_pixels_and_no_classes(name, shape, classes):
    with pytest.raises(UsageError, match=f"{name}: .*wanted 1\\.\\."):
        build(name, shape, classes)


@pytest.mark.parametrize("name", SMALLEST)
def test_images_that_are_too_small_are_refused_with_the_layer_and_the_smallest_size(name):
    smallest = SMALLEST[name]
    small(name, (1, smallest, smallest))
    with pytest.raises(UsageError) as refusal:
        small(name, (3, smallest, smallest - 1))
    message = str(refusal.value)
    assert (
        f"{name}: images of 3x{smallest}x{smallest - 1} are too small: layer features." in message
    )
    assert f"at least {smallest}x{smallest} pixels" in message


def test_the_layer_that_runs_out_of_pixels_is_named():
    with pytest.raises(UsageError, match=r"layer features\.3 \(Conv2d\)"):  # 8 -> 8 -> 4 < 5
        build("lenet", (1, 8, 8), 10)
    with pytest.raises(UsageError, match=r"layer features\.5 \(MaxPool2d\)"):  # 8 -> 6 -> 3 -> 1
        build("cifar-cnn", (1, 8, 8), 10)
    with pytest.raises(UsageError, match="at least 1048576x1048576 pixels"):  # 2**20
        build("convpool", (1, 28, 28), 10, channels=[1] * 20, kernels=[1] * 20)


@pytest.mark.parametrize(
    ("name", "shape", "published"),
    [
        ("softmax", (1, 28, 28), 7_850),
        ("softmax-scratch", (1, 28, 28), 7_850),
        ("mlp", (1, 28, 28), 669_706),
        ("lenet", (1, 28, 28), 61_706),
        ("cifar-cnn", (3, 32, 32), 81_302),
        ("convpool", (1, 28, 28), 15_168_266),
    ],
)
def test_parameter_counts_are_the_published_ones(name, shape, published):
    assert sum(p.numel() for p in build(name, shape, 10, device="meta").parameters()) == published


def test_lenet_on_cifar_images_flattens_to_480():
    assert build("lenet", (3, 32, 32), 10).classifier[1].in_features == 120 * 2 * 2


def test_the_layers_of_lenet_are_the_tutorials():
    ours = small("lenet").eval()
    theirs = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 120, 5), nn.ReLU(), nn.Flatten(),
        nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    _load_in_order(theirs, ours)
    batch = images((1, 28, 28))
    assert torch.equal(ours(batch), theirs(batch))


def test_the_layers_of_cifar_cnn_are_the_tutorials():
    ours = small("cifar-cnn", (3, 32, 32)).eval()
    theirs = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(576, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    _load_in_order(theirs, ours)
    batch = images((3, 32, 32))
    assert torch.equal(ours(batch), theirs(batch))


def test_the_layers_of_convpool_are_the_tutorials():
    torch.manual_seed(0)
    ours = build("convpool", (1, 28, 28), 10)
    theirs = nn.Sequential(
        nn.Conv2d(1, 64, 11, padding="same"), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 128, 5, padding="same"), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(6272, 2048), nn.ReLU(), nn.Dropout(0.3),
        nn.Linear(2048, 1024), nn.ReLU(), nn.Linear(1024, 10),
    )  # fmt: skip
    _load_in_order(theirs, ours)
    batch = images((1, 28, 28))
    for mode in (True, False):
        torch.manual_seed(5)  # the same units are dropped
        our_logits = ours.train(mode)(batch)
        torch.manual_seed(5)
        torch.testing.assert_close(our_logits, theirs.train(mode)(batch))


def test_the_layers_of_mlp_are_the_tutorials():
    ours = small("mlp")
    theirs = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(),
        nn.Linear(512, 10),
    )  # fmt: skip
    _load_in_order(theirs, ours)
    batch = images((1, 28, 28))
    assert torch.equal(ours(batch), theirs(batch))


def test_softmax_starts_from_a_narrow_normal_distribution_and_no_bias():
    linear = small("softmax").linear
    assert linear.bias.count_nonzero() == 0
    # 7,840 draws: the standard error of their deviation is 0.01 / sqrt(2 * 7840) = 8e-5.
    assert abs(linear.weight.std().item() - 0.01) < 5 * 8e-5
    assert abs(linear.weight.mean().item()) < 5 * 0.01 / 7840**0.5
    assert small("softmax", init_std=0).linear.weight.count_nonzero() == 0


def test_softmax_from_scratch_is_softmax():
    scratch, layers = small("softmax-scratch"), small("softmax")
    assert [(name, tuple(p.shape)) for name, p in scratch.named_parameters()] == [
        ("W", (784, 10)),
        ("b", (10,)),
    ]
    assert abs(scratch.W.std().item() - 0.01) < 5 * 8e-5
    assert scratch.b.count_nonzero() == 0
    with torch.no_grad():
        layers.linear.weight.copy_(scratch.W.T)
    batch = images((1, 28, 28))
    torch.testing.assert_close(scratch(batch), layers(batch))


def test_resnet_small_starts_as_its_paper_says():
    model = small("resnet-small", (3, 32, 32))
    weight = model.stages[2][0].residual[3].weight  # 128 channels of 3x3
    expected = (2 / (128 * 9)) ** 0.5
    assert abs(weight.std().item() / expected - 1) < 5 / (2 * weight.numel()) ** 0.5


def test_resnet_small_keeps_to_its_size_and_grows_by_its_arguments():
    def parameters(**arguments):
        model = build("resnet-small", (3, 32, 32), 10, device="meta", **arguments)
        return sum(p.numel() for p in model.parameters())

    assert 200_000 < parameters() < 700_000
    assert parameters(blocks=2) > 1.5 * parameters()
    assert parameters(widths=[16, 32]) < parameters() / 10


def test_a_residual_block_that_adds_nothing_passes_its_input_on():
    model = small("resnet-small").eval()
    block = model.stages[0][0]
    nn.init.zeros_(block.residual[4].weight)
    features = images((32, 8, 8))
    assert torch.equal(block(features), features)


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match=r"there is no model 'lenett'; did you mean 'lenet'\?"):
        build("lenett", (1, 28, 28), 10)
    with pytest.raises(UsageError, match=r"choose one of: cifar-cnn, convpool, lenet"):
        model_arguments("\x1b[31mwizard", {})


def test_an_unknown_argument_is_refused_with_the_nearest_one_and_the_list():
    message = r"mlp: there is no argument 'hiden', the model has hidden, dropout; did you mean 'hi"
    with pytest.raises(UsageError, match=message):
        build("mlp", (1, 28, 28), 10, hiden=[3])
    with pytest.raises(UsageError, match=message):
        model_arguments("mlp", {"hiden": [3]})


@pytest.mark.parametrize(
    ("name", "argument", "value", "wanted"),
    [
        ("mlp", "hidden", "512", "a list of whole numbers"),
        ("mlp", "hidden", 512, "a list of whole numbers"),
        ("mlp", "hidden", [1.5], "a list of whole numbers"),
        ("mlp", "hidden", [True], "a list of whole numbers"),
        ("mlp", "hidden", [64, 0], r"hidden\[1\] is 0, wanted 1\.\.65536"),
        ("mlp", "hidden", [10**30], r"wanted 1\.\.65536"),
        ("mlp", "hidden", [1] * 65, "wanted at most 64"),
        ("mlp", "hidden", [65536, 65536], "parameters, wanted at most"),
        ("mlp", "dropout", "a lot", "a number"),
        ("mlp", "dropout", True, "a number"),
        ("mlp", "dropout", None, "a number"),
        ("mlp", "dropout", 10**400, "a number"),
        ("mlp", "dropout", 1, "wanted 0 <= dropout < 1"),
        ("lenet", "dropout", -0.1, "wanted 0 <= dropout < 1"),
        ("cifar-cnn", "dropout", float("nan"), "wanted 0 <= dropout < 1"),
        ("cifar-cnn", "hidden", [-1], r"hidden\[0\] is -1"),
        ("convpool", "dropout", 1.0, "wanted 0 <= dropout < 1"),
        ("convpool", "kernels", [11], "channels has length 2, but kernels 1,"),
        ("convpool", "kernels", [11, 4], r"kernels\[1\] is 4, wanted an odd number"),
        ("convpool", "kernels", [11, 129], r"kernels\[1\] is 129, wanted 1\.\.127"),
        ("convpool", "channels", [64, 0], r"channels\[1\] is 0"),
        ("convpool", "hidden", [0], r"hidden\[0\] is 0"),
        ("resnet-small", "widths", [], "one width per stage"),
        ("resnet-small", "blocks", 0, r"blocks is 0, wanted 1\.\.21"),
        ("resnet-small", "blocks", 1.0, "a whole number"),
        ("softmax", "init_std", float("inf"), "wanted 0 <= init_std"),
        ("softmax", "init_std", -1, "wanted 0 <= init_std"),
    ],
)
def test_an_argument_of_a_wrong_type_or_out_of_range_is_refused(name, argument, value, wanted):
    with pytest.raises(UsageError, match=f"{name}: .*{wanted}"):
        build(name, (1, 28, 28), 10, **{argument: value})


class EveryKind(nn.Module):
    """A dummy model with one argument of every type."""

    def __init__(
        self,
        input_shape: ImageShape,
        classes: int,
        *,
        bias: bool = True,
        activation: str = "relu",
        scale: float = 1.0,
        width: int = 4,
        hidden: tuple[int, ...] = (3,),
    ) -> None:
        super().__init__()
        self.given = (bias, activation, scale, width, hidden)
        self.linear = nn.Linear(input_shape.channels, classes, bias=bias)


@pytest.fixture
def every_kind(monkeypatch):
    monkeypatch.setitem(MODELS, "every-kind", f"{__name__}:EveryKind")


@pytest.mark.usefixtures("every_kind")
def test_arguments_may_be_booleans_strings_numbers_and_lists():
    given = {"bias": False, "activation": "gelu", "scale": 2, "width": 5, "hidden": [1, 2]}
    model = build("every-kind", (1, 2, 2), 3, **given)
    assert model.given == (False, "gelu", 2.0, 5, (1, 2))
    assert type(model.given[2]) is float
    assert model.linear.bias is None
    assert model_arguments("every-kind", given) == given
    assert json.loads(json.dumps(model_arguments("every-kind", {}))) == {
        "bias": True, "activation": "relu", "scale": 1.0, "width": 4, "hidden": [3],
    }  # fmt: skip


@pytest.mark.usefixtures("every_kind")
@pytest.mark.parametrize(
    ("argument", "value", "wanted"),
    [
        ("bias", 1, "bias is 1, wanted true or false"),
        ("bias", "true", "bias is 'true', wanted true or false"),
        ("bias", None, "bias is None, wanted true or false"),
        ("activation", True, "activation is True, wanted text"),
        ("activation", 3, "activation is 3, wanted text"),
        ("activation", ["relu"], "wanted text"),
        ("scale", True, "scale is True, wanted a number"),
        ("scale", "1.0", "scale is '1.0', wanted a number"),
        ("width", False, "width is False, wanted a whole number"),
        ("width", 4.0, "width is 4.0, wanted a whole number"),
        ("width", "4", "width is '4', wanted a whole number"),
        ("hidden", [True], "wanted a list of whole numbers"),
        ("hidden", "34", "wanted a list of whole numbers"),
    ],
)
def test_a_value_of_another_type_is_refused(argument, value, wanted):
    for refuse in (
        lambda: build("every-kind", (1, 2, 2), 3, **{argument: value}),
        lambda: model_arguments("every-kind", {argument: value}),
    ):
        with pytest.raises(UsageError) as refusal:
            refuse()
        assert str(refusal.value).startswith("every-kind: ")
        assert wanted in str(refusal.value)


@TABLE
def test_an_entry_names_the_module_that_defines_its_class(name):
    model_class = resolve_name(MODELS[name])
    assert issubclass(model_class, nn.Module)
    assert MODELS[name] == f"{model_class.__module__}:{model_class.__name__}"


def test_the_table_itself_loads_no_pytorch():
    code = (
        "import sys, tenfold.types; before = 'torch' in sys.modules\n"
        "from tenfold.models import MODELS; assert 'lenet' in MODELS\n"
        "assert ('torch' in sys.modules) == before\n"
        "assert 'tenfold.models.lenet' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("shape", [(1, 28), (28, 28, 1, 1), ("1", 28, 28), (1.0, 28, 28)])
def test_a_shape_that_is_not_three_whole_numbers_is_refused(shape):
    with pytest.raises(UsageError, match="wanted channels, height and width"):
        build("mlp", shape, 10)


@pytest.mark.parametrize("shape", [[1, 28, 28], torch.Size([1, 28, 28]), ImageShape(1, 28, 28)])
def test_any_three_whole_numbers_work_as_a_shape(shape):
    assert build("mlp", shape, 10).layers[1].in_features == 784


def test_no_hidden_layer_makes_the_perceptron_linear():
    assert [type(layer) for layer in build("mlp", (1, 8, 8), 3, hidden=[]).layers] == [
        nn.Flatten,
        nn.Linear,
    ]


def test_shapes_without_weights_do_not_load_the_compiler():
    code = (
        "import sys; from tenfold.models import MODELS, build\n"
        "for name in MODELS: build(name, (1, 28, 28), 10, device='meta')\n"
        "assert 'torch._dynamo' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def _without_dropout(name):
    return {"dropout": 0.0} if "dropout" in model_arguments(name, {}) else {}


def _load_in_order(theirs, ours):
    """Copy one model's weights to the other, layer by layer, regardless of names."""
    theirs.load_state_dict(dict(zip(theirs.state_dict(), ours.state_dict().values(), strict=True)))
