"""Images per second from tenfold's loader and from PyTorch's, over the same data.

    python benchmarks/loader.py [--data FOLDER] [--repetitions 5] [--threads 2]

`FOLDER` contains torchvision's `MNIST/raw`, gzipped or not; without it, and for CIFAR-10, random
pixels of the same size and layout are used. Each repetition is one shuffled epoch; the two loaders
take turns, and the first epoch of each is not counted. Prints medians and, in brackets, the slowest
and fastest epoch.
"""

from __future__ import annotations

import argparse
import gzip
import importlib
import os
import platform
import statistics
import tempfile
import time
import warnings
from pathlib import Path

import torch
from torch.utils.data import TensorDataset

from tenfold.data import DataLoader, ImageDataset

MNIST_IMAGES = 60_000
CIFAR_IMAGES = 50_000
CIFAR_MEAN, CIFAR_STD = (0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.261)
BATCH_SIZE = 64


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def import_torchvision():
    """Import torchvision, even with a CPU build of PyTorch that lacks two operators it needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("torchvision")
        except RuntimeError:
            import_torchvision.kept = library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            return importlib.import_module("torchvision")


def over(kind: type, images, labels, transform):
    """A torchvision data set over arrays, without the files that its constructor checks."""
    dataset = kind.__new__(kind)
    dataset.data, dataset.targets = images, labels
    dataset.transform, dataset.target_transform = transform, None
    return dataset


def mnist(torchvision, folder: Path | None):
    kind, transform = torchvision.datasets.MNIST, torchvision.transforms.ToTensor()
    if folder is None:
        images = torch.randint(0, 256, (MNIST_IMAGES, 28, 28), dtype=torch.uint8)
        return over(kind, images, torch.randint(0, 10, (MNIST_IMAGES,)), transform)
    with tempfile.TemporaryDirectory() as unpacked:
        raw = Path(unpacked) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for file in (folder / "MNIST" / "raw").iterdir():
            is_packed = file.suffix == ".gz"
            content = gzip.decompress(file.read_bytes()) if is_packed else file.read_bytes()
            (raw / file.name.removesuffix(".gz")).write_bytes(content)
        return kind(unpacked, transform=transform)


def cifar(torchvision, *steps):
    # Color planes in memory, viewed as rows of pixels: torchvision's layout.
    planes = torch.randint(0, 256, (CIFAR_IMAGES, 3, 32, 32), dtype=torch.uint8).numpy()
    labels = torch.randint(0, 10, (CIFAR_IMAGES,)).tolist()
    transform = torchvision.transforms.Compose([torchvision.transforms.ToTensor(), *steps])
    return over(torchvision.datasets.CIFAR10, planes.transpose(0, 2, 3, 1), labels, transform)


def datasets(folder: Path | None) -> dict[str, object]:
    torchvision = import_torchvision()
    vision = mnist(torchvision, folder)
    images, labels = vision.data.unsqueeze(1), vision.targets
    normalize = torchvision.transforms.Normalize(CIFAR_MEAN, CIFAR_STD)
    return {
        "ImageDataset": ImageDataset(images, labels, list("0123456789")),
        "TensorDataset": TensorDataset(images.float() / 255, labels),
        "MNIST + ToTensor": vision,
        "CIFAR10 + ToTensor": cifar(torchvision),
        "CIFAR10 + ToTensor + Normalize": cifar(torchvision, normalize),
    }


def seconds_of_an_epoch(loader) -> float:
    started = time.perf_counter()
    seen = sum(len(images) for images, _ in loader)
    elapsed = time.perf_counter() - started
    assert seen == len(loader.dataset)
    return elapsed


def show(name: str, rates: list[float]) -> float:
    median = statistics.median(rates)
    print(f"    {name:8} {median:12,.0f} images/s  [{min(rates):,.0f} .. {max(rates):,.0f}]")
    return median


def compare(name: str, dataset, workers: int, repetitions: int) -> None:
    print(f"{name}, {workers} workers")
    loaders = {
        "PyTorch": torch.utils.data.DataLoader(
            dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=workers
        ),
        "tenfold": DataLoader(dataset, batch_size=BATCH_SIZE, shuffle=True, num_workers=workers),
    }
    rates: dict[str, list[float]] = {kind: [] for kind in loaders}
    for repetition in range(repetitions + 1):
        for kind, loader in loaders.items():
            rate = len(dataset) / seconds_of_an_epoch(loader)
            if repetition > 0:
                rates[kind].append(rate)
    medians = [show(kind, of_kind) for kind, of_kind in rates.items()]
    print(f"    {'ratio':8} {medians[1] / medians[0]:12.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    named = os.environ.get("TENFOLD_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(named) if named else None,
        help="the folder of data sets; by default the one that TENFOLD_DATA names",
    )
    parser.add_argument("--repetitions", type=int, default=5, help="by default 5")
    parser.add_argument("--threads", type=int, default=2, help="by default 2")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"batches of {BATCH_SIZE}, shuffled, {arguments.repetitions} epochs each"
    )
    for name, dataset in datasets(arguments.data).items():
        for workers in (0, 2, 4):
            compare(name, dataset, workers, arguments.repetitions)


if __name__ == "__main__":
    main()
