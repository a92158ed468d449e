"""Make the runs and the digests that later versions must still read and reproduce.

    python tests/golden/make.py

The files in this folder were made by tenfold 0.1.0, when its file formats were version 1, on the
processor that `bits.json` names; `perceptron` when checkpoints were version 2; `cropped` and
`cropped-model.safetensors`, its final model, when they were version 3, `run.json` version 2 and
bundles version 2, and so was `deep`, on `deep-pictures`, 16-bit gray of 12 bits; `corrected`, on
another processor, when they were version 5, 4 and 3. Do not make them again: their purpose is to
test old files.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import tenfold
from tenfold.data import ImageDataset, Splits
from tenfold.training import Watcher

HERE = Path(__file__).parent

NARROW = {
    "softmax-fashion": {},
    "softmax-scratch": {"recipe": "softmax-fashion", "model": "softmax-scratch"},
    "mlp-fashion": {"model_args": {"hidden": [32, 16]}},
    "mlp-dropout": {"recipe": "mlp-fashion", "model_args": {"hidden": [32], "dropout": 0.5}},
    "lenet-mnist": {},
    "cnn-cifar10": {},
    "convpool-mnist": {
        "model_args": {"channels": [2, 4], "kernels": [5, 3], "hidden": [16, 8], "dropout": 0.3}
    },
    "default": {
        "recipe": str(HERE / "default-0.1.toml"),
        "model_args": {"channels": [4, 8], "kernels": [3, 3], "hidden": [16]},
    },
    "resnet-small": {"model_args": {"widths": [4, 8], "blocks": 1, "dropout": 0.1}},
}
"""Recipes by name, made small."""

SHAPES = {"cnn-cifar10": (3, 32, 32), "resnet-small": (3, 16, 16)}
FIGURES = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc")


BY_HAND = {
    "mlp": {"hidden": (4, 3)},
    "convpool": {"channels": (2, 2), "kernels": (3, 3), "hidden": (4, 3), "dropout": 0.0},
}
"""Models whose weights have been renamed since, and their arguments."""


class StopAt(Watcher):
    """Asks the run to stop after some step, as a terminating signal does."""

    every_batches = 1

    def __init__(self, step: int) -> None:
        self.step = step

    def advanced(self, standing: object) -> None:
        if standing.step >= self.step:
            os.kill(os.getpid(), signal.SIGTERM)
            self.step = 2**62


def made_up_splits(name: str) -> Splits:
    """300 pictures in which each class is brighter in a different place."""
    channels, height, width = SHAPES.get(name, (1, 28, 28))

    def part(split: str, n: int, seed: int) -> ImageDataset:
        generator = np.random.RandomState(seed)
        labels = np.arange(n) % 10
        images = generator.randint(0, 128, (n, channels, height, width)).astype(np.uint8)
        for index, label in enumerate(labels):
            images[index, :, label : label + 6, label : label + 6] += 100
        return ImageDataset(
            torch.from_numpy(images),
            torch.from_numpy(labels).long(),
            tuple("abcdefghij"),
            split=split,
            source="made up",
        )

    return Splits(part("train", 300, 1), None, part("test", 100, 2))


def bits_of(run: tenfold.Run) -> dict[str, object]:
    """A run's results: a digest of the weights, and the full figures."""
    return {
        "weights": digest(tenfold.load(run.folder)),
        "figures": {key: run.figures.get(key) for key in FIGURES},
        "history": [[m.train_loss, m.train_acc, m.val_loss, m.val_acc] for m in run.history],
    }


def digest(classifier: tenfold.Classifier) -> str:
    """SHA-256 of the weights in the order of their names, by the names' last parts."""
    found = hashlib.sha256()
    weights = classifier.bundle.weights
    for name in sorted(weights):
        found.update(weights[name].data)
    return found.hexdigest()


def train_narrow(name: str, out: Path, threads: int) -> tenfold.Run:
    """One of `NARROW`, for two epochs."""
    changes = {"recipe": name, "epochs": 2, "batch_size": 32, "val": 0.1, **NARROW[name]}
    resources = {"threads": threads, "device": "cpu", "engine": "torch"}
    return tenfold.train(made_up_splits(name), out=out, quiet=True, **resources, **changes)


def processor() -> str:
    """The processor and its instruction set, which the bits depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = [line.partition(":")[2].strip() for line in lines]
    keys = [line.partition(":")[0].strip() for line in lines]
    wanted = ("vendor_id", "cpu family", "model", "stepping")
    known = [facts[keys.index(key)] for key in wanted if key in keys]
    return " ".join([platform.machine(), *known, torch.backends.cpu.get_cpu_capability()])


def make_pictures() -> None:
    """36 pictures of 16 x 12 pixels in three class folders."""
    generator = np.random.RandomState(0)
    for label, name in enumerate(("apple", "pear", "plum")):
        folder = HERE / "pictures" / name
        folder.mkdir(parents=True)
        for index in range(12):
            pixels = generator.randint(0, 90, (12, 16, 3)).astype(np.uint8)
            pixels[2 + index % 4 :: 3, 4 * label : 4 * label + 6, label] += 150
            Image.fromarray(pixels).save(folder / f"{index:02d}.png")


def bits_after_resume(name: str, folder: Path, data: Path | None = None) -> dict[str, object]:
    """The results of an interrupted run, in a separate process: threads keep state."""
    copy = shutil.copytree(HERE / name, folder / name)
    where = "" if data is None else f", data={str(data)!r}"
    code = (
        f"import sys, json; sys.path.insert(0, {str(HERE)!r}); import make, tenfold; "
        f"print(json.dumps(make.bits_of(tenfold.resume({str(copy)!r}, quiet=True{where}))))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    return json.loads(answer.stdout)


def by_hand(name: str) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A new network with preprocessing, and its optimizer."""
    network = tenfold.models.build(name, (1, 8, 8), 3, **BY_HAND[name])
    model = torch.nn.Sequential(tenfold.models.Preprocessing(), network)
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def images_by_hand() -> torch.Tensor:
    """Four images of noise."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8, generator=generator)


def main() -> None:
    for old in ("pictures", "finished", "interrupted", "perceptron", "folder", "corrected"):
        shutil.rmtree(HERE / old, ignore_errors=True)
    make_pictures()
    tenfold.train(
        recipe="digits-quick",
        out=HERE / "finished",
        epochs=3,
        threads=1,
        device="cpu",
        engine="torch",
        quiet=True,
        model_args={"channels": [4, 8], "kernels": [3, 3], "hidden": [16]},
    )
    everything = HERE.parent / "runs" / "everything.toml"
    try:
        tenfold.train(
            recipe=everything,
            out=HERE / "interrupted",
            threads=1,
            device="cpu",
            engine="torch",
            quiet=True,
            watcher=StopAt(47),
        )
    except tenfold.TenfoldError as error:
        print(error)
    try:
        tenfold.train(
            recipe="digits-quick",
            out=HERE / "perceptron",
            epochs=3,
            threads=1,
            device="cpu",
            engine="torch",
            quiet=True,
            model="mlp",
            model_args={"hidden": [16, 8]},
            average_decay=0.9,
            watcher=StopAt(31),
        )
    except tenfold.TenfoldError as error:
        print(error)
    tenfold.train(
        HERE / "pictures",
        recipe="convpool-mnist",
        out=HERE / "folder",
        epochs=4,
        threads=1,
        device="cpu",
        engine="torch",
        quiet=True,
        batch_size=8,
        lr=1e-3,
        model_args={"channels": [2, 4], "kernels": [3, 3], "hidden": [8]},
    )
    try:
        tenfold.train(
            HERE / "pictures",
            recipe="convpool-mnist",
            out=HERE / "cropped",
            epochs=8,
            threads=1,
            device="cpu",
            engine="torch",
            quiet=True,
            batch_size=8,
            lr=1e-2,
            image_size=[12, 12],
            normalize=True,
            augment={"flip": True, "crop_padding": 1, "cutout": 3},
            model_args={"channels": [2, 4], "kernels": [3, 3], "hidden": [8], "dropout": 0.1},
            watcher=StopAt(13),
        )
    except tenfold.TenfoldError as error:
        print(error)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "corrections.csv"
        table.write_text("image,action,new_label\napple/03.png,delete,\npear/05.png,relabel,plum\n")
        try:
            tenfold.train(
                HERE / "pictures",
                corrections=table,
                out=HERE / "corrected",
                epochs=6,
                threads=1,
                device="cpu",
                engine="torch",
                quiet=True,
                batch_size=8,
                val=0.2,
                model="resnet-small",
                model_args={"widths": [4, 8], "blocks": 1},
                image_size=[12, 16],
                watcher=StopAt(13),
            )
        except tenfold.TenfoldError as error:
            print(error)
    generator = np.random.RandomState(0)
    for label, name in enumerate(("dark", "light")):
        (HERE / "deep-pictures" / name).mkdir(parents=True, exist_ok=True)
        for number in range(8):
            pixels = generator.randint(0, 2000, (8, 8)) + 2000 * label
            path = HERE / "deep-pictures" / name / f"{number}.png"
            Image.fromarray(pixels.astype(np.uint16)).save(path)
    tenfold.train(
        HERE / "deep-pictures",
        recipe="softmax-fashion",
        out=HERE / "deep",
        epochs=2,
        threads=1,
        device="cpu",
        engine="torch",
        quiet=True,
        batch_size=4,
        val=0.25,
        checkpoint_every=1,
    )
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).to(torch.bfloat16)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    network(torch.ones(2, 4, dtype=torch.bfloat16)).float().sum().backward()
    optimizer.step()
    tenfold.training.save_checkpoint(HERE / "parts.safetensors", network, optimizer, epoch=3)
    for name in BY_HAND:
        torch.manual_seed(1)
        model, optimizer = by_hand(name)
        images, labels = images_by_hand(), torch.tensor([0, 1, 2, 0])
        tenfold.training.train_epoch(model, [(images, labels)], optimizer)
        tenfold.training.save_checkpoint(
            HERE / f"parts-{name}.safetensors",
            model,
            optimizer,
            epoch=1,
            logits=tenfold.evaluation.predict_logits(model, images).tolist(),
        )
    bits: dict[str, object] = {"processor": processor(), "torch": torch.__version__}
    with tempfile.TemporaryDirectory() as folder:
        for threads in (1, 2):
            for name in NARROW:
                run = train_narrow(name, Path(folder) / f"{name}-{threads}", threads)
                bits[f"{name}, threads {threads}"] = bits_of(run)
        for name in ("interrupted", "perceptron"):
            bits[f"{name}, resumed"] = bits_after_resume(name, Path(folder))
        resumed = bits_after_resume("corrected", Path(folder), HERE / "pictures")
        bits["corrected, resumed"] = {"processor": processor(), **resumed}
    pictures = sorted((HERE / "pictures").rglob("*.png"))[::5]
    probabilities = tenfold.load(HERE / "folder").predict_proba(pictures)
    bits["folder, probabilities"] = probabilities.tolist()
    for name in ("finished", "folder"):
        bits[f"{name}, as it ended"] = bits_of(tenfold.open_run(HERE / name))
    (HERE / "bits.json").write_text(json.dumps(bits, indent=1) + "\n")


if __name__ == "__main__":
    main()
