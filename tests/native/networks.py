"""Small networks that together use every supported layer with each of its options."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tenfold.models import build
from tenfold.models.softmax_scratch import SoftmaxScratch
from tenfold.types import ImageShape

CLASSES = 5


class Case(NamedTuple):
    """A network and the shape of its images."""

    make: Callable[[], nn.Module]
    shape: ImageShape


def ending(features: int) -> list[nn.Module]:
    return [nn.Flatten(), nn.Linear(features, CLASSES)]


def row(*layers: nn.Module, features: int) -> Callable[[], nn.Module]:
    """A sequence that ends in logits."""
    return lambda: nn.Sequential(*layers, *ending(features))


def conv(
    inputs: int = 3, outputs: int = 4, kernel: object = 3, size: int = 64, **options: object
) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(inputs, outputs, kernel, **options), *ending(size))


class Residual(nn.Module):
    """A residual connection, and another from the images through a layer."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.first = nn.Conv2d(6, 6, 3, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(6) if norm else nn.Identity()
        self.shortcut = nn.Conv2d(3, 6, 1)
        self.end = nn.Linear(6, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        stem = torch.relu(self.stem(images))
        inner = torch.relu(self.norm(self.first(stem)) + stem)
        return self.end((inner + self.shortcut(images)).mean(dim=(2, 3)))


class Twice(nn.Module):
    """An addition reads one output twice, and another layer reads it too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)
        self.end = nn.Linear(4 * 36, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        first = self.first(images)
        return self.end((first + first + self.second(first)).flatten(1))


class OnImages(nn.Module):
    """Layers without weights and additions that read the images directly."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.end = nn.Linear(3 * 16, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        both = images + self.conv(torch.relu(images))
        return self.end(nn.functional.max_pool2d(self.norm(both) + images, 2).flatten(1))


class TransposedTwice(nn.Module):
    """Weights stored as inputs x outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.randn(3 * 64, 19) / 14)
        self.b = nn.Parameter(torch.randn(19) / 4)
        self.V = nn.Parameter(torch.randn(19, CLASSES) / 4)
        self.c = nn.Parameter(torch.randn(CLASSES) / 4)

    def forward(self, images: Tensor) -> Tensor:
        hidden = torch.relu(images.flatten(1) @ self.W + self.b)
        return hidden @ self.V + self.c


def normed(**options: object) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, **options), nn.ReLU(), *ending(6 * 36)
    )


def pooled(pool: nn.Module, size: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), pool, nn.ReLU(), *ending(5 * size))


class PooledOrNot(nn.Module):
    """A convolution that feeds a max-pool, with another layer that reads its input."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 14, 3), nn.Conv2d(14, 11, 3, padding=1)
        self.end = nn.Linear(11 * 9, CLASSES)
        self.other = nn.Conv2d(14, 11, 1, stride=2)

    def forward(self, images: Tensor) -> Tensor:
        stem = torch.relu(self.stem(images))
        wide = nn.functional.max_pool2d(torch.relu(self.wide(stem)), 2)
        return self.end((wide + self.other(stem)).flatten(1))


def before_pool(
    inputs: int, kernel: object, pool: nn.Module, size: int, **options: object
) -> Callable[[], nn.Module]:
    """Two convolutions; only a max-pool reads the second."""
    return lambda: nn.Sequential(
        *(nn.Conv2d(3, inputs, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(inputs, 11, kernel, **options), nn.ReLU(), pool),
        *ending(11 * size),
    )


COLOR, GRAY = ImageShape(3, 8, 8), ImageShape(1, 8, 8)
ODD = ImageShape(2, 7, 10)

LAYERS: dict[str, Case] = {
    "convolution": Case(conv(size=4 * 36), COLOR),
    "convolution of one channel": Case(conv(1, 3, size=3 * 36), GRAY),
    "convolution to one channel": Case(conv(3, 1, size=36), COLOR),
    "convolution of many channels": Case(
        lambda: nn.Sequential(
            nn.Conv2d(3, 21, 3), nn.ReLU(), nn.Conv2d(21, 35, 3), *ending(35 * 16)
        ),
        COLOR,
    ),
    "convolution without bias": Case(conv(size=4 * 36, bias=False), COLOR),
    "convolution of one pixel": Case(conv(kernel=1, size=4 * 64), COLOR),
    "convolution with padding": Case(conv(kernel=5, padding=2, size=4 * 64), COLOR),
    "convolution with too much padding": Case(conv(kernel=2, padding=3, size=4 * 169), COLOR),
    "convolution with strides": Case(conv(stride=2, size=4 * 9), COLOR),
    "convolution with strides and padding": Case(conv(stride=2, padding=1, size=4 * 16), COLOR),
    "convolution that skips pixels": Case(conv(kernel=2, stride=3, size=4 * 9), COLOR),
    "rectangular convolution": Case(
        conv(2, 4, (3, 2), stride=(1, 3), padding=(0, 2), size=4 * 25), ODD
    ),
    "convolution of the whole image": Case(conv(kernel=8, outputs=7, size=7), COLOR),
    "convolution of the whole feature map": Case(
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 20, 3), *ending(20)
        ),
        COLOR,
    ),
    "convolutions with strides in a row": Case(
        lambda: nn.Sequential(
            nn.Conv2d(2, 6, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(6, 5, (2, 3), stride=(2, 1), padding=(1, 0)),
            *ending(5 * 9),
        ),
        ODD,
    ),
    "max pooling": Case(pooled(nn.MaxPool2d(2), 16), COLOR),
    "max pooling with overlap": Case(pooled(nn.MaxPool2d(3, stride=1), 36), COLOR),
    "max pooling with padding": Case(pooled(nn.MaxPool2d(3, stride=2, padding=1), 16), COLOR),
    "max pooling past the border": Case(pooled(nn.MaxPool2d(3), 4), COLOR),
    "rectangular max pooling": Case(
        pooled(nn.MaxPool2d((2, 3), stride=(2, 1), padding=(0, 1)), 32), COLOR
    ),
    "max pooling of few channels": Case(before_pool(7, 5, nn.MaxPool2d(2), 4), COLOR),
    "max pooling of many channels": Case(before_pool(37, 3, nn.MaxPool2d(2), 16, padding=1), COLOR),
    "max pooling of a wide kernel": Case(
        before_pool(16, (3, 13), nn.MaxPool2d(2), 9, padding=(0, 5)), COLOR
    ),
    "max pooling of a high kernel": Case(
        before_pool(11, (11, 1), nn.MaxPool2d(2), 8, padding=(3, 0)), COLOR
    ),
    "max pooling of strides": Case(
        before_pool(12, 4, nn.MaxPool2d(2), 8, stride=(1, 2), padding=2), COLOR
    ),
    "max pooling with overlap, of many channels": Case(
        before_pool(15, 3, nn.MaxPool2d(3, stride=2, padding=1), 9), COLOR
    ),
    "max pooling of a convolution of the images": Case(
        lambda: nn.Sequential(
            nn.Conv2d(12, 11, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *ending(11 * 16)
        ),
        ImageShape(12, 8, 8),
    ),
    "max pooling and another reader": Case(PooledOrNot, COLOR),
    "average pooling": Case(pooled(nn.AvgPool2d(2), 16), COLOR),
    "average pooling with overlap": Case(pooled(nn.AvgPool2d(3, stride=1), 36), COLOR),
    "average pooling with padding": Case(pooled(nn.AvgPool2d(3, stride=2, padding=1), 16), COLOR),
    "rectangular average pooling": Case(
        pooled(nn.AvgPool2d((2, 3), stride=(2, 1), padding=(0, 1)), 32), COLOR
    ),
    "pooling of the images": Case(row(nn.MaxPool2d(2), nn.AvgPool2d(2), features=12), COLOR),
    "global average pooling": Case(pooled(nn.AdaptiveAvgPool2d(1), 1), COLOR),
    "global average pooling of the images": Case(row(nn.AdaptiveAvgPool2d(1), features=3), COLOR),
    "ReLU before pooling": Case(
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *ending(5 * 16)
        ),
        COLOR,
    ),
    "ReLU before average pooling": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.AvgPool2d(2), *ending(5 * 9)),
        COLOR,
    ),
    "ReLU twice": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.ReLU(), *ending(5 * 36)), COLOR
    ),
    "ReLU after flatten": Case(
        lambda: nn.Sequential(
            nn.Conv2d(3, 5, 3), nn.Flatten(), nn.ReLU(), nn.Linear(5 * 36, CLASSES)
        ),
        COLOR,
    ),
    "ReLU of the images": Case(row(nn.ReLU(), features=192), COLOR),
    "ReLU of the logits": Case(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES), nn.ReLU()), GRAY
    ),
    "flatten twice": Case(
        lambda: nn.Sequential(nn.Flatten(), nn.Flatten(), nn.Linear(64, CLASSES)), GRAY
    ),
    "linear": Case(lambda: nn.Sequential(*ending(64)), GRAY),
    "linear without bias": Case(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES, bias=False)), GRAY
    ),
    "linear layers": Case(
        lambda: nn.Sequential(
            *(nn.Flatten(), nn.Linear(192, 70), nn.ReLU(), nn.Linear(70, 33), nn.ReLU()),
            nn.Linear(33, CLASSES),
        ),
        COLOR,
    ),
    "consecutive linear layers": Case(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(192, 17), nn.Linear(17, CLASSES)), COLOR
    ),
    "linear, transposed": Case(lambda: SoftmaxScratch(COLOR, CLASSES), COLOR),
    "linear, transposed, twice": Case(TransposedTwice, COLOR),
    "dropout of nothing": Case(
        lambda: nn.Sequential(nn.Dropout(0.0), nn.Conv2d(3, 4, 3), nn.Dropout(0.0), *ending(144)),
        COLOR,
    ),
    "batch norm": Case(normed(), COLOR),
    "batch norm with other settings": Case(normed(eps=0.02, momentum=0.3), COLOR),
    "batch norm without memory": Case(normed(momentum=1.0), COLOR),
    "batch norm that learns nothing": Case(normed(momentum=0.0), COLOR),
    "batch norm of the images": Case(lambda: nn.Sequential(nn.BatchNorm2d(3), *ending(192)), COLOR),
    "batch norm of one pixel": Case(
        lambda: nn.Sequential(nn.Conv2d(3, 6, 8), nn.BatchNorm2d(6), *ending(6)), COLOR
    ),
    "batch norm before pooling": Case(
        lambda: nn.Sequential(
            *(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.MaxPool2d(2)), *ending(54)
        ),
        COLOR,
    ),
    "addition": Case(lambda: Residual(norm=False), COLOR),
    "addition after batch norm": Case(lambda: Residual(norm=True), COLOR),
    "addition of one output to itself": Case(Twice, COLOR),
    "addition of the images": Case(OnImages, ImageShape(3, 8, 8)),
}

MODELS: dict[str, Case] = {
    "softmax": Case(lambda: build("softmax", (1, 14, 14), CLASSES), ImageShape(1, 14, 14)),
    "softmax-scratch": Case(
        lambda: build("softmax-scratch", (1, 14, 14), CLASSES), ImageShape(1, 14, 14)
    ),
    "mlp": Case(lambda: build("mlp", (1, 14, 14), CLASSES, hidden=(64, 48)), ImageShape(1, 14, 14)),
    "lenet": Case(lambda: build("lenet", (1, 28, 28), CLASSES), ImageShape(1, 28, 28)),
    "cifar-cnn": Case(lambda: build("cifar-cnn", (3, 20, 20), CLASSES), ImageShape(3, 20, 20)),
    "convpool": Case(
        lambda: build(
            "convpool",
            (1, 16, 16),
            CLASSES,
            channels=(8, 12),
            kernels=(11, 5),
            hidden=(40, 24),
            dropout=0.0,
        ),
        ImageShape(1, 16, 16),
    ),
    "resnet-small": Case(
        lambda: build("resnet-small", (3, 8, 8), CLASSES, widths=(6, 9), blocks=2),
        ImageShape(3, 8, 8),
    ),
    "resnet-small, pooled": Case(
        lambda: build("resnet-small", (1, 14, 11), CLASSES, widths=(6, 9), stem_pool=True),
        ImageShape(1, 14, 11),
    ),
}
"""Every model in the table; large ones are scaled down."""
