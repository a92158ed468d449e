"""Errors for wrong command lines suggest what was probably meant."""

from __future__ import annotations

import shlex

import pytest

from command_line import Tenfold

ANSWERS = {
    "train digits --plot true": "--plot takes no value, found 'true'; "
    "write --plot alone, or leave it out",
    "train digits more": "tenfold train takes no more arguments, found 'more'; "
    "see tenfold train --help",
    "train digits 'my folder' more": "tenfold train takes no more arguments, "
    "found 'my folder'; see tenfold train --help",
    "train --image-size 128": "there is no option --image-size in tenfold train; "
    "write --set image_size=[128,128]",
    "train --image-size=96x128": "there is no option --image-size in tenfold train; "
    "write --set image_size=[96,128]",
    "train --image-size": "there is no option --image-size in tenfold train; "
    "write --set image_size=[HEIGHT,WIDTH]",
    "train --label-smoothing 0.1": "there is no option --label-smoothing in tenfold train; "
    "write --set label_smoothing=0.1",
    "train --flip": "there is no option --flip in tenfold train; write --set augment.flip=true",
    "train --nesterov --epochs 3": "there is no option --nesterov in tenfold train; "
    "write --set nesterov=true",
    "train --dropout=0.2": "there is no option --dropout in tenfold train; "
    "write --set model_args.dropout=0.2",
    "summary mlp --hidden [8]": "there is no option --hidden in tenfold summary; "
    "write --set hidden=[8]",
    "train --batchsize 8": "there is no option --batchsize in tenfold train; "
    "did you mean --batch-size?",
    "train --learning-rate 1": "there is no option --learning-rate in tenfold train; "
    "did you mean --lr?",
    "evaluate run --seed 1": "there is no option --seed in tenfold evaluate; "
    "see tenfold evaluate --help",
    "evaluate run --spilt val": "there is no option --spilt in tenfold evaluate; "
    "did you mean --split?",
    "train --epochs many": "--epochs is 'many', wanted a whole number",
    "train --lr fast": "--lr is 'fast', wanted a number",
    "predict run --top 0": "--top is '0', wanted at least 1",
    "evalute run": "there is no command 'evalute'; did you mean tenfold evaluate?",
    "frobnicate": "there is no command 'frobnicate'; see tenfold --help",
    "evaluate": "missing argument 'RUN'; see tenfold evaluate --help",
    "train digits --model resnet18": "model 'resnet18' is not known; did you mean 'resnet-small'?",
}


@pytest.mark.parametrize("line", ANSWERS)
def test_the_error_suggests_what_was_probably_meant(line: str, tenfold: Tenfold) -> None:
    answer = tenfold(*shlex.split(line))
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"tenfold: {ANSWERS[line]}\n"


@pytest.mark.parametrize(
    "line",
    [
        "--set image_size=[12,12] --model mlp",
        "--set label_smoothing=0.1",
        "--set augment.flip=true",
        "--set nesterov=true --optimizer sgd --set momentum=0.5",
        "--set model_args.dropout=0.2",
    ],
)
def test_the_suggested_option_works(line: str, tenfold: Tenfold) -> None:
    arguments = ["train", "digits", "--recipe", "digits-quick", "--epochs", "1", "--out", "run"]
    assert tenfold(*arguments, "--batch-size", "512", *line.split()).code == 0


@pytest.mark.parametrize("command", ["", "train", "predict", "reproduce", "info"])
def test_help_shows_no_type_for_flags(command: str, tenfold: Tenfold) -> None:
    answer = tenfold(*command.split(), "--help")
    assert answer.code == 0
    assert "bool" not in answer.out
