"""Reading a run's data while another thread imports PyTorch: in processes that have not yet."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tenfold
from small_bundles import weights_of
from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources
from thoroughness import some

LONG_READ = """
import sys, time
import tenfold.runs.reading as module

def load_splits(*_, listener, **__):
    print("reading", file=sys.__stdout__, flush=True)
    for done in range(6000):
        time.sleep(0.01)
        listener.reading("images", done, None)
    raise AssertionError("nothing ended the read")

module.load_splits = load_splits
"""


WRONG = [
    (["--model", "lenett"], "there is no model 'lenett'; did you mean 'lenet'?"),
    (["--model", "mlp", "--set", "model_args.hiden=[3]"], "hiden"),
    (["--device", "cud"], "there is no device 'cud'; did you mean 'cuda'?"),
]
"""Arguments, and what is said of them."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(40) % 2)
    return tmp_path


def command(folder: Path, *arguments: str, first: str = "import sys") -> subprocess.Popen[str]:
    """A started command in a process that has not imported PyTorch."""
    line = ["tenfold", "train", *arguments]
    code = f"{first}\nassert 'torch' not in sys.modules\nsys.argv = {line!r}\n"
    return subprocess.Popen(
        [sys.executable, "-c", f"{code}from tenfold.cli import main\nmain()"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_for_training_is_imported_without_pytorch() -> None:
    code = "import sys, tenfold.runs.train; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("engine", ["auto", "torch"])
def test_a_run_is_the_same_either_way(
    engine: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["set.npz", "--model", "mlp", "--epochs", "2", "--batch-size", "8", "--out", "apart"]
    process = command(folder, *line, "--engine", engine, "--threads", "1")
    _, err = process.communicate()
    assert process.returncode == 0, err
    recipe = load_recipe("default", {"model": "mlp", "epochs": 2, "batch_size": 8})
    resources = Resources(threads=1, engine=engine)
    monkeypatch.chdir(folder)
    here = train_run(recipe, "set.npz", out=Path("here"), resources=resources)
    apart = tenfold.open_run(folder / "apart")
    assert apart.facts.data == here.facts.data
    assert apart.facts.context == here.facts.context
    assert (folder / "apart" / "recipe.toml").read_bytes() == (
        folder / "here" / "recipe.toml"
    ).read_bytes()
    assert weights_of(folder / "apart") == weights_of(folder / "here")


@pytest.mark.parametrize(
    ("data", "arguments", "said"),
    some(
        [(data, *wrong) for data, wrong in zip(["nowhere", "set.npz"] * 3, WRONG * 2, strict=True)],
        3,
    ),
)
def test_what_does_not_depend_on_the_data_is_checked_first(
    data: str, arguments: list[str], said: str, folder: Path
) -> None:
    _, err = command(folder, data, *arguments, "--out", "run").communicate()
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (folder / "run").exists()


def test_that_ends_a_long_read(folder: Path) -> None:
    process = command(folder, "set.npz", "--model", "lenett", first=LONG_READ)
    out, err = process.communicate()
    assert out == "reading\n"
    assert (process.returncode, "did you mean 'lenet'?" in err) == (2, True), err


def test_bad_data_is_an_error_of_the_data(folder: Path) -> None:
    process = command(folder, "nowhere")
    out, err = process.communicate()
    assert (process.returncode, out) == (2, "")
    assert err.startswith("tenfold: 'nowhere' is neither the name of a data set nor a folder")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal here")
def test_ctrl_c_ends_it(folder: Path) -> None:
    process = command(folder, "set.npz", "--out", "run", first=LONG_READ)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert len(err.splitlines()) == 1, err
    assert not (folder / "run").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal here")
def test_ctrl_c_wins_over_a_wrong_argument_and_kept_notes(folder: Path) -> None:
    patient = LONG_READ.replace(
        "import tenfold.runs.reading as module",
        "import tenfold.runs.reading as module\n"
        "import threading\n"
        "waiting = threading.Event()\n"
        "check = module._import_and_check\n"
        "module._import_and_check = lambda *all: (waiting.wait(60), check(*all))",
    ).replace('print("reading"', 'listener.note("a note"); print("reading"')
    process = command(folder, "set.npz", "--model", "lenett", first=patient)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert process.stderr.readline() == "tenfold: interrupted\n"  # before the import has ended
    process.kill()
    assert process.communicate()[1] == ""


def test_a_thread_can_train_after_the_main_thread_has_ended(folder: Path) -> None:
    """With each way of reading, the first while PyTorch is being imported."""
    images = np.random.default_rng(0).integers(0, 256, (40, 300, 300), dtype=np.uint8)
    for i, image in enumerate(images):
        path = folder / "photos" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    with tarfile.open(folder / "photos.tar", "w") as archive:
        archive.add(folder / "photos", ".")
    code = (
        "import sys, threading, tenfold\n"
        "train = tenfold.train\n"
        "assert 'torch' not in sys.modules\n"
        "def work():\n"
        "    threading.main_thread().join()\n"
        "    for data in ('photos', 'photos.tar', 'set.npz'):\n"
        "        train(data, model='softmax', epochs=1, batch_size=8, quiet=True,"
        " image_size=(8, 8), channels=1)\n"
        "        print('trained on', data)\n"
        "threading.Thread(target=work).start()\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "XDG_CACHE_HOME": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    trained = ["trained on photos", "trained on photos.tar", "trained on set.npz"]
    assert answer.stdout.splitlines() == trained, answer.stderr


def test_it_takes_an_object_too(folder: Path) -> None:
    code = (
        "import sys, json\n"
        "import tenfold\n"
        "splits = tenfold.data.load_splits('set.npz').splits\n"
        "assert 'torch' not in sys.modules\n"
        "run = tenfold.train(splits, model='mlp', epochs=1, batch_size=8, out='run', quiet=True)\n"
        "print(json.dumps(run.facts.data.can_be_reopened))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, check=True, capture_output=True, text=True
    )
    assert json.loads(answer.stdout) is False
