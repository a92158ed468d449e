"""Training that cannot start or continue."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bad_inputs.makers.data_sets import npz
from bad_inputs.makers.files import file
from bad_inputs.rows import Row, check
from command_line import Tenfold

QUICK = "--recipe digits-quick --epochs 1 --threads 1"
ABSENT_DEVICE = "mps" if torch.cuda.is_available() else "cuda"

ROWS = [
    Row(
        "model-too-deep-for-the-images",
        "train digits --model lenet",
        2,
        ("lenet", "1x8x8", "too small", "at least", "--set 'image_size=[28,28]'"),
    ),
    Row(
        "patience-without-validation",
        "train digits --val 0 --set patience=3",
        2,
        ("patience is 3", "no validation split", "--val 0.1"),
    ),
    Row(
        "images-of-one-color-normalized",
        "train set.npz --set normalize=true --batch-size 2",
        3,
        ("channel 0 are equal",),
        npz(images=np.zeros((20, 8, 8), np.uint8), labels=np.arange(20) % 2),
    ),
    Row(
        "crop-beyond-reason",
        "train digits --set augment.crop_padding=300",
        2,
        ("augment.crop_padding is 300", "256"),
    ),
    Row(
        "loss-not-finite",
        f"train digits {QUICK} --optimizer sgd --lr 1e6 --out run",
        1,
        ("loss", "learning rate"),
        leaves=("run",),
    ),
    Row(
        "device-not-here",
        f"train digits --device {ABSENT_DEVICE}",
        2,
        (ABSENT_DEVICE, "not available", "choose --device auto"),
    ),
    Row(
        "out-is-a-file",
        f"train digits {QUICK} --out out",
        2,
        ("out", "already exists", "another folder"),
        file("out", "kept"),
    ),
    Row(
        "out-below-a-file",
        f"train digits {QUICK} --out out/run",
        1,
        ("out", "choose a"),
        file("out", "kept"),
    ),
    Row("out-not-writable", f"train digits {QUICK} --out /proc/run", 1, ("/proc/run", "choose")),
    Row(
        "out-not-empty",
        f"train digits {QUICK} --out out",
        2,
        ("out", "already exists", "choose another folder"),
        file("out/thesis.txt", "kept"),
    ),
    Row(
        "runs-is-a-file",
        f"train digits {QUICK}",
        1,
        ("runs", "wanted a folder", "wanted a folder"),
        file("runs", "kept"),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)
