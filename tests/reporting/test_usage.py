"""Errors for wrong command lines suggest what was probably meant."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from command_line import Tenfold
from tenfold.errors import shell_word

ANSWERS = {
    "train digits --plot true": "--plot takes no value, found 'true'; "
    "write --plot alone, or leave it out",
    "train digits more": "tenfold train takes no more arguments, found 'more'; "
    "see tenfold train --help",
    "train --gpu": "there is no option --gpu in tenfold train; did you mean --device cuda?",
    "train digits --device gpu": "there is no device 'gpu'; did you mean 'cuda'?",
    "--train digits": "there is no option --train in tenfold; write tenfold train",
    "digits": "there is no command 'digits'; write tenfold train digits",
    "train --data digits": "there is no option --data in tenfold train; write tenfold train digits",
    "train digits --set dropout=0.5": "unknown key 'dropout', did you mean 'model_args.dropout'?",
    "train digits --set learning_rate=0.1": "unknown key 'learning_rate', did you mean 'lr'?",
    "train digits --set image_size=0": "image_size is 0, wanted height and width of 1 to 4,096 "
    "pixels, such as 64, 48x64 or [48,64]",
    "train digits --set lr 0.1": "--set lr: not KEY=VALUE; write --set lr=0.1",
    "train digits --epochs 0": "epochs is 0, wanted at least 1",
    "train digits --optimizer rmsprop": "optimizer is 'rmsprop', choose one of: adam, adamw, sgd",
    "train digits 'my folder' more": "tenfold train takes no more arguments, "
    "found 'my folder'; see tenfold train --help",
    "train my 'my folder'": "tenfold train takes no more arguments, found 'my folder'; "
    "see tenfold train --help",
    "train digits --image-size 3x96x128": "image_size is '3x96x128', wanted height and width of "
    "1 to 4,096 pixels, such as 64, 48x64 or [48,64]",
    "train --label-smoothing 0.1": "there is no option --label-smoothing in tenfold train; "
    "write --set label_smoothing=0.1",
    "train --flip": "there is no option --flip in tenfold train; write --set augment.flip=true",
    "train --nesterov --epochs 3": "there is no option --nesterov in tenfold train; "
    "write --set nesterov=true",
    "train --dropout=0.2": "there is no option --dropout in tenfold train; "
    "write --set model_args.dropout=0.2",
    "summary mlp --hidden [8]": "there is no option --hidden in tenfold summary; "
    "write --set 'hidden=[8]'",
    "train --batchsize 8": "there is no option --batchsize in tenfold train; "
    "did you mean --batch-size?",
    "train --learning-rate 1": "there is no option --learning-rate in tenfold train; "
    "did you mean --lr?",
    "evaluate run --seed 1": "there is no option --seed in tenfold evaluate; "
    "see tenfold evaluate --help",
    "train digits --batch_size 8": "there is no option --batch_size in tenfold train; "
    "did you mean --batch-size?",
    "train digits --augment flip": "there is no option --augment in tenfold train; "
    "write --set augment.flip=true",
    "train digits --resume runs/x": "there is no option --resume in tenfold train; "
    "did you mean tenfold resume?",
    "train digits --pretrained": "there is no option --pretrained in tenfold train; "
    "see tenfold train --help",
    "train --weight-decay '1e-3; rm x'": "there is no option --weight-decay in tenfold train; "
    "write --set 'weight_decay=1e-3; rm x'",
    "train --plot=true": "--plot takes no value, found 'true'; write --plot alone, or leave it out",
    "train --plot true digits": "--plot takes no value, found 'true'; "
    "write --plot alone, or leave it out",
    "train digits --epochs": "--epochs needs a value; see tenfold train --help",
    "--version=3": "--version takes no value, found '3'; write --version alone, or leave it out",
    "train digits --set lr = 0.1": "--set lr: not KEY=VALUE; write --set lr=0.1",
    "train digits --set augment.crop=2": "unknown key 'augment.crop', "
    "did you mean 'augment.crop_padding'?",
    "evaluate run --data photos": "there is no option --data in tenfold evaluate; "
    "write the data after the run: tenfold evaluate RUN photos",
    "predict run --data photos": "there is no option --data in tenfold predict; "
    "see tenfold predict --help",
    "resume run --set lr=0.1": "there is no option --set in tenfold resume; "
    "change the run's recipe.toml, and add --accept recipe",
    "resume run --lr 0.1": "there is no option --lr in tenfold resume; "
    "change the run's recipe.toml, and add --accept recipe",
    "resume run --corrections f.csv": "there is no option --corrections in tenfold resume; "
    "a run keeps the corrections that it began with: train a new run",
    "train digits --img-size 32": "there is no option --img-size in tenfold train; "
    "write --image-size 32",
    "train digits --test-size 0.3": "there is no option --test-size in tenfold train; "
    "write --set test=0.3",
    "train digits --hidden 64": "there is no option --hidden in tenfold train; "
    "write --set 'model_args.hidden=[64]'",
    "train digits --hidden 128,64": "there is no option --hidden in tenfold train; "
    "write --set 'model_args.hidden=[128,64]'",
    "train digits --set lr =0.1": "--set lr: not KEY=VALUE; write --set lr=0.1",
    "train digits --set augment.zoom=1": "unknown key 'augment.zoom', choose one of: "
    "augment.brightness, augment.contrast, augment.crop_padding, augment.cutout, augment.flip, "
    "augment.rotate, augment.scale, augment.shift",
    "resume run --optimizer sgd": "there is no option --optimizer in tenfold resume; "
    "a run keeps its model, start and optimizer: train a new run",
    f"{'a' * 300}": f"there is no command '{'a' * 78}…; see tenfold --help",
    f"summary {'a' * 300}": f"'{'a' * 99}…{'a' * 98}' is neither a model nor a run; "
    "choose one of: cifar-cnn, convpool, lenet, mlp, resnet-small, resnet18, resnet34, resnet50, "
    "softmax, softmax-scratch",
    "summary lenet --shape=": "--shape is '', wanted, for example, 1x28x28",
    "train digits --set": "--set needs a value; write, for example, --set label_smoothing=0.1",
    "summary lenet --shape 28x28x1": "--shape is 28x28x1, wanted the channels first; "
    "write --shape 1x28x28",
    "predict cat.png 'my dog.jpg'": "cat.png: this is an image, wanted a run first; "
    "write tenfold predict RUN cat.png 'my dog.jpg'",
    "predict cat.png runs.safetensors": "cat.png: this is an image, wanted a run first; "
    "write tenfold predict runs.safetensors cat.png",
    "train digits --model LeNet5": "there is no model 'LeNet5'; did you mean 'lenet'?",
    "train digits --set seed=1.5": "seed is 1.5, wanted a whole number",
    "evaluate run --spilt val": "there is no option --spilt in tenfold evaluate; "
    "did you mean --split?",
    "train --epochs many": "--epochs is 'many', wanted a whole number",
    "train --lr fast": "--lr is 'fast', wanted a number",
    "predict run --top 0": "--top is '0', wanted at least 1",
    "evalute run": "there is no command 'evalute'; did you mean tenfold evaluate?",
    "frobnicate": "there is no command 'frobnicate'; see tenfold --help",
    "evaluate": "missing argument 'RUN'; see tenfold evaluate --help",
    "train digits --model resnet19": "there is no model 'resnet19'; did you mean 'resnet18'?",
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


def test_a_path_without_its_quotes_is_recognized(tenfold: Tenfold) -> None:
    Path("my photos").mkdir()
    answer = tenfold("train", "my", "photos")
    assert answer.code == 2
    assert answer.err.endswith("found 'photos'; put the path in quotes: 'my photos'\n")


@pytest.mark.parametrize("name", ["it's", "a\\b", "two\nlines", "\udcff"])
def test_data_in_the_place_of_a_command_is_recognized(name: str, tenfold: Tenfold) -> None:
    Path(name).mkdir()
    answer = tenfold(name)
    assert answer.code == 2
    assert answer.err.endswith(f"; write tenfold train {shell_word(name)}\n")


def test_data_in_the_place_of_a_run_is_recognized(tenfold: Tenfold) -> None:
    answer = tenfold("evaluate", "digits")
    assert answer.code == 4
    assert answer.err.endswith("; name the run first, and the data after it\n")
