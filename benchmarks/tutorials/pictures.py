"""Data as the tutorials read it: every image is opened with Pillow and made a tensor, one by one.

They do so through torchvision; this does the same without it, since it is not always installed.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images and labels; an item is a float tensor, channels x height x width, 0..1, and a label.

    Args:
        images: uint8, n x height x width or n x height x width x channels.
        labels: n whole numbers.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return to_tensor(Image.fromarray(self.images[index])), int(self.labels[index])


def to_tensor(picture: Image.Image) -> Tensor:
    """As torchvision's `ToTensor` does it."""
    pixels = torch.from_numpy(np.array(picture, np.uint8, copy=True))
    pixels = pixels.view(picture.size[1], picture.size[0], len(picture.getbands()))
    return pixels.permute(2, 0, 1).contiguous().to(torch.get_default_dtype()).div(255)


def read(data: Path, train: bool) -> Pictures:
    """One split of a folder of IDX files, as of MNIST, or of an `.npz` file."""
    if data.suffix == ".npz":
        split = "train" if train else "test"
        with np.load(data) as arrays:
            images = arrays[f"{split}_images"].transpose(0, 2, 3, 1)
            return Pictures(images, arrays[f"{split}_labels"])
    name = "train" if train else "t10k"
    images = _idx(data / f"{name}-images-idx3-ubyte", 16).reshape(-1, 28, 28)
    return Pictures(images, _idx(data / f"{name}-labels-idx1-ubyte", 8))


def _idx(path: Path, header: int) -> np.ndarray:
    with path.open("rb") if path.exists() else gzip.open(f"{path}.gz") as file:
        return np.frombuffer(file.read(), np.uint8, offset=header)


def options(description: str | None, epochs: int) -> argparse.Namespace:
    """What the command line says; sets PyTorch's threads."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=epochs)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--save", type=Path, required=True, help="where to put the weights")
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    return chosen
