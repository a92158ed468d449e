"""The list of layers: valid entries, output shapes, and the weights it names."""

import json
import re
import subprocess
import sys

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from torch import nn

from tenfold.errors import UsageError
from tenfold.models import MODELS, build
from tenfold.models.layers import (
    LARGEST_OUTPUT,
    Add,
    Network,
    ReLU,
    output_shapes,
    require_batches,
    require_weights,
)
from tenfold.models.tracing import layer_list

NETWORK = TypeAdapter(Network)

CONV = {
    "op": "conv2d",
    "input": -1,
    "in_channels": 1,
    "out_channels": 6,
    "kernel_size": [5, 3],
    "stride": [2, 1],
    "padding": [2, 0],
    "weight": "conv.weight",
    "bias": "conv.bias",
}
NORM = {
    "op": "batch_norm2d",
    "input": 0,
    "channels": 6,
    "weight": "norm.weight",
    "bias": "norm.bias",
    "running_mean": "norm.running_mean",
    "running_var": "norm.running_var",
    "num_batches_tracked": "norm.num_batches_tracked",
    "eps": 1e-5,
    "momentum": 0.1,
}
POOL = {
    "op": "max_pool2d",
    "input": -1,
    "kernel_size": [2, 2],
    "stride": [2, 2],
    "padding": [0, 0],
}
LINEAR = {
    "op": "linear",
    "input": -1,
    "in_features": 6,
    "out_features": 3,
    "weight": "fc.weight",
    "bias": None,
    "transposed": False,
}
DROPOUT = {"op": "dropout", "input": -1, "p": 0.5}

BRANCHES = [
    CONV,
    NORM,
    {"op": "relu", "input": 1},
    {"op": "add", "input": 2, "other": 0},
    POOL | {"input": 3},
    {"op": "average_pool2d", "input": 4} | {key: POOL[key] for key in POOL if key[0] in "ksp"},
    {"op": "global_average_pool", "input": 5},
    {"op": "flatten", "input": 6},
    DROPOUT | {"input": 7},
    LINEAR | {"input": 8},
]
"""Every kind of layer once."""

WEIGHTS = {
    "conv.weight": (6, 1, 5, 3),
    "conv.bias": (6,),
    "norm.weight": (6,),
    "norm.bias": (6,),
    "norm.running_mean": (6,),
    "norm.running_var": (6,),
    "norm.num_batches_tracked": (),
    "fc.weight": (3, 6),
}


def network(*layers):
    return NETWORK.validate_python(layers)


# ---- Valid lists -------------------------------------------------------------------------------


def test_it_survives_json():
    layers = network(*BRANCHES)
    text = json.dumps([layer.model_dump() for layer in layers])
    assert json.loads(text) == BRANCHES
    assert NETWORK.validate_python(json.loads(text)) == layers
    assert NETWORK.validate_json(text) == layers


@pytest.mark.parametrize("name", MODELS)
def test_a_models_list_survives_json(name):
    layers = layer_list(build(name, (3, 28, 28), 10, device="meta"))
    text = NETWORK.dump_json(layers)
    assert NETWORK.validate_json(text) == layers
    assert len(text) < 200 * len(layers)


def test_it_needs_no_pytorch():
    code = "import sys, tenfold.models.layers; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "layers",
    [
        [],
        "relu",
        [{"op": "relu"}],
        [{"op": "gelu", "input": -1}],
        [{"op": "relu", "input": -1, "slope": 0.1}],
        [{"op": "relu", "input": -2}],
        [{"op": "relu", "input": 0}],
        [{"op": "relu", "input": True}],
        [{"op": "relu", "input": "-1"}],
        [{"op": "relu", "input": -1.0}],
        [{"op": "relu", "input": 1}, {"op": "relu", "input": 0}],
        [{"op": "add", "input": -1, "other": 0}],
        [{"op": "add", "input": -1, "other": -2}],
        [{"op": "relu", "input": -1}] * 2,  # the first is read by none
        [{"op": "relu", "input": -1}, *({"op": "relu", "input": n} for n in range(4096))],
        [DROPOUT | {"p": 1.0}],
        [DROPOUT | {"p": -0.1}],
        [DROPOUT | {"p": float("nan")}],
        [CONV | {"weight": ""}],
        [CONV | {"weight": None}],
        [CONV | {"weight": "w" * 501}],
        [CONV | {"in_channels": 0}],
        [CONV | {"out_channels": 2**31}],
        [CONV | {"kernel_size": [5]}],
        [CONV | {"kernel_size": [5, 0]}],
        [CONV | {"kernel_size": [5, 5.0]}],
        [CONV | {"kernel_size": 5}],
        [CONV | {"stride": [0, 1]}],
        [CONV | {"padding": [-1, 0]}],
        [CONV | {"padding": [2**15, 0]}],
        [CONV | {"groups": 2}],
        [POOL | {"padding": [2, 0]}],  # windows of nothing but padding
        [LINEAR | {"transposed": 0}],
        [LINEAR | {"out_features": 0}],
        [{**NORM, "input": -1, "eps": 0.0}],
        [{**NORM, "input": -1, "momentum": 1.5}],
        [{**NORM, "input": -1, "momentum": None}],
    ],
)
def test_an_invalid_list_of_layers_is_refused(layers):
    with pytest.raises(ValidationError):
        NETWORK.validate_python(layers)


def test_a_layer_is_frozen():
    (layer,) = network({"op": "relu", "input": -1})
    with pytest.raises(ValidationError):
        layer.input = 3


# ---- Shapes ------------------------------------------------------------------------------------


def test_the_shapes_by_hand():
    # Height (9 + 4 - 5) // 2 + 1 = 5, width 8 - 3 + 1 = 6; then pools of 2.
    assert output_shapes(network(*BRANCHES), (1, 9, 8)) == (
        (6, 5, 6),
        (6, 5, 6),
        (6, 5, 6),
        (6, 5, 6),
        (6, 2, 3),
        (6, 1, 1),
        (6, 1, 1),
        (6,),
        (6,),
        (3,),
    )


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 29, 35)])
@pytest.mark.parametrize("name", MODELS)
def test_the_shapes_are_pytorchs(name, shape):
    model = build(name, shape, 7).eval()
    outputs = []
    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.MaxPool2d | nn.Flatten | nn.Linear):
            part.register_forward_hook(lambda _part, _images, output: outputs.append(output))
    layers = layer_list(build(name, shape, 7))
    model(torch.zeros(1, *shape))
    shapes = output_shapes(layers, shape)
    assert shapes[-1] == (7,)
    assert {tuple(output.shape[1:]) for output in outputs} <= set(shapes)


@pytest.mark.parametrize(
    ("layers", "shape", "message"),
    [
        ([CONV], (3, 9, 9), "layer 0 (conv2d): it reads 3x9x9, wanted 1 channels"),
        ([CONV], (1, 9, 2), "layer 0 (conv2d): it reads 1x9x2, wanted room for a window of 5x3"),
        ([POOL], (1, 2, 1), "layer 0 (max_pool2d): it reads 1x2x1, wanted room for a window"),
        ([LINEAR], (6, 1, 1), "layer 0 (linear): it reads 6x1x1, wanted 6 features"),
        (
            [{"op": "flatten", "input": -1}, LINEAR | {"input": 0}],
            (1, 2, 2),
            "layer 1 (linear): it reads 4, wanted 6 features",
        ),
        (
            [{"op": "flatten", "input": -1}, POOL | {"input": 0}],
            (1, 2, 2),
            "layer 1 (max_pool2d): it reads 4, wanted channels, height and width",
        ),
        (
            [{"op": "flatten", "input": -1}, {"op": "global_average_pool", "input": 0}],
            (1, 2, 2),
            "layer 1 (global_average_pool): it reads 4, wanted channels, height and width",
        ),
        (
            [NORM | {"input": -1}],
            (5, 2, 2),
            "layer 0 (batch_norm2d): it reads 5x2x2, wanted 6 channels, height and width",
        ),
        (
            [POOL, {"op": "add", "input": 0, "other": -1}],
            (1, 2, 2),
            "layer 1 (add): it reads 1x2x2, wanted 1x1x1",
        ),
        (
            [CONV | {"out_channels": LARGEST_OUTPUT}],
            (1, 9, 9),
            "layer 0 (conv2d): its output is 1073741824x5x7 per image, wanted at most",
        ),
        ([{"op": "relu", "input": -1}], (1, 0, 9), "the images are 1x0x9, wanted channels, height"),
        ([{"op": "relu", "input": -1}], (9, 9), "the images are 9x9, wanted channels, height and"),
    ],
)
def test_what_does_not_fit_is_refused(layers, shape, message):
    with pytest.raises(UsageError) as refusal:
        output_shapes(network(*layers), shape)
    assert str(refusal.value).startswith(message)


# ---- Weights -----------------------------------------------------------------------------------


def test_matching_weights_are_accepted():
    require_weights(network(*BRANCHES), WEIGHTS)
    require_weights(
        network(LINEAR | {"transposed": True, "bias": "b"}), {"fc.weight": [6, 3], "b": [3]}
    )


@pytest.mark.parametrize("name", WEIGHTS)
def test_a_missing_weight_and_one_of_another_shape_are_refused(name):
    layers = network(*BRANCHES)
    with pytest.raises(UsageError, match=f"weight '{name}' is missing"):
        require_weights(layers, {key: WEIGHTS[key] for key in WEIGHTS if key != name})
    with pytest.raises(UsageError, match=f"weight '{name}' is .*, wanted "):
        require_weights(layers, WEIGHTS | {name: (*WEIGHTS[name], 1)})


def test_a_weight_that_no_layer_or_more_than_one_uses_is_refused():
    with pytest.raises(UsageError, match="weight 'other' is used 0 times, wanted once"):
        require_weights(network(*BRANCHES), WEIGHTS | {"other": (1,)})
    twice = network(LINEAR | {"in_features": 3}, LINEAR | {"input": 0, "in_features": 3})
    with pytest.raises(UsageError, match=r"weight 'fc\.weight' is used 2 times, wanted once"):
        require_weights(twice, {"fc.weight": (3, 3)})
    same = network(NORM | {"input": -1, "bias": "norm.weight"})
    with pytest.raises(UsageError, match=r"weight 'norm\.weight' is used 2 times, wanted once"):
        require_weights(same, {name: WEIGHTS[name] for name in WEIGHTS if name[:4] == "norm"})


# ---- Batches -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 4, 5, 8])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 8])
@pytest.mark.parametrize("images", [1, 6, 7, 9])
def test_a_batch_is_refused_exactly_where_pytorch_cannot_normalize_it(size, batch_size, images):
    model = build("resnet-small", (1, size, size), 3, widths=[2, 2, 2])
    pytorch_refuses = False
    for batch in torch.zeros(images, 1, size, size).split(batch_size):
        try:
            model(batch)
        except ValueError as error:
            assert "more than 1 value per channel" in str(error)  # noqa: PT017
            pytorch_refuses = True
    if not pytorch_refuses:
        require_batches(layer_list(model), (1, size, size), images, batch_size)
        return
    with pytest.raises(UsageError) as refusal:
        require_batches(layer_list(model), (1, size, size), images, batch_size)
    which = "every" if batch_size == 1 else "the last"
    assert f"batch_size is {batch_size}, so {which} batch of {images} " in str(refusal.value)
    first = {1: "stem.1", 2: "stages.1.0.residual.1"}.get(size, "stages.2.0.residual.1")
    assert f"batch normalization ({first}.weight) with one value per channel" in str(refusal.value)
    # The remedy works.
    smaller = re.search(r"--batch-size (\d+)", refusal.value.remedy)
    larger = re.search(r"image_size=\[(\d+),(\d+)\]", refusal.value.remedy)
    assert smaller is not None or images == 1
    if smaller is not None:
        require_batches(layer_list(model), (1, size, size), images, int(smaller[1]))
    assert larger is not None
    sides = int(larger[1]), int(larger[2])
    require_batches(layer_list(model), (1, *sides), images, batch_size)
    with pytest.raises(UsageError):  # no smaller one does
        require_batches(layer_list(model), (1, sides[0] - 1, sides[1] - 1), images, batch_size)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("resnet")])
def test_without_batch_normalization_any_batch_works(name):
    layers = layer_list(build(name, (1, 28, 28), 3, device="meta"))
    require_batches(layers, (1, 28, 28), 7, 1)


def test_layers_can_be_created_directly():
    assert network({"op": "relu", "input": -1}) == (ReLU(input=-1),)
    assert Add(input=2, other=0).sources() == (2, 0)
