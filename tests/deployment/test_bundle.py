"""Bundles: a round trip of every model, and misleading or malicious files."""

import dataclasses
import json
import math
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tenfold.deployment import Bundle, Classifier, read_bundle, write_bundle
from tenfold.deployment.bundle import (
    KIND,
    MAX_CLASSES,
    VERSION,
    BundleHeader,
    PreprocessingHeader,
)
from tenfold.errors import FileRefusedError, StorageError
from tenfold.models import MODELS, Preprocessing, build, model_arguments
from tenfold.models.layers import IMAGES, AveragePool2d, Dropout, Linear, ReLU
from tenfold.models.older import without_idle_dropout
from tenfold.models.tracing import layer_list
from tenfold.tensors import to_stored
from tenfold.types import ImageShape
from tensor_files import read_tensors, write_tensors

SHAPES = {"lenet": (1, 28, 28), "cifar-cnn": (3, 32, 32)}
SMALL = {
    "convpool": {"channels": [4, 8], "kernels": [3, 3], "hidden": [16, 8]},
    "mlp": {"hidden": [16]},
    "resnet-small": {"widths": [4, 8], "blocks": 2},
}


def trained(name):
    """A network that has been trained: batch norm has seen images, weights have moved."""
    shape = SHAPES.get(name, (3, 8, 8))
    torch.manual_seed(0)
    network = build(name, shape, 5, **SMALL.get(name, {}))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        network.train()(torch.rand(4, *shape))
    return network


def bundle_of(name="mlp", **named):
    shape = ImageShape(*SHAPES.get(name, (3, 8, 8)))
    network = trained(name)
    fields = {
        "model": name,
        "arguments": model_arguments(name, SMALL.get(name, {})),
        "input_shape": shape,
        "classes": ["cat", "dog", "Ämse", "caf\udce9", "\x1b[2J"],
        "preprocessing": PreprocessingHeader(
            mean=[0.5] * shape.channels, std=[0.25] * shape.channels
        ),
        "layers": layer_list(network),
        "data": {"source": "pets", "fingerprint": "ab" * 32},
        "figures": {"val_acc": 0.75, "test_acc": None},
    }
    return Bundle(BundleHeader(**(fields | named)), to_stored(network.state_dict()))


def written(path, bundle=None):
    write_bundle(path, bundle or bundle_of())
    return path


# --- Round trips -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_every_model_survives_a_round_trip(tmp_path, name):
    bundle = bundle_of(name)
    other = read_bundle(written(tmp_path / "model.safetensors", bundle))
    assert other.header == bundle.header
    assert other.input_shape == bundle.header.input_shape
    assert isinstance(other.input_shape, ImageShape)
    assert other.classes == tuple(bundle.header.classes)
    images = torch.randint(256, (6, *bundle.input_shape), dtype=torch.uint8)
    channels = bundle.input_shape.channels
    pixels = Preprocessing([0.5] * channels, [0.25] * channels)(images)
    network = trained(name).eval()
    with torch.no_grad():
        wanted = network(pixels)
        assert torch.equal(bundle.module()(images), wanted)
        assert torch.equal(other.module()(images), wanted)
        assert torch.equal(other.network()(pixels), wanted)
    assert not any(module.training for module in other.module().modules())


@pytest.mark.parametrize("name", ["mlp", "resnet-small"])
def test_the_digest_is_that_of_the_contents(tmp_path, name):
    digest = write_bundle(tmp_path / "model.safetensors", bundle_of(name))
    assert read_bundle(tmp_path / "model.safetensors").sha256 == digest
    written(tmp_path / "model.safetensors", bundle_of(name, figures={"val_acc": 0.5}))
    assert read_bundle(tmp_path / "model.safetensors").sha256 != digest


def test_modules_do_not_share_their_weights(tmp_path):
    bundle = read_bundle(written(tmp_path / "model.safetensors"))
    first, second = bundle.module(), bundle.module()
    with torch.no_grad():
        for parameter in first.parameters():
            parameter.zero_()
    assert any(parameter.any() for parameter in second.parameters())
    assert all(bundle.weights[name].array().any() for name, _ in second.network.named_parameters())


def test_no_preprocessing_except_scaling(tmp_path):
    bundle = read_bundle(
        written(
            tmp_path / "model.safetensors",
            bundle_of(preprocessing=PreprocessingHeader(mean=[], std=[])),
        )
    )
    white = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert torch.equal(bundle.module().preprocessing(white), torch.ones(1, 3, 8, 8))


def test_the_header_can_be_read_by_anyone(tmp_path):
    """The format is a promise that other programs may rely on."""
    header, weights = read_tensors(
        written(tmp_path / "model.safetensors"), kind="tenfold-bundle", version=VERSION
    )
    assert header == {
        "model": "mlp",
        "arguments": {"hidden": [16], "dropout": 0.0},
        "input_shape": [3, 8, 8],
        "classes": ["cat", "dog", "Ämse", "caf\udce9", "\x1b[2J"],
        "resize": "crop",
        "depth": 16,
        "class_weights": None,
        "preprocessing": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "by_image": False,
        },
        "layers": [
            {"op": "flatten", "input": -1},
            {
                "op": "linear",
                "input": 0,
                "in_features": 192,
                "out_features": 16,
                "weight": "layers.1.weight",
                "bias": "layers.1.bias",
                "transposed": False,
            },
            {"op": "relu", "input": 1},
            {
                "op": "linear",
                "input": 2,
                "in_features": 16,
                "out_features": 5,
                "weight": "layers.3.weight",
                "bias": "layers.3.bias",
                "transposed": False,
            },
        ],
        "temperature": 1.0,
        "background": None,
        "data": {"source": "pets", "fingerprint": "ab" * 32},
        "figures": {"val_acc": 0.75, "test_acc": None},
    }
    assert weights.keys() == trained("mlp").state_dict().keys()


def test_bundles_of_version_1_stay_readable(tmp_path):
    """Their linear layers had other numbers, and the oldest had no list of layers."""
    header, weights = header_and_weights(tmp_path)
    older = {name.replace("layers.3.", "layers.4."): t for name, t in weights.items()}
    assert older.keys() != weights.keys()
    layers = json.loads(json.dumps(header["layers"]).replace("layers.3.", "layers.4."))
    module = read_forged(tmp_path).module()
    found = read_forged(tmp_path, {"layers": layers}, lambda _: older, version=1)
    assert found.header.layers == read_forged(tmp_path).header.layers
    assert found.module().state_dict().keys() == module.state_dict().keys()
    bundle = read_forged(tmp_path, {"layers": MISSING}, lambda _: older, version=1)
    assert bundle.classes == ("cat", "dog", "Ämse", "caf\udce9", "\x1b[2J")
    assert bundle.header.layers is None
    bundle.module()


def test_writing_to_an_unwritable_place(tmp_path):
    with pytest.raises(StorageError):
        written(tmp_path / "missing" / "model.safetensors")


# --- Files that mislead ----------------------------------------------------------------------


def header_and_weights(folder):
    path = folder / "good.safetensors"
    if not path.exists():
        written(path)
    return read_tensors(path, kind=KIND, version=VERSION)


def read_forged(folder, change=None, weights=None, kind=KIND, version=VERSION):
    """Read a file with a valid digest but altered contents."""
    header, tensors = header_and_weights(folder)
    header = {**header, **(change or {})}
    header = {key: value for key, value in header.items() if value is not MISSING}
    path = folder / "forged.safetensors"
    write_tensors(
        path,
        tensors if weights is None else weights(tensors),
        kind=kind,
        version=version,
        header=header,
    )
    return read_bundle(path)


def forged(folder, change=None, **named):
    """A module made from such a file, without a list of layers to compare with."""
    return read_forged(folder, {"layers": MISSING, **(change or {})}, **named).module()


MISSING = object()

WRONG = {
    "model": ["MLP", "nope", "", "__init__", 3, None, [], {}, ["mlp"], True, "x" * 100_000],
    "arguments": [
        None,
        [],
        3,
        "hidden",
        ["hidden"],
        {"hidden": [17]},
        {"hidden": 16},
        {"hidden": [16.0]},
        {"hidden": [True]},
        {"hidden": [-1]},
        {"hidden": [[16]]},
        {"hidden": None},
        {"hiden": [16]},
        {"dropout": 1.0},
        {"dropout": math.nan},
        {"dropout": "0"},
        {"input_shape": [3, 8, 8]},
        {"self": 1},
        {"device": "cpu"},
        {"name": "mlp"},
    ],
    "input_shape": [
        None,
        3,
        [],
        [3, 8],
        [3, 8, 8, 1],
        [3, 8, 9],
        [3, 8, 0],
        [3, -8, -8],
        [3.0, 8, 8],
        [True, 8, 8],
        ["3", "8", "8"],
        "388",
        {"3": 1, "8": 1, "9": 1},
        [1, 8, 24],
    ],
    "classes": [
        None,
        [],
        "abcde",
        ["a", "b", "c", "d"],
        ["a", "b", "c", "d", "e", "f"],
        [1, 2, 3, 4, 5],
        ["a", "b", "c", "d", None],
        {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4},
        5,
    ],
    "preprocessing": [
        None,
        [],
        {},
        "mean",
        ["mean", "std"],
        {"mean": [0.5] * 3},
        {"mean": [0.5] * 3, "std": [0.5] * 2},
        {"mean": [0.5], "std": [0.5]},
        {"mean": [0.5] * 4, "std": [0.5] * 4},
        {"mean": [0.5] * 3, "std": [0.0] * 3},
        {"mean": [0.5] * 3, "std": [-1.0] * 3},
        {"mean": [0.5] * 3, "std": [1e-60] * 3},
        {"mean": [math.nan] * 3, "std": [1.0] * 3},
        {"mean": [math.inf] * 3, "std": [1.0] * 3},
        {"mean": [10**400] * 3, "std": [1.0] * 3},
        {"mean": [True] * 3, "std": [1.0] * 3},
        {"mean": "abc", "std": "abc"},
        {"mean": None, "std": None},
        {"mean": [], "std": [], "more": []},
    ],
    "data": [None, 3, "pets", [], [["source", "pets"]], ""],
    "figures": [None, 3, "good", [], [["val_acc", 1]], ""],
    "layers": [
        3,
        [],
        "flatten",
        [{}],
        [{"op": "magic", "input": -1}],
        [{"op": ["relu"], "input": -1}],
        [{"op": "relu", "input": 0}],
        [{"op": "relu", "input": -1.0}],
        [{"op": "relu", "input": -1, "more": 1}],
        [{"op": "relu"}],
        [{"op": "flatten", "input": -1}],  # then no layer uses the weights
        [{"op": "relu", "input": -1}] * 5000,
    ],
}


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, values in WRONG.items() for value in values],
    ids=lambda value: str(value)[:40],
)
def test_wrong_header_values_are_refused(tmp_path, key, value):
    with pytest.raises(FileRefusedError, match="not a usable model file") as raised:
        forged(tmp_path, {key: value})
    assert len(str(raised.value)) < 1000
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"input_shape": [3, 8]}, "input_shape is [3, 8], wanted a longer list"),
        ({"input_shape": [3, 8, 0]}, "input_shape.2 is 0, wanted more than 0"),
        ({"input_shape": [3, 8, 10**4000]}, "input_shape.2 is 1000"),
        (
            {"input_shape": [3, 8, 9]},
            "layer 1 (linear): it reads 216, wanted 192 features",
        ),
        (
            {"classes": ["a", "b", "c", "d"]},
            "its layers output 5 numbers per image, wanted 4, one per class",
        ),
        ({"classes": []}, "classes is [], wanted a list of 1 or more"),
        ({"classes": ["a", "b", "a", "c", "b"]}, "classes: more than one class is named 'a', 'b'"),
        ({"classes": ["a", "b", "c", "d", None]}, "classes.4 is None, wanted a string in quotes"),
        (
            {"preprocessing": {"mean": [], "std": [], "more": []}},
            "unknown key preprocessing.more",
        ),
        (
            {"preprocessing": {"mean": [0.5], "std": [0.5]}},
            "its preprocessing has 1 channels, its model 3",
        ),
        ({"preprocessing": {"mean": [0.5] * 3, "std": [0] * 3}}, "preprocessing.std.0 is 0"),
        ({"layers": [{"input": -1}]}, "layers.0 is {'input': -1}, wanted a table with 'op'"),
        (
            {"layers": [{"op": "magic"}]},
            "layers.0 is {'op': 'magic'}, wanted 'op' to be one of 'conv2d', 'max_pool2d'",
        ),
    ],
)
def test_errors_are_in_plain_words(tmp_path, change, sentence):
    with pytest.raises(FileRefusedError) as raised:
        read_forged(tmp_path, change)
    message = str(raised.value)
    assert f"forged.safetensors: not a usable model file: {sentence}" in message
    assert message.endswith("; name a run folder or its model.safetensors")


@pytest.mark.parametrize("key", [key for key in WRONG if key != "layers"])
def test_missing_header_values_are_named(tmp_path, key):
    with pytest.raises(FileRefusedError, match=f"model file: {key} is missing"):
        forged(tmp_path, {key: MISSING})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["hidden", "dropout", "mean", "std", "x"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.dictionaries(st.sampled_from(list(WRONG)), json_values, min_size=1, max_size=3))
def test_any_header_is_a_bundle_or_refused(tmp_path, change):
    try:
        bundle = read_forged(tmp_path, change)
    except FileRefusedError:
        return
    image = torch.zeros(1, *bundle.input_shape, dtype=torch.uint8)
    for use_kernels in (True, False):
        try:
            Classifier(bundle, use_kernels=use_kernels).predict(image)
        except FileRefusedError:
            pass


def test_layers_that_drop_nothing_are_taken_out_of_a_list():
    names = {"weight": "w", "bias": None, "transposed": False}
    first = Linear(input=IMAGES, in_features=2, out_features=2, **names)
    last = Linear(input=3, in_features=2, out_features=2, **(names | {"weight": "v"}))
    idle, real = Dropout(input=1, p=0.0), Dropout(input=2, p=0.5)
    assert without_idle_dropout([first, ReLU(input=0), idle, real, last]) == (
        first,
        ReLU(input=0),
        real.model_copy(update={"input": 1}),
        last.model_copy(update={"input": 2}),
    )


@pytest.mark.parametrize("name", MODELS)
def test_the_list_and_the_module_compute_the_same(name):
    """By kernels without the module, by kernels with it, and by PyTorch."""
    bundle = bundle_of(name)
    images = torch.randint(256, (20, *bundle.input_shape), dtype=torch.uint8)
    classifier = Classifier(bundle)
    listed = classifier.predict_proba(images)
    assert classifier.module is classifier.module
    assert np.array_equal(classifier.predict_proba(images), listed)
    by_pytorch = Classifier(bundle, use_kernels=False).predict_proba(images)
    np.testing.assert_allclose(listed, by_pytorch, rtol=1e-4, atol=1e-6)


def test_a_disturbed_tracer_does_not_refuse_a_bundle(monkeypatch):
    """As when another thread draws random numbers meanwhile."""
    monkeypatch.setattr("tenfold.models.tracing.layer_list", lambda *_: None)
    assert bundle_of().module() is not None


def test_layers_that_need_too_much_memory_are_refused(tmp_path):
    bundle = bundle_of()
    flatten = bundle.header.layers[0]
    padded = AveragePool2d(input=-1, kernel_size=(9, 9), stride=(1, 1), padding=(4, 4))
    assert flatten.op == "flatten"
    large = bundle.header.model_copy(
        update={
            "input_shape": ImageShape(3, 8192, 8192),
            "layers": (padded, flatten.model_copy(update={"input": 0})),
        }
    )
    path = written(tmp_path / "large.safetensors", Bundle(large, {}))
    with pytest.raises(FileRefusedError, match="numbers per image, wanted at most 67,108,864"):
        read_bundle(path)


def test_a_classifier_is_not_changed_by_further_training():
    network = trained("mlp")
    bundle = dataclasses.replace(bundle_of(), weights=to_stored(network.state_dict()))
    classifier = Classifier(bundle)
    images = torch.randint(256, (4, *bundle.input_shape), dtype=torch.uint8)
    before = classifier.predict_proba(images)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert np.array_equal(classifier.predict_proba(images), before)


def test_a_list_of_another_network_is_refused(tmp_path):
    """Kernels compute the list, PyTorch the architecture: they must be the same network."""
    bundle = bundle_of()
    relu = next(place for place, layer in enumerate(bundle.header.layers) if layer.op == "relu")
    layers = list(bundle.header.layers)
    layers[relu] = Dropout(input=layers[relu].input, p=0.5)
    other = dataclasses.replace(
        bundle, header=bundle.header.model_copy(update={"layers": tuple(layers)})
    )
    with pytest.raises(FileRefusedError, match="its list of layers is not that of its arch"):
        other.module()


CHANGES = {
    "one is missing": lambda w: {k: w[k] for k in list(w)[1:]},
    "one too many": lambda w: {**w, "layers.9.weight": torch.zeros(1)},
    "another name": lambda w: {k.replace("layers", "layer"): t for k, t in w.items()},
    "none": lambda w: {},
    "turned": lambda w: {k: t.t().contiguous() if t.ndim == 2 else t for k, t in w.items()},
    "flat": lambda w: {k: t.flatten() for k, t in w.items()},
    "one row fewer": lambda w: {k: t[:-1] for k, t in w.items()},
    "double": lambda w: {k: t.double() for k, t in w.items()},
    "whole numbers": lambda w: {k: t.int() for k, t in w.items()},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_weights_that_do_not_fit_are_named(tmp_path, change):
    with pytest.raises(FileRefusedError, match=r"weights do not fit its architecture: layer"):
        forged(tmp_path, weights=change)


@pytest.mark.parametrize("change", ["one is missing", "one too many", "turned"])
def test_weights_that_do_not_fit_the_list_are_named(tmp_path, change):
    with pytest.raises(FileRefusedError, match=r"not a usable model file: weight 'layers\."):
        read_forged(tmp_path, weights=CHANGES[change])


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_named(tmp_path, number):
    def spoiled(weights):
        return {**weights, "layers.1.bias": torch.full((16,), number)}

    with pytest.raises(FileRefusedError, match=r"not all finite: layers\.1\.bias"):
        read_forged(tmp_path, weights=spoiled)


def test_weights_of_a_type_that_numpy_lacks(tmp_path):
    def halved(weights):
        return {name: tensor.bfloat16() for name, tensor in weights.items()}

    import ml_dtypes  # as onnx does, it adds the type to NumPy

    assert ml_dtypes.bfloat16 == np.dtype("bfloat16")
    with pytest.raises(FileRefusedError, match=r"forged\.safetensors: .* has dtype bfloat16"):
        read_forged(tmp_path, weights=halved)


def test_other_tenfold_files_and_newer_bundles_are_recognized(tmp_path):
    with pytest.raises(FileRefusedError, match="this is a checkpoint of a run, wanted a model"):
        forged(tmp_path, kind="tenfold-checkpoint")
    with pytest.raises(FileRefusedError, match="install a newer tenfold"):
        forged(tmp_path, version=VERSION + 1)


def test_files_that_are_not_bundles(tmp_path):
    for content in (b"", b"PK\x03\x04", b"\x80\x02}q\x00.", json.dumps({"a": 1}).encode()):
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(FileRefusedError):
            read_bundle(tmp_path / "x.safetensors")
    with pytest.raises(FileRefusedError, match="no such file"):
        read_bundle(tmp_path / "missing.safetensors")


# --- Files that claim too much memory --------------------------------------------------------

GIANT = {
    "wide": {"arguments": {"hidden": [65_536] * 64}},
    "wider than allowed": {"arguments": {"hidden": [2**40]}},
    "long": {"arguments": {"hidden": [1] * 50_000}},
    "large images": {"input_shape": [16_384, 16_384, 16_384]},
    "beyond all images": {"input_shape": [2**62, 2**62, 2**62]},
    "many classes": {"classes": [f"c{number}" for number in range(MAX_CLASSES + 1)]},
    "as many classes as there may be": {"classes": [f"c{number}" for number in range(MAX_CLASSES)]},
    "many blocks": {
        "model": "resnet-small",
        "arguments": {"widths": [65_536] * 16, "blocks": 8},
    },
    "thin but deep": {"model": "resnet-small", "arguments": {"widths": [1] * 8, "blocks": 64}},
    "wide kernels": {
        "model": "convpool",
        "arguments": {"channels": [65_536] * 3, "kernels": [127] * 3, "hidden": []},
    },
    "large and linear": {
        "model": "softmax-scratch",
        "arguments": {},
        "input_shape": [16_384, 16_384, 16_384],
    },
}


@pytest.mark.parametrize("change", GIANT.values(), ids=GIANT)
def test_giant_models_are_refused_with_little_memory(tmp_path, change):
    header_and_weights(tmp_path)
    before = peak_memory()
    with pytest.raises(FileRefusedError):
        forged(tmp_path, change)
    assert peak_memory() - before < 200 * 2**20


def peak_memory():
    """This process's peak memory use in bytes."""
    resource = pytest.importorskip("resource")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def test_a_refused_file_costs_no_more_than_its_own_size(tmp_path):
    size = 8 * 2**20
    forge = {"weights": lambda w: {"big": torch.zeros(size // 4)}}
    tracemalloc.start()
    with pytest.raises(FileRefusedError):
        forged(tmp_path, **forge)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * size  # writing it here uses some of that
