"""Compare all ways to compute a model's answers on all test images of its data.

    TENFOLD_DATA=... python tests/soak/agreement.py
    TENFOLD_DATA=... python tests/soak/agreement.py --recipe resnet-small --data fashion-mnist
    TENFOLD_DATA=... python tests/soak/agreement.py --run runs/mnist-lenet-001

Trains recipes for one epoch each, by default LeNet on MNIST, or takes a run, and exports it. Then
the classifier that `tenfold predict` uses, with kernels and with PyTorch, ONNX Runtime, the program
of `torch.export` and `model.py` each compute all test images. Prints for each way how many classes
are those of the first way, and the largest difference of a logit; and whether the evaluation counts
the same right and wrong answers. The exit code is 0 if all classes agree and no logit differs by
more than 0.0001.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import tenfold
from tenfold.data.dataset import ImageDataset
from tenfold.deployment import Classifier
from tenfold.deployment.export.checking import Compute
from tenfold.deployment.export.onnx import OnnxModel
from tenfold.deployment.export.state_dict import PlainModel
from tenfold.deployment.export.torch_export import ExportedProgram

LARGEST_DIFFERENCE = 1e-4
BATCH = 250

Way = Callable[[Path, ImageDataset], np.ndarray]
"""From a run's folder and test images to logits; or, of a way that gives no more, to classes."""


def by_classifier(run: Path, test: ImageDataset) -> np.ndarray:
    return tenfold.load(run).logits(test)


def by_pytorch(run: Path, test: ImageDataset) -> np.ndarray:
    return Classifier(tenfold.load(run).bundle, use_kernels=False).logits(test)


def by_prediction(run: Path, test: ImageDataset) -> np.ndarray:
    model = tenfold.load(run)
    return np.array([model.classes.index(name) for name in model.predict(test)])


def by_onnx_runtime(run: Path, test: ImageDataset) -> np.ndarray:
    return in_batches(OnnxModel(exported(run, "onnx").read_bytes()), test)


def by_torch_export(run: Path, test: ImageDataset) -> np.ndarray:
    return in_batches(ExportedProgram(exported(run, "torch-export").read_bytes()), test)


def by_model_py(run: Path, test: ImageDataset) -> np.ndarray:
    weights = exported(run, "state-dict")
    source = weights.with_suffix(".py").read_text("utf-8")
    return in_batches(PlainModel(source, weights.read_bytes()), test)


WAYS: dict[str, Way] = {
    "classifier": by_classifier,
    "predict": by_prediction,
    "PyTorch": by_pytorch,
    "ONNX Runtime": by_onnx_runtime,
    "torch.export": by_torch_export,
    "model.py": by_model_py,
}
"""The first one is what the others are compared with."""


def exported(run: Path, to: str) -> Path:
    found = tenfold.export(run, to)
    print(f"export of {to}: {found.images} images, {found.largest_difference:.1e}", flush=True)
    return found.path


def in_batches(compute: Compute, test: ImageDataset) -> np.ndarray:
    images = test.image_array
    return np.concatenate([compute(images[i : i + BATCH])[0] for i in range(0, len(test), BATCH)])


def trained(recipe: str, data: str | None, folder: Path) -> Path:
    return tenfold.train(data, recipe=recipe, out=folder / recipe, report=False, epochs=1).folder


def agrees(name: str, found: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether one way agrees with the first; prints how well."""
    classes = found if found.ndim == 1 else found.argmax(axis=1)
    same = int((classes == wanted.argmax(axis=1)).sum())
    said, fits = "", True
    if found.ndim == 2:
        difference = float(np.abs(found - wanted).max())
        said = f", largest difference of a logit {difference:.1e}"
        fits = difference <= LARGEST_DIFFERENCE
    print(f"{name}: {same:,} of {len(wanted):,} classes agree{said}", flush=True)
    return same == len(wanted) and fits


def all_agree(run: Path) -> bool:
    test = tenfold.data.load_splits(tenfold.open_run(run).recipe.data).splits.test
    assert test is not None
    wanted = by_classifier(run, test)
    print(
        f"{run.name}: {len(test):,} images, logits from {wanted.min():.1f} to {wanted.max():.1f}",
        flush=True,
    )
    fits = [agrees(name, way(run, test), wanted) for name, way in WAYS.items()]
    confusion = tenfold.evaluation.confusion_matrix(
        test.label_array, wanted.argmax(axis=1), len(test.classes)
    )
    same = np.array_equal(tenfold.evaluate(run).confusion, confusion)
    print(f"evaluate: {'the same' if same else 'OTHER'} right and wrong answers", flush=True)
    return same and all(fits)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", nargs="+", default=["lenet-mnist"])
    parser.add_argument("--data", help="instead of the recipes' own")
    parser.add_argument("--run", type=Path, help="a run instead of new ones")
    arguments = parser.parse_args()
    if arguments.run:
        return 0 if all_agree(arguments.run) else 1
    with tempfile.TemporaryDirectory() as folder:
        fits = [
            all_agree(trained(recipe, arguments.data, Path(folder))) for recipe in arguments.recipe
        ]
    return 0 if all(fits) else 1


if __name__ == "__main__":
    sys.exit(main())
