"""Images and data that a valid bundle cannot be used on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bad_inputs.makers.bundles import bundle
from bad_inputs.makers.data_sets import npz
from bad_inputs.makers.files import all_of, empty_folder, file
from bad_inputs.makers.pictures import pictures, png
from bad_inputs.rows import Row, check
from command_line import Tenfold

ROWS = [
    Row(
        "folder-without-model",
        "predict photos x.png",
        4,
        ("photos", "no model.safetensors"),
        pictures(cat=1),
    ),
    Row(
        "predict-without-images-of-a-bundle",
        "predict model.safetensors",
        2,
        ("model.safetensors", "a model file alone has no images", "name image files"),
        bundle(),
    ),
    Row(
        "predict-nothing-decodable",
        "predict model.safetensors a.png b.png photos gone.png",
        3,
        (
            "4 of 4 images cannot be read",
            "a.png",
            "text that starts with 'hello'",
            "b.png",
            "the file is empty",
            "photos",
            "there are no images in it",
            "gone.png",
            "no such file",
        ),
        all_of(bundle(), file("a.png", "hello"), file("b.png"), empty_folder("photos")),
    ),
    Row(
        "predict-bomb",
        "predict model.safetensors bomb.png",
        3,
        ("bomb.png", "30000x30000", "50,000,000"),
        all_of(bundle(), file("bomb.png", png(30_000, 30_000, bytes(1000)))),
    ),
    Row(
        "predict-device",
        "predict model.safetensors x.png --device tpu",
        2,
        ("'tpu'", "did you mean 'cpu'?"),
        bundle(),
    ),
    Row(
        "evaluate-other-classes",
        "evaluate model.safetensors photos",
        3,
        ("photos", "images are of 'cat', 'dog'", "the model's classes are '0', '1'"),
        all_of(bundle(), pictures(cat=3, dog=3)),
    ),
    Row(
        "evaluate-a-class-too-many",
        "evaluate model.safetensors set.npz",
        3,
        ("set.npz", "images are of 'x'", "the model's classes are '0', '1', '2'"),
        all_of(
            bundle(),
            npz(
                images=np.zeros((6, 8, 8), np.uint8),
                labels=np.arange(6) % 3,
                classes=["0", "1", "x"],
            ),
        ),
    ),
    Row(
        "evaluate-split-missing",
        "evaluate model.safetensors photos --split val",
        3,
        ("photos", "no val split", "--split"),
        all_of(bundle(), pictures(cat=3, dog=3)),
    ),
    Row("evaluate-data-unknown", "evaluate model.safetensors mnits", 2, ("'mnist'?",), bundle()),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)
