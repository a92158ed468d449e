"""The command line: what goes to which stream, with which exit code."""

from __future__ import annotations

import csv
import ctypes
import io
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from command_line import Tenfold
from engines import ENGINES
from small_bundles import bundle_with
from small_data import SMALL_DATA
from stopping import StopsAt
from tenfold import evaluate, resume, train
from tenfold.data import load_splits
from tenfold.deployment import write_bundle
from tenfold.deployment.bundle import VERSION as BUNDLE_VERSION
from tenfold.errors import InterruptedRunError
from tenfold.models import build
from tenfold.native.library import Kernels, NoKernels
from tenfold.reporting import describe
from tensor_files import read_tensors, sha256_of_tensors

SMALL = ["--recipe", "digits-quick", "--epochs", "2", "--threads", "1"]


def test_a_whole_journey(tenfold: Tenfold, tmp_path: Path) -> None:
    answer = tenfold("train", "digits", "--recipe", "digits-quick", "--epochs", "8", "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result["schema"] == 1
    assert result["status"] == "finished"
    assert result["n_train"] + result["n_val"] + result["n_test"] == 1797
    assert result["test_acc"] > 0.9
    low, high = result["test_interval"]
    assert low < result["test_acc"] < high
    assert len(result["history"]) == result["epochs"] == 8
    assert answer.err.count("\nepoch ") == 8

    run = result["run"]
    assert sorted(path.name for path in Path(run).iterdir() if path.name[0] != ".") == [
        "checkpoints",
        "metrics.jsonl",
        "model.safetensors",
        "predictions.csv",
        "recipe.toml",
        "report.html",
        "report.json",
        "run.json",
    ]

    again = json.loads(tenfold("evaluate", run, "--json").out)
    for figure in ("n_test", "test_loss", "test_acc", "test_interval"):
        assert again[figure] == result[figure]

    shown = tenfold("evaluate", run)
    assert f"test_acc {result['test_acc']:.4f}" in shown.out
    assert shown.out.count("\n") == 13  # headline, blank, heading, ten classes

    val = json.loads(tenfold("evaluate", run, "--split", "val", "--json").out)
    assert val["val_acc"] == result["val_acc"]
    assert val["n_val"] == result["n_val"]

    moved = tmp_path / "elsewhere.safetensors"
    (Path(run) / "model.safetensors").rename(moved)
    picture = tmp_path / "zero.png"
    Image.new("RGBA", (31, 57), (0, 0, 0, 255)).save(picture)
    top = tenfold("predict", str(moved), str(picture), "--top", "3", "--json")
    (prediction,) = json.loads(top.out)["predictions"]
    assert prediction["image"] == str(picture)
    assert len(prediction["top"]) == 3
    assert all(guess["class"] in "0123456789" for guess in prediction["top"])


def test_results_go_to_standard_output_and_everything_else_to_standard_error(
    tenfold: Tenfold,
) -> None:
    answer = tenfold("train", "digits", *SMALL, "--out", "run")
    assert answer.code == 0
    assert "test_acc" in answer.out
    assert "epoch" not in answer.out.replace("from epoch", "")
    assert "epoch 1/2" in answer.err
    quiet = tenfold("train", "digits", *SMALL, "--out", "run2", "--quiet")
    assert "epoch" not in quiet.err
    assert "note: there is no test split" in quiet.err


def test_missing_test_images_are_noted_only_when_a_run_has_none(
    tenfold: Tenfold, tmp_path: Path
) -> None:
    answer = tenfold("train", "digits", *SMALL, "--out", "run", "--set", "test=0", "--json")
    assert json.loads(answer.out)["n_test"] == 0
    assert "note: there are no test images\n" in answer.err
    assert json.loads(Path("run/run.json").read_text())["data"]["notes"] == [
        "there are no test images"
    ]
    moved = Path("run/model.safetensors").rename(tmp_path / "moved.safetensors")
    evaluated = tenfold("evaluate", str(moved), "digits", "--json")
    assert json.loads(evaluated.out)["n_test"] == 1797
    assert "there are no test images" not in evaluated.err
    assert "the figures may include images that it was trained on" in evaluated.err


def test_predict_without_images_takes_test_images_and_writes_csv(tenfold: Tenfold) -> None:
    tenfold("train", "digits", *SMALL, "--out", "run")
    rows = list(csv.DictReader(io.StringIO(tenfold("predict", "run", "--csv", "--top", "2").out)))
    assert len(rows) == 10
    assert set(rows[0]) == {"image", "rank", "class", "probability"}
    assert rows[0]["rank"] == "1"
    assert float(rows[0]["probability"]) >= float(rows[1]["probability"])
    (first, *_) = json.loads(tenfold("predict", "run", "--json").out)["predictions"]
    assert first["image"] == rows[0]["image"]
    said = tenfold("predict", "run").out.splitlines()[0]
    assert said.startswith(f"{first['image']} ({first['true_class']}): ")


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_offline_nothing_is_downloaded(
    command: str, tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run was trained on data that is no longer here."""
    monkeypatch.delenv("TENFOLD_DATA", raising=False)
    monkeypatch.setattr(
        "tenfold.data.catalog.locate.download_files", lambda *_, **__: pytest.fail("a download")
    )
    with SMALL_DATA:
        line = ["train", "mnist", "--model", "softmax", "--epochs", "1", "--out", "run"]
        assert tenfold(*line).code == 0
    answer = tenfold(command, "run", "--offline")
    assert (answer.code, answer.out) == (3, "")
    assert "downloading is switched off" in answer.err


def test_the_running_loss_is_counted_from_each_epochs_own_start(tenfold: Tenfold) -> None:
    answer = tenfold("train", "digits", *SMALL, "--out", "run", "--log-every", "7")
    lines = [line for line in answer.err.splitlines() if "running loss" in line]
    assert [line.split(":")[0] for line in lines] == [
        f"epoch {epoch}, batch {batch}/21" for epoch in (1, 2) for batch in (7, 14, 21)
    ]
    last = [float(line.rsplit(" ", 1)[1]) for line in lines if "batch 21/21" in line]
    with Path("run/metrics.jsonl").open() as file:
        history = [json.loads(line)["train_loss"] for line in file]
    # The mean of the batch losses and that of the image losses differ by the last, smaller batch.
    assert last == pytest.approx(history, rel=0.02)


def test_resume_trains_further_and_then_has_nothing_to_do(tenfold: Tenfold) -> None:
    tenfold("train", "digits", *SMALL, "--out", "run")
    done = tenfold("resume", "run")
    assert done.code == 0
    assert "nothing to do" in done.err
    further = json.loads(tenfold("resume", "run", "--epochs", "3", "--json").out)
    assert further["epochs"] == 3


def test_set_changes_any_key_and_the_resolved_recipe_is_written(tenfold: Tenfold) -> None:
    answer = tenfold(
        "train", "digits", *SMALL, "--out", "run",
        "--set", "model_args.hidden=[16]", "--set", "label_smoothing=0.1", "--lr", "0.002",
    )  # fmt: skip
    assert answer.code == 0, answer.err
    text = Path("run/recipe.toml").read_text()
    for line in ("label_smoothing = 0.1", "lr = 0.002", 'data = "digits"', "dropout = 0.3"):
        assert line in text.splitlines()
    assert json.loads(Path("run/run.json").read_text())["parameters"] < 53_002


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help_names_every_command(tenfold: Tenfold, word: str) -> None:
    answer = tenfold(word)
    assert answer.code == 0
    for command in ("train", "resume", "evaluate", "predict", "summary", "data", "recipes", "info"):
        assert command in answer.out


@pytest.mark.parametrize(
    "command",
    ["train", "resume", "evaluate", "predict", "summary", "data", "recipes", "info"],
)
def test_every_command_explains_itself(tenfold: Tenfold, command: str) -> None:
    answer = tenfold(command, "--help")
    assert answer.code == 0
    assert "Usage: tenfold" in answer.out
    assert answer.err == ""


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['tenfold', '--help']\n"
        "from tenfold.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([m for m in ('torch', 'numpy', 'pydantic', 'matplotlib', 'sklearn', 'PIL') "
        "if m in sys.modules], file=sys.stderr)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stderr.strip() == "[]"


def test_another_optimizer_drops_the_first_ones_own_options(tenfold: Tenfold) -> None:
    small = ["--set", "model_args.widths=[4]", "--epochs", "1", "--threads", "1", "--out", "run"]
    eight_by_eight = ["--set", "augment.crop_padding=1", "--set", "augment.cutout=2"]
    line = ["train", "digits", "--recipe", "resnet-small", *small, *eight_by_eight]
    answer = tenfold(*line, "--optimizer", "adamw")
    assert answer.code == 0, answer.err
    text = Path("run/recipe.toml").read_text().splitlines()
    for setting in ('optimizer = "adamw"', "momentum = 0.0", "nesterov = false"):
        assert setting in text
    refused = tenfold(*line, "--optimizer", "adamw", "--set", "momentum=0.9")
    assert refused.code == 2
    assert "optimizer adamw takes no momentum" in refused.err


def test_info_shows_the_kernels_or_why_there_are_none(
    tenfold: Tenfold, monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine(found: Kernels | NoKernels) -> str:
        monkeypatch.setattr(describe, "find_kernels", lambda: found)
        text: str = json.loads(tenfold("info", "--json").out)["engine"]
        assert f"engine        {text}\n" in tenfold("info").out
        return text

    library = ctypes.CDLL(None)
    assert engine(Kernels(library, "avx512")) == "native (avx512)"
    skipped = {"avx512": "this processor has no AVX-512"}
    assert engine(Kernels(library, "avx2", skipped)) == (
        "native (avx2; not avx512: this processor has no AVX-512)"
    )
    assert engine(NoKernels("no compiler was found")) == "torch (no compiler was found)"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_by_either_engine(engine: str, tenfold: Tenfold) -> None:
    answer = tenfold("train", "digits", *SMALL, "--out", "run", "--engine", engine, "--json")
    assert answer.code == 0, answer.err
    facts = json.loads(Path("run/run.json").read_text())
    assert facts["conditions"]["engine"] == engine
    again = json.loads(tenfold("evaluate", "run", "--json").out)
    result = json.loads(answer.out)
    assert (again["test_loss"], again["test_acc"]) == (result["test_loss"], result["test_acc"])
    assert result["engine"] == engine
    resumed = tenfold("resume", "run", "--epochs", "3", "--engine", "torch")
    assert "\nengine torch\n" in resumed.out
    assert ("no longer bit-exact" in resumed.err) == (engine == "native")


def test_recipes_and_data_and_info_and_summary_say_the_same_in_json(tenfold: Tenfold) -> None:
    recipes = json.loads(tenfold("recipes", "--json").out)["recipes"]
    for name in recipes:
        assert name in tenfold("recipes").out
    assert recipes["lenet-mnist"]["lr"] == 0.1
    assert "# A LeNet-5 variant" in tenfold("recipes", "lenet-mnist").out

    names = [entry["name"] for entry in json.loads(tenfold("data", "--json").out)["data_sets"]]
    assert {"digits", "mnist", "fashion-mnist", "kmnist", "cifar10", "cifar100"} == set(names)
    facts = json.loads(tenfold("data", "digits", "--json").out)
    assert facts["classes"] == {str(digit): digit for digit in range(10)}
    assert facts["splits"]["train"]["n"] + facts["splits"]["test"]["n"] == 1797
    shown = tenfold("data", "digits").out
    assert "uint8 [359, 1, 8, 8]" in shown

    assert json.loads(tenfold("info", "--json").out)["torch"]
    assert "cache" in tenfold("info").out
    assert json.loads(tenfold("info", "--json").out)["engine"].startswith(("native (", "torch ("))
    assert json.loads(tenfold("summary", "lenet", "--json").out)["parameters"] == 61_706
    assert "61,706" in tenfold("summary", "lenet").out
    wide = tenfold("summary", "mlp", "--set", "hidden=[8]", "--shape", "3x4x4", "--classes", "2")
    assert "410 (410 trainable)" in wide.out  # 48 * 8 + 8 + 8 * 2 + 2


def test_the_summary_of_a_run_is_that_of_its_model(tenfold: Tenfold) -> None:
    tenfold("train", "digits", *SMALL, "--out", "run")
    assert json.loads(tenfold("summary", "run", "--json").out)["parameters"] == 53_002
    for missing, message in (
        ("runs/other", "runs/other: no such folder or file; name a run or a model"),
        ("other", "'other' is neither a model nor a run; choose one of: "),
        ("run --shape 1x9x9", "arguments; leave out --shape, or name a model"),
        ("run --classes 4 --set dropout=0.5", "leave out --classes and --set, or name a model"),
    ):
        answer = tenfold("summary", *missing.split())
        assert answer.code == 2
        assert message in answer.err


def test_tracebacks_are_shown_only_with_debug(tenfold: Tenfold) -> None:
    plain = tenfold("train", "mnits")
    assert plain.code == 2
    assert plain.out == ""
    assert plain.err.startswith("tenfold: ")
    assert plain.err.count("\n") == 1
    assert "did you mean 'mnist'?" in plain.err
    whole = tenfold("train", "mnits", "--debug")
    assert whole.code == 2
    assert whole.err.startswith("Traceback")
    assert "did you mean 'mnist'?" in whole.err.splitlines()[-1]


def test_json_has_the_error_when_it_fails(tenfold: Tenfold) -> None:
    answer = tenfold("train", "digits", "--lr", "-1", "--json")
    assert answer.code == 2
    assert json.loads(answer.out) == {
        "schema": 1,
        "error": {"message": "lr is -1.0, wanted more than 0", "remedy": "", "exit_code": 2},
    }


def test_no_color_codes_without_a_terminal(tmp_path: Path) -> None:
    answer = subprocess.run(
        [
            *(sys.executable, "-m", "tenfold", "train", "digits", *SMALL, "--out", "run"),
            *("--engine", "torch"),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert "\x1b" not in answer.stdout + answer.stderr
    assert answer.stderr.count("\n") == 4  # a note, two epochs, and a note that they are too few


def test_only_the_same_seed_gives_the_same_bits(tenfold: Tenfold) -> None:
    digests, histories = [], []
    for number, seed in enumerate(("1", "1", "2")):
        out = f"run{number}"
        assert tenfold("train", "digits", *SMALL, "--seed", seed, "--out", out).code == 0
        _, tensors = read_tensors(
            Path(out, "model.safetensors"), kind="tenfold-bundle", version=BUNDLE_VERSION
        )
        digests.append(sha256_of_tensors(tensors))
        lines = [json.loads(line) for line in Path(out, "metrics.jsonl").read_text().splitlines()]
        histories.append([{k: v for k, v in line.items() if k != "seconds"} for line in lines])
    assert digests[0] == digests[1] != digests[2]
    assert histories[0] == histories[1] != histories[2]


def test_one_epoch_of_lenet_on_mnist(tenfold: Tenfold, real_data: Path) -> None:
    answer = tenfold(
        "train", "mnist", "--recipe", "lenet-mnist", "--epochs", "1", "--json",
        "--data-root", str(real_data),
    )  # fmt: skip
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert result["n_train"] == 60_000
    assert result["n_test"] == 10_000
    assert result["parameters"] == 61_706
    assert result["test_acc"] >= 0.95


def test_a_folder_of_pictures_from_start_to_end(tenfold: Tenfold, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(40):
            pixels = generator.integers(0, 100, (20 + number % 3, 24, 3)) + 150 * label
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    answer = tenfold("train", "photos", "--batch-size", "8", "--epochs", "4", "--json")
    assert answer.code == 0, answer.err
    result = json.loads(answer.out)
    assert (result["n_train"], result["n_val"], result["n_test"]) == (64, 0, 16)
    assert "note: none of the 64 training images are held out for validation" in answer.err
    assert "sizes" in answer.err
    assert result["test_acc"] > 0.9
    shown = tenfold("predict", result["run"], "photos/dark/1.png", "photos/light/2.png")
    assert [line.split()[1] for line in shown.out.splitlines()] == ["dark", "light"]
    again = json.loads(tenfold("evaluate", result["run"], "--json").out)
    assert again["test_loss"] == result["test_loss"]
    named = json.loads(tenfold("evaluate", result["run"], "photos", "--json").out)
    assert (named["n_test"], named["test_loss"]) == (16, result["test_loss"])


# --- What it recommends can be typed ---------------------------------------------------------


def recommended(text: str) -> list[list[str]]:
    """The commands that a run suggests next, without `tenfold`."""
    lines = [line.removeprefix("next").strip() for line in text.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("tenfold ")]


@pytest.mark.parametrize(
    ("settings", "out"),
    [
        ([], "run"),
        ([], "my runs/it's a run"),
        (["--set", "test=0"], "run"),
        (["--set", "test=0", "--val", "0"], "run"),
    ],
    ids=["usual", "odd name", "no test split", "training images alone"],
)
def test_the_suggested_next_commands_work_as_written(
    settings: list[str], out: str, tenfold: Tenfold, tmp_path: Path
) -> None:
    answer = tenfold("train", "digits", *SMALL, *settings, "--out", out)
    assert answer.code == 0
    evaluate, predict, serve = recommended(answer.out)
    assert tenfold(*evaluate).code == 0
    assert serve[:1] == ["serve"]  # which does not end
    assert serve[1:] == evaluate[1:2]
    Image.new("L", (8, 8)).save("zero.png")
    assert predict[-1] == "IMAGE..."
    assert tenfold(*predict[:-1], "zero.png").code == 0


def test_remedies_on_the_command_line_are_commands(tenfold: Tenfold, tmp_path: Path) -> None:
    """Each is typed as suggested, with the place of the data filled in."""
    pixels = np.random.default_rng(0).integers(0, 256, (200, 8, 8), np.uint8)
    np.savez("old set.npz", images=pixels, labels=np.arange(200) % 4)
    assert tenfold("train", "./old set.npz", *SMALL, "--out", "my run").code == 0
    Path("old set.npz").rename("new set.npz")
    for command, more in (("evaluate", []), ("resume", ["--epochs", "3"])):
        refused = tenfold(command, "my run", *more)
        assert refused.code == 3
        advised = refused.err.rpartition("say where it is now: ")[2].strip()
        assert advised.startswith(f"tenfold {command} 'my run'")
        typed = shlex.split(advised.replace("PLACE", "'new set.npz'"))[1:]
        assert tenfold(*typed, *more).code == 0


def test_commands_do_not_advise_what_only_python_can_take(tenfold: Tenfold, tmp_path: Path) -> None:
    """Data passed in Python can be passed again only in Python."""
    digits = load_splits("digits").splits
    run = train(digits, recipe="digits-quick", epochs=1, out="run", quiet=True)
    refused = tenfold("evaluate", "run")
    again = "pass it again: tenfold."
    assert f"evaluate in Python, and {again}evaluate('run', data)" in refused.err
    assert evaluate("run", digits).n == run.figures["n_test"]
    refused = tenfold("resume", "run", "--epochs", "2")
    assert f"resume in Python, and {again}resume('run', data=data)" in refused.err
    assert len(resume("run", data=digits, epochs=2, quiet=True).history) == 2
    assert tenfold("predict", "run").err.endswith("; name image files\n")


def test_class_names_that_are_not_unicode_are_written_as_csv(
    tenfold: Tenfold, tmp_path: Path
) -> None:
    bundle = bundle_with(
        build("softmax", (1, 8, 8), 2).state_dict(),
        model="softmax",
        input_shape=(1, 8, 8),
        classes=["caf\udce9", "\ud800"],
    )
    write_bundle(tmp_path / "odd.safetensors", bundle)
    Image.new("L", (8, 8)).save("caf\udce9.png")
    answer = tenfold("predict", "odd.safetensors", "caf\udce9.png", "--csv", "--top", "2")
    assert answer.code == 0
    rows = list(csv.reader(answer.out.splitlines()))
    assert [row[0] for row in rows[1:]] == [r"caf\udce9.png"] * 2
    assert {row[2] for row in rows[1:]} == {r"caf\udce9", r"\ud800"}


@pytest.mark.parametrize("out", ["my 'd/r 1", "-run"])
def test_the_command_that_continues_a_run_can_be_pasted(
    out: str, tenfold: Tenfold, tmp_path: Path
) -> None:
    with pytest.raises(InterruptedRunError) as stopped:
        train("digits", recipe="digits-quick", epochs=2, out=out, watcher=StopsAt(10))
    typed = shlex.split(stopped.value.remedy.removeprefix("continue with: "))
    assert typed[0] == "tenfold"
    assert tenfold(*typed[1:]).code == 0
