"""The file formats of the known data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tenfold.data.files.cifar import read_cifar_binary, read_cifar_python
from tenfold.data.files.idx import count_idx_classes, read_idx
from tenfold.types import LabeledArrays


@dataclass(frozen=True)
class FileFormat:
    """How to read the files of one split.

    Attributes:
        read: takes the files in catalog order, and the class names.
        count_classes: the number of classes in those files, for when the names are not known.
    """

    read: Callable[[Sequence[Path], Sequence[str]], LabeledArrays]
    count_classes: Callable[[Sequence[Path]], int]


FORMATS: dict[str, FileFormat] = {
    "idx": FileFormat(read_idx, count_idx_classes),
    "cifar10-python": FileFormat(partial(read_cifar_python, label_key="labels"), lambda _: 10),
    "cifar10-binary": FileFormat(partial(read_cifar_binary, label_bytes=1), lambda _: 10),
    "cifar100-python": FileFormat(
        partial(read_cifar_python, label_key="fine_labels"), lambda _: 100
    ),
    "cifar100-binary": FileFormat(partial(read_cifar_binary, label_bytes=2), lambda _: 100),
}
