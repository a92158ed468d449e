"""Layers, shapes, parameters and multiply-adds, against numbers worked out by hand."""

import json

import pytest
import torch
from torch import nn

from tenfold.errors import UsageError
from tenfold.models import MODELS, build, summarize


def rows(summary):
    return {layer.name: layer for layer in summary.layers}


def test_lenet_by_hand():
    summary = summarize(build("lenet", (1, 28, 28), 10), (1, 28, 28))
    # Multiply-adds of a convolution: outputs x inputs x kernel x kernel x output pixels.
    assert [
        (layer.name, layer.kind, layer.output, layer.parameters, layer.multiply_adds)
        for layer in summary.layers
        if layer.parameters
    ] == [
        ("features.0", "Conv2d", "6x28x28", 6 * 25 + 6, 6 * 25 * 28 * 28),
        ("features.3", "Conv2d", "16x10x10", 16 * 6 * 25 + 16, 16 * 6 * 25 * 10 * 10),
        ("features.6", "Conv2d", "120x1x1", 120 * 16 * 25 + 120, 120 * 16 * 25),
        ("classifier.1", "Linear", "84", 120 * 84 + 84, 120 * 84),
        ("classifier.3", "Linear", "10", 84 * 10 + 10, 84 * 10),
    ]
    assert rows(summary)["features.2"].output == "6x14x14"
    assert rows(summary)["classifier.0"].output == "120"
    assert summary.parameters == summary.trainable_parameters == 61_706
    assert summary.parameter_bytes == 4 * 61_706
    assert summary.multiply_adds == 117_600 + 240_000 + 48_000 + 10_080 + 840
    assert (summary.model, summary.input) == ("LeNet", "1x28x28")


def test_strides_and_groups_by_hand():
    model = nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2, bias=False))
    (layer,) = summarize(model, (4, 9, 9)).layers
    assert (layer.output, layer.parameters) == ("8x5x5", 8 * 2 * 9)
    assert layer.multiply_adds == 8 * 2 * 9 * 5 * 5


@pytest.mark.parametrize("name", MODELS)
def test_the_rows_add_up_to_the_totals(name):
    model = build(name, (3, 32, 32), 10)
    summary = summarize(model, (3, 32, 32))
    assert sum(layer.parameters for layer in summary.layers) == summary.parameters
    assert sum(layer.multiply_adds for layer in summary.layers) == summary.multiply_adds
    assert summary.parameters == sum(p.numel() for p in model.parameters())
    assert summary.multiply_adds > 0
    assert all(layer.output for layer in summary.layers)
    assert summary.layers[-1].output == "10"


def test_the_model_and_the_random_state_do_not_change():
    model = build("resnet-small", (1, 28, 28), 10)
    model.stages.eval()
    modes = [layer.training for layer in model.modules()]
    state = {key: value.clone() for key, value in model.state_dict().items()}
    random_state = torch.get_rng_state()
    summarize(model, (1, 28, 28))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [layer.training for layer in model.modules()] == modes
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


class UsedTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten = nn.Flatten()
        self.first = nn.Linear(16, 16, bias=False)
        self.tied = nn.Linear(16, 16, bias=False)
        self.tied.weight = self.first.weight
        self.unused = nn.Linear(3, 3)
        self.scale = nn.Parameter(torch.ones(16))

    def forward(self, images):
        return self.tied(self.first(self.first(self.flatten(images)))) * self.scale


def test_what_is_shared_counts_once_as_parameters_and_each_time_as_work():
    summary = summarize(UsedTwice(), (1, 4, 4))
    assert [
        (layer.name, layer.output, layer.parameters, layer.multiply_adds)
        for layer in summary.layers
    ] == [
        ("", "16", 16, 0),
        ("flatten", "16", 0, 0),
        ("first", "16", 256, 256),
        ("first", "16", 0, 256),
        ("tied", "16", 0, 256),
        ("unused", "", 12, 0),
    ]
    assert (summary.parameters, summary.multiply_adds) == (256 + 12 + 16, 768)


def test_a_layer_used_twice_has_a_row_with_the_size_after_each_use():
    class Pooled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
            self.pool = nn.MaxPool2d(2)

        def forward(self, images):
            return self.pool(self.conv2(self.pool(self.conv1(images)))).flatten(1)

    layers = summarize(Pooled(), (1, 28, 28)).layers
    assert [(layer.name, layer.output) for layer in layers] == [
        ("conv1", "6x24x24"),
        ("pool", "6x12x12"),
        ("conv2", "16x8x8"),
        ("pool", "16x4x4"),
    ]


class Scaled(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, images):
        return self.inner(images) * self.scale


def test_work_is_counted_once_however_deep_a_layer_lies_in_others():
    summary = summarize(Scaled(Scaled(nn.Sequential(nn.Flatten(), nn.Linear(16, 4)))), (1, 4, 4))
    work = {name: row.multiply_adds for name, row in rows(summary).items() if row.multiply_adds}
    assert work == {"inner.inner.1": 64}
    assert summary.multiply_adds == 64


def test_frozen_parameters_are_not_trainable():
    model = build("lenet", (1, 28, 28), 10)
    model.features.requires_grad_(requires_grad=False)
    summary = summarize(model, (1, 28, 28))
    assert summary.trainable_parameters == 10_164 + 850
    assert summary.parameters == 61_706


def test_a_model_on_the_meta_device_works():
    outline = build("convpool", (1, 28, 28), 10, device="meta")
    assert summarize(outline, (1, 28, 28)).parameters == 15_168_266


def test_the_text_is_an_aligned_table_with_the_totals():
    lines = str(summarize(build("lenet", (1, 28, 28), 10), (1, 28, 28))).splitlines()
    assert lines[0] == "LeNet on images of 1x28x28"
    table = lines[2 : 2 + 1 + 12]
    assert table[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert len({len(line) for line in table}) == 1
    assert table[1].split() == ["features.0", "Conv2d", "6x28x28", "156", "117,600"]
    assert "61,706" in lines[-3]
    assert lines[-2].split() == ["memory", "241.0", "KiB"]
    assert lines[-1].split() == ["multiply-adds", "416,520", "per", "image"]


def test_the_dictionary_holds_the_same_as_json():
    summary = summarize(build("softmax", (1, 28, 28), 10), (1, 28, 28))
    values = json.loads(json.dumps(summary.to_dict()))
    assert values["parameters"] == 7_850
    assert values["layers"][-1] == {
        "name": "linear",
        "kind": "Linear",
        "output": "10",
        "parameters": 7_850,
        "multiply_adds": 7_840,
    }


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ((1, 28, 28), r"layer 0 \(Conv2d\) takes 3 channels, but gets 1"),
        ((3, 9, 9), "takes 400 features per image, but gets 150: .* gives 6 x 5 x 5"),
    ],
)
def test_a_model_that_fails_is_explained(shape: tuple[int, int, int], said: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 5), nn.Flatten(), nn.Linear(400, 10))
    with pytest.raises(UsageError, match=said):
        summarize(model, shape)
