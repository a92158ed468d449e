"""Wrong files in the formats of the known data sets, and missing known data sets."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from bad_inputs.makers.data_sets import Touch, cifar_binary, cifar_python, idx, idx_set
from bad_inputs.makers.files import all_of, empty_folder, file
from bad_inputs.rows import Row, check
from command_line import Tenfold

ROWS = [
    Row(
        "idx-images-missing",
        "train set",
        3,
        ("set: there is no train-images-idx3-ubyte", "train-labels-idx1-ubyte", "put it there"),
        idx_set(train_images=None),
    ),
    Row(
        "idx-labels-of-test-missing",
        "train set",
        3,
        ("set: there is no t10k-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "put it there"),
        idx_set(test_labels=None),
    ),
    Row(
        "idx-truncated",
        "train set",
        3,
        ("train-images-idx3-ubyte", "declares 6 x 4 x 4", "truncated", "fetch the file again"),
        idx_set(train_images=idx((6, 4, 4), bytes(95))),
    ),
    Row(
        "idx-ends-in-its-header",
        "train set",
        3,
        ("train-images-idx3-ubyte", "ends after 10 bytes"),
        idx_set(train_images=idx((6, 4, 4), b"")[:10]),
    ),
    Row(
        "idx-empty",
        "train set",
        3,
        ("train-labels-idx1-ubyte", "begins with nothing", "00 00 08 01"),
        idx_set(train_labels=b""),
    ),
    Row(
        "idx-swapped",
        "train set",
        3,
        ("train-labels-idx1-ubyte", "file of images", "wanted an IDX file of labels", "swap"),
        idx_set(
            train_images=idx((6,), bytes([0, 1, 2] * 2)), train_labels=idx((6, 4, 4), bytes(96))
        ),
    ),
    Row(
        "idx-wrong-magic",
        "train set",
        3,
        ("train-images-idx3-ubyte", "begins with 12 34 56 78", "wanted 00 00 08 03"),
        idx_set(train_images=idx((6, 4, 4), bytes(96), magic=0x12345678)),
    ),
    Row(
        "idx-trailing-bytes",
        "train set",
        3,
        ("train-labels-idx1-ubyte", "declares 6 bytes", "but it has more"),
        idx_set(train_labels=idx((6,), bytes(7))),
    ),
    Row(
        "idx-declares-terabytes",
        "train set",
        3,
        ("train-images-idx3-ubyte", "declares 4,294,967,295", "limit"),
        idx_set(train_images=idx((2**32 - 1, 2**16, 2**16), b"")),
    ),
    Row(
        "idx-gzip-corrupt",
        "train set",
        3,
        ("train-images-idx3-ubyte", "gzip", "damaged or truncated"),
        idx_set(train_images=gzip.compress(idx((6, 4, 4), bytes(96)))[:-8] + bytes(8)),
    ),
    Row(
        "idx-gzip-cut-off",
        "train set",
        3,
        ("train-images-idx3-ubyte", "gzip", "damaged or truncated"),
        idx_set(train_images=gzip.compress(idx((6, 4, 4), os.urandom(96)))[:-20]),
    ),
    Row(
        "idx-counts-differ",
        "train set",
        3,
        ("6 images", "5 labels", "train-labels-idx1-ubyte"),
        idx_set(train_labels=idx((5,), bytes(5))),
    ),
    Row(
        "idx-file-alone",
        "train set/train-images-idx3-ubyte",
        3,
        ("train-images-idx3-ubyte", "an IDX file of images", "name its folder instead: /"),
        idx_set(),
    ),
    Row(
        "mnist-with-files-missing",
        "train mnist --data-root root --offline",
        3,
        ("root/MNIST/raw was not used", "lacks train-labels-idx1-ubyte", "switched off"),
        file("root/MNIST/raw/train-images-idx3-ubyte", b"damaged"),
    ),
    Row(
        "mnist-damaged",
        "train mnist --data-root root --offline",
        3,
        ("root/MNIST/raw/train-images-idx3-ubyte", "digest", "sha256"),
        all_of(
            *(
                file(f"root/MNIST/raw/{name}", b"damaged")
                for name in (
                    "train-images-idx3-ubyte",
                    "train-labels-idx1-ubyte",
                    "t10k-images-idx3-ubyte",
                    "t10k-labels-idx1-ubyte",
                )
            )
        ),
    ),
    Row(
        "mnist-not-here",
        "train mnist --data-root root --offline",
        3,
        ("MNIST", "put train-images-idx3-ubyte", "TENFOLD_DATA"),
        empty_folder("root"),
    ),
    Row(
        "data-root-missing",
        "train mnist --data-root root",
        3,
        ("root", "does not exist", "create it"),
    ),
    Row(
        "cifar-binary-wrong-length",
        "train set",
        3,
        ("data_batch_3.bin", "3,072 bytes", "records of 3,073 bytes"),
        cifar_binary(bytes(3072)),
    ),
    Row(
        "cifar-binary-empty",
        "train set",
        3,
        ("data_batch_3.bin", "0 bytes", "3,073"),
        cifar_binary(b""),
    ),
    Row(
        "cifar-binary-label",
        "train set",
        3,
        ("data_batch_3.bin", "label 10 at index 0", "0..9"),
        cifar_binary(bytes([10]) + bytes(3072)),
    ),
    Row(
        "cifar-python-runs-a-program",
        "train set",
        3,
        ("data_batch_3", "system", "only if you made it yourself"),
        cifar_python(Touch()),
    ),
    Row(
        "cifar-python-no-dict",
        "train set",
        3,
        ("data_batch_3", "a list", "wanted a dict"),
        cifar_python([1, 2]),
    ),
    Row(
        "cifar-python-shape",
        "train set",
        3,
        ("data_batch_3", "(10, 3071)", "(n, 3072)"),
        cifar_python({b"data": np.zeros((10, 3071), np.uint8), b"labels": list(range(10))}),
    ),
    Row(
        "cifar-python-label",
        "train set",
        3,
        ("data_batch_3", "label -1 at index 0", "0..9"),
        cifar_python({b"data": np.zeros((1, 3072), np.uint8), b"labels": [-1]}),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)
