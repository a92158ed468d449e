"""The product is what these names say; changing one is a decision."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib import metadata

import pytest

import tenfold

PUBLIC = {
    "tenfold": {
        "Classifier",
        "DataError",
        "FileRefusedError",
        "Recipe",
        "Report",
        "Run",
        "SeedRuns",
        "TenfoldError",
        "TrainingError",
        "UsageError",
        "__version__",
        "data",
        "check",
        "compare",
        "evaluate",
        "evaluation",
        "export",
        "load",
        "models",
        "notebook",
        "open_run",
        "open_seeds",
        "report",
        "resume",
        "resume_seeds",
        "train",
        "train_seeds",
        "training",
    },
    "tenfold.data": {
        "DataLoader",
        "FolderOptions",
        "ImageDataset",
        "Splits",
        "load_splits",
        "split_stratified",
    },
    "tenfold.evaluation": {
        "ClassFigures",
        "Report",
        "class_figures",
        "confusion_matrix",
        "evaluate",
        "evaluate_accuracy",
        "predict_logits",
        "wilson_interval",
    },
    "tenfold.models": {
        "MLP",
        "MODELS",
        "CifarCNN",
        "ConvPool",
        "ImageModel",
        "LayerSummary",
        "LeNet",
        "ModelSummary",
        "Preprocessing",
        "ResNetSmall",
        "Softmax",
        "SoftmaxScratch",
        "build",
        "model_arguments",
        "summarize",
    },
    "tenfold.notebook": {
        "LivePlot",
        "confusion_figure",
        "history_figure",
        "images_figure",
        "save_figure",
        "show_figure",
        "show_images",
    },
    "tenfold.training": {
        "OPTIMIZERS",
        "SCHEDULES",
        "EpochMetrics",
        "NativeEngine",
        "Standing",
        "TorchEngine",
        "TrainingState",
        "Watcher",
        "auto_engine",
        "build_optimizer",
        "build_schedule",
        "epoch_order",
        "load_checkpoint",
        "load_weights",
        "save_checkpoint",
        "train",
        "train_epoch",
        "train_step",
    },
}


@pytest.mark.parametrize("module", PUBLIC)
def test_the_public_names_are_these(module: str) -> None:
    found = importlib.import_module(module)
    assert set(found.__all__) == PUBLIC[module]
    for name in found.__all__:
        assert getattr(found, name) is not None


def test_dir_shows_the_public_names_and_unknown_ones_are_refused() -> None:
    assert set(dir(tenfold)) == PUBLIC["tenfold"]
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        tenfold.trian  # noqa: B018


def test_the_version_is_that_of_the_installed_package() -> None:
    assert tenfold.__version__ == metadata.version("tenfold")


def test_importing_tenfold_loads_nothing_heavy() -> None:
    code = (
        "import sys, tenfold; "
        "print([m for m in ('torch', 'torch._dynamo', 'torch._inductor', 'matplotlib', 'sklearn', "
        "'typer', 'rich', 'pydantic', 'numpy') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_using_the_functions_loads_no_compiler_and_no_plots() -> None:
    code = (
        "import sys, tenfold; tenfold.train; tenfold.load; tenfold.data.ImageDataset; "
        "tenfold.models.build('lenet', (1, 28, 28), 10); "
        "print([m for m in ('torch._dynamo', 'torch._inductor', 'matplotlib', 'sklearn', 'typer') "
        "if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"
