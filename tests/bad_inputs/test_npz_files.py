"""Wrong .npz files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bad_inputs.makers.data_sets import Touch, npz, npz_bomb
from bad_inputs.makers.files import all_of, file, truncated
from bad_inputs.rows import Row, check
from command_line import Tenfold

ROWS = [
    Row(
        "npz-objects",
        "train set.npz",
        3,
        ("set.npz", "labels", "object"),
        npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.array([Touch()] * 4, object)),
    ),
    Row(
        "npz-missing-key",
        "train set.npz",
        3,
        ("set.npz", "no 'labels'", "images and labels"),
        npz(images=np.zeros((4, 8, 8), np.uint8)),
    ),
    Row(
        "npz-unknown-key",
        "train set.npz",
        3,
        ("set.npz", "unknown array: 'ids'", "images and labels"),
        npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4), ids=np.arange(4)),
    ),
    Row(
        "npz-key-like-a-known-one",
        "train set.npz",
        3,
        ("set.npz", "unknown array: 'targets'", "did you mean 'labels'?"),
        npz(images=np.zeros((4, 8, 8), np.uint8), targets=np.arange(4)),
    ),
    Row(
        "npz-labels-as-text",
        "train set.npz",
        3,
        ("set.npz", "labels are text of shape (2,)", "number the classes from 0", "'classes'"),
        npz(images=np.zeros((2, 8, 8), np.uint8), labels=["cat", "dog"]),
    ),
    Row(
        "npz-label-negative",
        "train set.npz",
        3,
        ("set.npz", "label -1 at index 0", "number the classes from 0"),
        npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4) - 1),
    ),
    Row(
        "npz-pixels-above-255",
        "train set.npz",
        3,
        ("set.npz", "int64 from 0 to 299", "0..255", "[0, 299], [0, 255]).round()"),
        npz(images=np.resize([0, 299], (4, 8, 8)), labels=np.arange(4)),
    ),
    Row(
        "npz-float-images",
        "train set.npz",
        3,
        ("set.npz", "float32", "0..255", "astype('uint8')"),
        npz(images=np.zeros((4, 8, 8), np.float32), labels=np.arange(4)),
    ),
    Row(
        "npz-label-out-of-range",
        "train set.npz",
        3,
        ("set.npz", "label 2 at index 2", "0..1"),
        npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4), classes=["a", "b"]),
    ),
    Row(
        "npz-counts-differ",
        "train set.npz",
        3,
        ("set.npz", "4 images", "5 labels"),
        npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(5)),
    ),
    Row("npz-bomb", "train set.npz", 3, ("set.npz", "images"), npz_bomb),
    Row("npz-that-is-text", "train set.npz", 3, ("set.npz", "not an .npz"), file("set.npz", "hi")),
    Row("npz-empty", "train set.npz", 3, ("set.npz", "not an .npz"), file("set.npz")),
    Row(
        "npz-truncated",
        "train set.npz",
        3,
        ("set.npz", "damaged or truncated"),
        all_of(
            npz(images=np.zeros((4, 8, 8), np.uint8), labels=np.arange(4)), truncated("set.npz", 30)
        ),
    ),
    Row(
        "npz-without-training-images",
        "train set.npz",
        3,
        ("set.npz", "no training images", "test"),
        npz(test_images=np.zeros((4, 8, 8), np.uint8), test_labels=np.arange(4)),
    ),
    Row(
        "one-class-npz",
        "train set.npz",
        3,
        ("set.npz", "10 training images are of one class, 'a'", "add images"),
        npz(images=np.zeros((10, 8, 8), np.uint8), labels=np.zeros(10, int), classes=["a", "b"]),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)
