"""What a command imports: PyTorch only to train, its compiler never."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines import ENGINES
from tenfold.cli import SPIN_COUNT
from tenfold.models import MODELS

AT_THE_END = """
import atexit, sys
def report():
    for name in ("torch._dynamo", "torch._inductor", "sympy", "matplotlib", "sklearn", "requests"):
        if name in sys.modules:
            print("imported:", name)
atexit.register(report)
from tenfold.cli import main
main()
"""

OPTIONS = {
    "sgd": "--optimizer sgd --set momentum=0.9 --set nesterov=true --set clip_norm=1",
    "adamw": "--optimizer adamw --set average_decay=0.9 --set augment.flip=true",
}


def answer(folder: Path, line: str) -> str:
    """What a command prints, and what it has imported too much."""
    code = f"import sys\nsys.argv = {['tenfold', *line.split()]!r}\n{AT_THE_END}"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return found.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(40) % 2)
    return tmp_path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_without_the_compiler(model: str, engine: str, folder: Path) -> None:
    small = {"convpool": " --set model_args.channels=[4] --set model_args.kernels=[3]"}
    line = f"train set.npz --model {model} --epochs 1 --batch-size 8 --engine {engine} --out run"
    assert "imported" not in answer(folder, line + small.get(model, ""))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_training_and_resuming_do_without_it_too(options: str, engine: str, folder: Path) -> None:
    line = f"train set.npz --model mlp --epochs 1 --batch-size 8 --engine {engine} --out run"
    assert "imported" not in answer(folder, f"{line} {options}")
    assert "imported" not in answer(folder, "resume run --epochs 2")


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, SPIN_COUNT),
        ({"GOMP_SPINCOUNT": "7"}, "7"),
        ({"OMP_WAIT_POLICY": "passive"}, None),
    ],
    ids=str,
)
def test_threads_wait_briefly_unless_told_otherwise(own: dict[str, str], told: str | None) -> None:
    code = (
        "import atexit, os, sys\n"
        "atexit.register(lambda: print(os.environ.get('GOMP_SPINCOUNT'), file=sys.stderr))\n"
        "sys.argv = ['tenfold', 'recipes']\n"
        "from tenfold.cli import main\n"
        "main()\n"
    )
    inherited = {key: value for key, value in os.environ.items() if "OMP_" not in key}
    found = subprocess.run(
        [sys.executable, "-c", code], env=inherited | own, capture_output=True, text=True
    )
    assert (found.returncode, found.stderr) == (0, f"{told}\n")
