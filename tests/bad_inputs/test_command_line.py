"""Wrong command lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from bad_inputs.rows import Row, check
from command_line import Tenfold

ROWS = [
    Row("unknown-command", "trian digits", 2, ("trian", "train")),
    Row("unknown-option", "train digits --epoch 3", 2, ("--epoch", "--epochs")),
    Row("missing-argument", "evaluate", 2, ("RUN", "evaluate --help")),
    Row("argument-too-many", "train digits mnist", 2, ("mnist", "train --help")),
    Row("option-without-value", "train digits --lr", 2, ("--lr needs a value", "train --help")),
    Row(
        "epochs-no-number",
        "train digits --epochs many",
        2,
        ("--epochs", "'many'", "a whole number"),
    ),
    Row("epochs-0", "train digits --epochs 0", 2, ("epochs is 0", "at least 1")),
    Row("epochs-negative", "train digits --epochs -1", 2, ("epochs is -1", "1")),
    Row("resume-epochs-0", "resume run --epochs 0", 2, ("--epochs", "0", "1")),
    Row("batch-size-0", "train digits --batch-size 0", 2, ("batch_size is 0", "1")),
    Row("lr-0", "train digits --lr 0", 2, ("lr is 0", "more than 0")),
    Row("lr-1e30", "train digits --lr 1e30", 2, ("lr is 1e+30", "1,000,000")),
    Row("lr-nan", "train digits --lr nan", 2, ("lr is nan", "finite")),
    Row("val-1.5", "train digits --val 1.5", 2, ("val is 1.5", "less than 1")),
    Row("val-negative", "train digits --val -0.1", 2, ("val is -0.1", "0")),
    Row(
        "seed-too-large", f"train digits --seed {2**63}", 2, ("seed is 9,223,372,036,854,775,808",)
    ),
    Row("unknown-data", "train mnits", 2, ("'mnits'", "did you mean 'mnist'?")),
    Row("unknown-data-shown", "data mnits", 2, ("'mnits'", "did you mean 'mnist'?")),
    Row("unknown-model", "train digits --model lnet", 2, ("'lnet'", "did you mean 'lenet'?")),
    Row("unknown-summary", "summary lnet", 2, ("'lnet'", "did you mean 'lenet'?")),
    Row(
        "unknown-recipe",
        "train digits --recipe lenet-mnst",
        2,
        ("'lenet-mnst'", "did you mean 'lenet-mnist'?", ".toml"),
    ),
    Row("unknown-recipe-shown", "recipes mlp-fasion", 2, ("did you mean 'mlp-fashion'?",)),
    Row(
        "unknown-optimizer",
        "train digits --optimizer adamm",
        2,
        ("optimizer is 'adamm'", "did you mean 'adam'?"),
    ),
    Row(
        "unknown-schedule",
        "train digits --set schedule=cosin",
        2,
        ("schedule is 'cosin'", "did you mean 'cosine'?"),
    ),
    Row(
        "unknown-device",
        "train digits --device cdua",
        2,
        ("'cdua'", "did you mean 'cuda'?"),
    ),
    Row(
        "unknown-engine",
        "train digits --engine turch",
        2,
        ("there is no engine 'turch'", "did you mean 'torch'?"),
    ),
    Row("threads-0", "train digits --threads 0", 2, ("threads is 0", "1..1024")),
    Row("log-every-negative", "train digits --log-every -1", 2, ("--log-every", "-1", "0")),
    Row(
        "checkpoint-every-word",
        "train digits --checkpoint-every often",
        2,
        ("'often'", "30s", "500"),
    ),
    Row("checkpoint-every-0", "train digits --checkpoint-every 0", 2, ("'0'", "30s")),
    Row("checkpoint-every-nan", "train digits --checkpoint-every nans", 2, ("'nans'", "30s")),
    Row("checkpoint-every-negative", "train digits --checkpoint-every -5s", 2, ("'-5s'", "30s")),
    Row("set-without-equals", "train digits --set momentum", 2, ("'momentum'", "KEY=VALUE")),
    Row("set-without-key", "train digits --set =3", 2, ("'=3'", "KEY=VALUE")),
    Row(
        "set-unknown-key",
        "train digits --set momentun=0.9",
        2,
        ("'momentun'", "did you mean 'momentum'?"),
    ),
    Row(
        "set-unknown-inner-key",
        "train digits --set augment.flipp=true",
        2,
        ("'augment.flipp'", "did you mean 'augment.flip'?"),
    ),
    Row(
        "set-unknown-argument",
        "train digits --model mlp --set model_args.dropuot=0.1",
        2,
        ("'dropuot'", "did you mean 'dropout'?"),
    ),
    Row("set-wrong-type", "train digits --set epochs=1.5", 2, ("epochs is 1.5", "a whole number")),
    Row("set-no-table", "train digits --set augment=3", 2, ("augment is 3", "augment.flip=true")),
    Row("set-below-a-value", "train digits --set epochs.x=3", 2, ("'epochs.x'", "not a table")),
    Row("set-empty-part", "train digits --set augment.=3", 2, ("'augment.'",)),
    Row(
        "set-hidden-0",
        "train digits --set model=mlp --set model_args.hidden=[0]",
        2,
        ("hidden[0] is 0", "wanted 1..65536"),
    ),
    Row("json-with-csv", "predict run --json --csv", 2, ("--csv", "--json", "choose one")),
    Row("top-0", "predict run --top 0", 2, ("--top", "0", "1")),
    Row("shape-of-two", "summary lenet --shape 28x28", 2, ("'28x28'", "1x28x28")),
    Row("shape-of-words", "summary lenet --shape axbxc", 2, ("'axbxc'", "1x28x28")),
    Row("shape-of-0", "summary softmax --shape 0x28x28", 2, ("0x28x28", "1..16384")),
    Row("shape-huge", "summary softmax --shape 1x99999999x9", 2, ("1x99999999x9", "1..16384")),
    Row("shape-ten-digits", "summary softmax --shape 1x9999999999x9", 2, ("--shape", "1x28x28")),
    Row("shape-endless", f"summary softmax --shape 1x1x{'9' * 5000}", 2, ("--shape", "1x28x28")),
    Row("shape-too-small", "summary lenet --shape 1x4x4", 2, ("lenet", "too small", "at least")),
    Row("classes-0", "summary lenet --classes 0", 2, ("--classes", "0", "1")),
    Row("nothing-to-train-on", "train", 2, ("no data set", "digits")),
    Row("accept-nonsense", "resume run --accept everything", 2, ("'everything'", "recipe, data")),
    Row("unknown-split", "evaluate run --split tset", 2, ("'tset'", "train, val or test")),
    Row(
        "adam-with-momentum",
        "train digits --optimizer adam --set momentum=0.9",
        2,
        ("adam", "momentum", "choose --set momentum=0"),
    ),
    Row(
        "nesterov-alone",
        "train digits --recipe lenet-mnist --set momentum=0 --set nesterov=true",
        2,
        ("nesterov", "momentum above 0"),
    ),
    Row(
        "set-endless-number",
        f"train digits --model mlp --set model_args.hidden=[0x{'f' * 5000}]",
        2,
        ("mlp: hidden is '[0xfff", "a list of whole numbers"),
    ),
    Row(
        "set-nested-without-end",
        f"train digits --model mlp --set model_args.hidden={'[' * 5000}",
        2,
        ("mlp: hidden is '[[[", "a list of whole numbers"),
    ),
    Row(
        "set-two-lines",
        "train digits --set 'epochs=1\nlr=2'",
        2,
        ("epochs is '1\\nlr=2'", "a whole number"),
    ),
    Row("reproduce-unknown", "reproduce lenet-mnst", 2, ("'lenet-mnst'", "'lenet-mnist'?")),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_wrong_input_gives_one_sentence_and_leaves_nothing(
    row: Row, tenfold: Tenfold, tmp_path: Path
) -> None:
    check(row, tenfold, tmp_path)
