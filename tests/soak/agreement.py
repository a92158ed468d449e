"""Compare all ways to compute a model's answers on all test images of its data.

    TENFOLD_DATA=... python tests/soak/agreement.py
    TENFOLD_DATA=... python tests/soak/agreement.py --recipe resnet-small --data fashion-mnist
    TENFOLD_DATA=... python tests/soak/agreement.py --run runs/mnist-lenet-001

Trains recipes for one epoch each, by default LeNet on MNIST, or takes a run, and exports it. Then
the classifier with kernels and with PyTorch, the command `tenfold predict` on PNG files, a server
that gets the same files, ONNX Runtime, the program of `torch.export` and `model.py` each answer all
test images. Prints for each way how many classes are those of the first way, and the largest
difference of a logit, or of a probability where there are no logits; and whether the evaluation
counts the same right and wrong answers. The exit code is 0 if all classes agree and nothing differs
by more than 0.0001.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import requests
from PIL import Image

import tenfold
from tenfold.data.dataset import ImageDataset
from tenfold.deployment import Classifier
from tenfold.deployment.export.checking import Compute
from tenfold.deployment.export.onnx import OnnxModel
from tenfold.deployment.export.state_dict import PlainModel
from tenfold.deployment.export.torch_export import ExportedProgram
from tenfold.evaluation.metrics import softmax

TENFOLD = (sys.executable, "-m", "tenfold")
LARGEST_DIFFERENCE = 1e-4
BATCH = 250

Way = Callable[[Path, ImageDataset], np.ndarray]
"""From a run's folder and test images to logits, or to probabilities."""


def by_classifier(run: Path, test: ImageDataset) -> np.ndarray:
    return tenfold.load(run).logits(test)


def by_pytorch(run: Path, test: ImageDataset) -> np.ndarray:
    return Classifier(tenfold.load(run).bundle, use_kernels=False).logits(test)


def by_prediction(run: Path, test: ImageDataset) -> np.ndarray:
    """By the command, on PNG files in a folder."""
    with tempfile.TemporaryDirectory() as folder:
        for index, data in enumerate(pngs(test)):
            (Path(folder) / f"{index:06}.png").write_bytes(data)
        command = [*TENFOLD, "predict", str(run), folder, "--top", str(len(test.classes))]
        answers = subprocess.run([*command, "--jsonl"], capture_output=True, check=True).stdout
    return probabilities([json.loads(line)["top"] for line in answers.splitlines()])


def by_server(run: Path, test: ImageDataset) -> np.ndarray:
    """By a server in a process of its own, one request for each PNG."""
    command = [*TENFOLD, "serve", str(run), "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = json.loads(server.stdout.readline())["address"]
        try:
            with requests.Session() as session:
                session.headers["Content-Type"] = "image/png"
                url = f"{address}predict?top={len(test.classes)}"
                answers = [session.post(url, data).json() for data in pngs(test)]
        finally:
            server.send_signal(signal.SIGTERM)
    return probabilities([answer["predictions"][0]["top"] for answer in answers])


def pngs(test: ImageDataset) -> Iterator[bytes]:
    for pixels in test.image_array:
        file, array = io.BytesIO(), pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
        Image.fromarray(array).save(file, "PNG")
        yield file.getvalue()


def probabilities(tops: list[list[dict[str, Any]]]) -> np.ndarray:
    found = np.empty((len(tops), len(tops[0])))
    for row, top in zip(found, tops, strict=True):
        for guess in top:
            row[guess["label"]] = guess["probability"]
    return found


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
    "tenfold predict": by_prediction,
    "tenfold serve": by_server,
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


def agrees(name: str, found: np.ndarray, wanted: np.ndarray, temperature: float) -> bool:
    """Whether one way agrees with the first; prints how well."""
    same = int((found.argmax(axis=1) == wanted.argmax(axis=1)).sum())
    gives_probabilities = WAYS[name] in (by_prediction, by_server)
    if gives_probabilities:
        wanted = softmax(wanted, temperature)
    what = "probability" if gives_probabilities else "logit"
    difference = float(np.abs(found - wanted).max())
    print(
        f"{name}: {same:,} of {len(wanted):,} classes agree, largest difference of a {what} "
        f"{difference:.1e}",
        flush=True,
    )
    return same == len(wanted) and difference <= LARGEST_DIFFERENCE


def all_agree(run: Path) -> bool:
    test = tenfold.data.load_splits(tenfold.open_run(run).recipe.data).splits.test
    assert test is not None
    wanted = by_classifier(run, test)
    print(
        f"{run.name}: {len(test):,} images, logits from {wanted.min():.1f} to {wanted.max():.1f}",
        flush=True,
    )
    temperature = tenfold.load(run).bundle.header.temperature
    fits = [agrees(name, way(run, test), wanted, temperature) for name, way in WAYS.items()]
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
