"""How many images a second the loader yields, beside PyTorch's own over the same data.

    python benchmarks/loader.py [--data FOLDER] [--repetitions 5] [--threads 2]

`FOLDER` holds torchvision's `MNIST/raw`, gzipped or not; without it, random pixels of the same
size stand in. Each repetition is one shuffled epoch, the two loaders taking turns; the first epoch
of each is not counted. Printed are medians and, in brackets, the fastest and slowest epoch.
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

from tenfold.data.dataset import ImageDataset
from tenfold.data.loading.loader import DataLoader

IMAGES = 60_000
BATCH_SIZE = 64


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def import_torchvision():
    """torchvision, also beside a CPU build of PyTorch, which lacks two operators it asks for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("torchvision")
        except RuntimeError:
            import_torchvision.kept = library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            return importlib.import_module("torchvision")


def mnist(folder: Path | None, unpacked: Path):
    torchvision = import_torchvision()
    kind = torchvision.datasets.MNIST
    transform = torchvision.transforms.ToTensor()
    if folder is None:
        dataset = kind.__new__(kind)
        dataset.transform, dataset.target_transform = transform, None
        dataset.data = torch.randint(0, 256, (IMAGES, 28, 28), dtype=torch.uint8)
        dataset.targets = torch.randint(0, 10, (IMAGES,))
        return dataset
    raw = unpacked / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for file in (folder / "MNIST" / "raw").iterdir():
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        (raw / file.name.removesuffix(".gz")).write_bytes(content)
    return kind(unpacked, transform=transform)


def datasets(folder: Path | None) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as unpacked:
        try:
            vision = mnist(folder, Path(unpacked))
        except ImportError as error:
            print(f"without torchvision: {error}")
            vision = None
    images = (
        torch.randint(0, 256, (IMAGES, 28, 28), dtype=torch.uint8)
        if vision is None
        else vision.data
    ).unsqueeze(1)
    labels = torch.randint(0, 10, (IMAGES,)) if vision is None else vision.targets
    choice = {
        "ImageDataset": ImageDataset(images, labels, list("0123456789")),
        "TensorDataset": TensorDataset(images.float() / 255, labels),
    }
    return choice if vision is None else choice | {"MNIST + ToTensor": vision}


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
    parser.add_argument("--data", type=Path, default=Path(named) if named else None)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    print(
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"batches of {BATCH_SIZE}, shuffled, {arguments.repetitions} epochs each"
    )
    for name, dataset in datasets(arguments.data).items():
        for workers in (0, 2):
            compare(name, dataset, workers, arguments.repetitions)


if __name__ == "__main__":
    main()
