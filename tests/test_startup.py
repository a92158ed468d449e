"""What a command imports: PyTorch only to train, its compiler never."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines import ENGINES, needs_kernels
from tenfold.models import MODELS
from tenfold.native.waiting import SPIN_COUNT, SPIN_COUNT_IN_A_CROWD, spin_count
from thoroughness import IS_THOROUGH, some

PROGRAM = """
import atexit, sys
from tenfold.cli import main
def report():
    for name in ("torch._dynamo", "torch._inductor", "sympy", "matplotlib", "sklearn", "requests"):
        if name in sys.modules:
            print("imported:", name, "in", sys.argv)
atexit.register(report)
for line in LINES:
    sys.argv = ["tenfold", *line.split()]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise
    report()
"""

OPTIONS = {
    "sgd": "--optimizer sgd --set momentum=0.9 --set nesterov=true --set clip_norm=1",
    "adamw": "--optimizer adamw --set average_decay=0.9 --set augment.flip=true",
}


def answer(folder: Path, *lines: str) -> str:
    """What commands print in one process, and what they have imported too much."""
    code = f"LINES = {lines!r}\n{PROGRAM}"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True
    )
    return found.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "set.npz", images=images, labels=np.arange(20) % 2)
    return tmp_path


DEEPER = () if IS_THOROUGH else ("resnet34", "resnet50")
"""Left out: they differ from resnet18 only in their blocks."""


@pytest.mark.parametrize("engine", some(ENGINES))
def test_every_model_trains_without_the_compiler(engine: str, folder: Path) -> None:
    """One after the other: what is imported is printed with the models trained so far."""
    small = {"convpool": " --set model_args.channels=[4] --set model_args.kernels=[3]"}
    options = f"--epochs 1 --batch-size 8 --engine {engine} --out"
    models = [model for model in MODELS if model not in DEEPER]
    lines = [
        f"train set.npz --model {model} {options} {model}{small.get(model, '')}" for model in models
    ]
    assert "imported" not in answer(folder, *lines)
    assert len(list(folder.glob("*/model.safetensors"))) == len(models)


@needs_kernels
@pytest.mark.parametrize("options", some(OPTIONS.values()), ids=some(OPTIONS))
def test_training_and_resuming_do_without_it_too(options: str, folder: Path) -> None:
    line = f"train set.npz --model mlp --epochs 1 --batch-size 8 {options}"
    lines = [
        each
        for engine in ("torch", "native")
        for each in (f"{line} --engine {engine} --out {engine}", f"resume {engine} --epochs 2")
    ]
    assert "imported" not in answer(folder, *lines)
    assert len(list(folder.glob("*/model.safetensors"))) == 2


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, (SPIN_COUNT, SPIN_COUNT_IN_A_CROWD)),
        ({"GOMP_SPINCOUNT": "7"}, ("7",)),
        ({"OMP_WAIT_POLICY": "passive"}, (None,)),
    ],
    ids=str,
)
def test_threads_wait_briefly_unless_told_otherwise(
    own: dict[str, str], told: tuple[str | None, ...]
) -> None:
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
    assert found.returncode == 0
    assert found.stderr in [f"{each}\n" for each in told]


@pytest.mark.parametrize(
    ("load", "told"),
    [
        ("0.00 0.00 0.00 1/80 4711", SPIN_COUNT),
        ("9.00 9.00 9.00 9/80 4711", SPIN_COUNT),  # eight others on four cores
        ("0.00 0.00 0.00 10/80 4711", SPIN_COUNT_IN_A_CROWD),
        ("0.00 0.00 0.00", SPIN_COUNT),
        ("0.00 0.00 0.00 many/80 4711", SPIN_COUNT),
        (None, SPIN_COUNT),
    ],
)
def test_threads_wait_even_less_in_a_crowd(
    load: str | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    if load is not None:
        (tmp_path / "loadavg").write_text(load)
    assert spin_count(tmp_path / "loadavg") == told
