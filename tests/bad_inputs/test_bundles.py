"""Wrong bundles."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_inputs.makers.bundles import bundle, declared_header, foreign_tensors, framed, tensor_file
from bad_inputs.makers.files import all_of, file, truncated
from bad_inputs.makers.pictures import picture
from bad_inputs.rows import Row, check
from command_line import Tenfold
from tenfold.deployment.bundle import VERSION

ROWS = [
    Row("bundle-missing", "predict gone.safetensors", 4, ("gone.safetensors", "no such")),
    Row(
        "bundle-of-text",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors",),
        file("model.safetensors", "this is a text and no bundle of any kind"),
    ),
    Row(
        "bundle-empty",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "0 bytes", "too few"),
        file("model.safetensors"),
    ),
    Row(
        "bundle-truncated",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "damaged", "take 2,600 bytes, but it has 2,599"),
        all_of(bundle(), truncated("model.safetensors")),
    ),
    Row(
        "bundle-of-somebody-else",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "not a file that tenfold wrote", "model.safetensors"),
        foreign_tensors,
    ),
    Row(
        "bundle-that-is-a-checkpoint",
        "predict model.safetensors x.png",
        4,
        ("a checkpoint of a run, wanted a model", "name the run's folder"),
        tensor_file({}, kind="tenfold-checkpoint"),
    ),
    Row(
        "bundle-newer",
        "predict model.safetensors x.png",
        4,
        (f"version {VERSION + 1}", f"reads up to {VERSION}", "install a newer tenfold"),
        tensor_file({}, version=VERSION + 1),
    ),
    Row(
        "bundle-without-entries",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "not a usable model file", "model is missing"),
        tensor_file({}),
    ),
    Row(
        "bundle-header-of-100-mb",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "not a file that tenfold wrote", "name a model"),
        declared_header(100 * 2**20, 200 * 2**20),
    ),
    Row(
        "bundle-header-beyond-the-file",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "too few"),
        declared_header(10 * 2**20, 100),
    ),
    Row(
        "bundle-header-nested-too-deeply",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "damaged", "its header is not valid JSON"),
        file("model.safetensors", framed(b'{"__metadata__":' + b"[" * 200_000)),
    ),
    Row(
        "bundle-arguments-giant",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "hidden[0] is 1000000000000", "1..65536"),
        bundle(model="mlp", arguments={"hidden": [10**12]}),
    ),
    Row(
        "bundle-of-too-many-parameters",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "parameters", "at most"),
        bundle(model="mlp", arguments={"hidden": [65_536] * 64}),
    ),
    Row(
        "bundle-of-another-architecture",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "do not fit its architecture", "weight"),
        bundle(model="mlp", arguments={}),
    ),
    Row(
        "bundle-of-an-unknown-model",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "there is no model 'os.system'"),
        bundle(model="os.system"),
    ),
    Row(
        "bundle-of-a-model-that-is-no-name",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "not a usable model file", "model is ['mlp'], wanted a string"),
        bundle(model=["mlp"]),
    ),
    Row(
        "bundle-shape-giant",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "input_shape.1 is 1099511627776", "16,384"),
        bundle(input_shape=[1, 2**40, 2**40]),
    ),
    Row(
        "bundle-shape-negative",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "input_shape.1 is -8, wanted more than 0"),
        bundle(input_shape=[1, -8, 8]),
    ),
    Row(
        "bundle-data-is-no-table",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "data is 3, wanted a table"),
        bundle(data=3),
    ),
    Row(
        "bundle-classes-are-no-names",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "classes.0 is 1, wanted a string"),
        bundle(classes=[1, 2]),
    ),
    Row(
        "bundle-preprocessing-foreign",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "preprocessing"),
        bundle(preprocessing={"mean": ["x"], "std": [1]}),
    ),
    Row(
        "bundle-preprocessing-of-other-channels",
        "predict model.safetensors x.png",
        4,
        ("model.safetensors", "preprocessing", "channel"),
        all_of(
            bundle(preprocessing={"mean": [0.5] * 3, "std": [1.0] * 3}), file("x.png", picture())
        ),
    ),
    Row(
        "bundle-of-weights-that-are-no-numbers",
        "predict model.safetensors x.png --json",
        4,
        ("model.safetensors", "not all finite", "linear.bias, linear.weight"),
        all_of(bundle(weight=float("nan")), file("x.png", picture(200))),
    ),
    Row(
        "bundle-of-weights-that-overflow",
        "predict model.safetensors x.png --json",
        4,
        ("weights are so large", "outputs are not finite", "retrain it", "learning rate"),
        all_of(bundle(weight=3e38), file("x.png", picture(200))),
    ),
    Row(
        "bundle-of-weights-that-overflow-evaluated",
        "evaluate model.safetensors digits --json",
        4,
        ("weights are so large", "outputs are not finite", "retrain it", "learning rate"),
        bundle(weight=3e38),
    ),
    Row(
        "bundle-summary",
        "summary model.safetensors",
        4,
        ("model.safetensors", "0 bytes"),
        file("model.safetensors"),
    ),
    Row(
        "bundle-evaluated-without-data",
        "evaluate model.safetensors",
        2,
        ("model.safetensors", "where its data is", "name the data"),
        bundle(),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)
