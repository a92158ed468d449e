"""Wrong recipe files."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_inputs.makers.files import Maker, empty_folder, file
from bad_inputs.rows import Row, check
from command_line import Tenfold


def recipe(text: str) -> Maker:
    return file("own.toml", text)


ROWS = [
    Row("recipe-missing", "train digits --recipe own.toml", 2, ("own.toml", "no such file")),
    Row(
        "recipe-is-a-folder",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "directory"),
        empty_folder("own.toml"),
    ),
    Row(
        "recipe-not-toml",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "not TOML", "line 1"),
        recipe("epochs: 3"),
    ),
    Row(
        "recipe-binary",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "not UTF-8"),
        file("own.toml", bytes(range(256))),
    ),
    Row(
        "recipe-of-10-mb",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "larger than 65,536 bytes", "TOML"),
        file("own.toml", b"#" * 10_000_000),
    ),
    Row(
        "recipe-nested-too-deeply",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "not TOML"),
        recipe("model_args = " + "[" * 50_000),
    ),
    Row(
        "recipe-of-dots",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "more than 500 dots in a line"),
        recipe("a" + ".a" * 30_000 + " = 1"),
    ),
    Row(
        "recipe-of-many-wrong-keys",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "'key0'", "and 991 more"),
        recipe("".join(f"key{number} = 1\n" for number in range(1000))),
    ),
    Row(
        "recipe-empty",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "'model' is missing"),
        recipe(""),
    ),
    Row(
        "recipe-wrong-types",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "epochs is 'three'", "a whole number", "shuffle is 1", "true or false"),
        recipe("model = 'mlp'\nepochs = 'three'\nshuffle = 1"),
    ),
    Row(
        "recipe-nested-tables",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "epochs is", "a whole number", "'trainer'"),
        recipe("model = 'mlp'\n[epochs.of.mine]\nn = 3\n[trainer.x]\ny = 1"),
    ),
    Row(
        "recipe-unknown-key",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "'epoch'", "did you mean 'epochs'?"),
        recipe("model = 'mlp'\nepoch = 3"),
    ),
    Row(
        "recipe-number-not-finite",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "lr is inf", "finite"),
        recipe("model = 'mlp'\nlr = inf"),
    ),
    Row(
        "recipe-argument-not-finite",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "model_args has inf", "finite"),
        recipe("model = 'mlp'\nmodel_args = {dropout = inf}"),
    ),
    Row(
        "recipe-date",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "lr is", "a number"),
        recipe("model = 'mlp'\nlr = 1979-05-27"),
    ),
    Row(
        "recipe-unknown-model",
        "train digits --recipe own.toml",
        2,
        ("'lnet'", "did you mean 'lenet'?"),
        recipe("model = 'lnet'"),
    ),
    Row(
        "recipe-one-side-of-a-size",
        "train digits --recipe own.toml",
        2,
        ("own.toml", "image_size", "height and width"),
        recipe("model = 'mlp'\nimage_size = [8]"),
    ),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)
