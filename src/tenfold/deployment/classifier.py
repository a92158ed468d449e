"""A trained classifier for images of any size and mode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from tenfold.data.dataset import ImageDataset
from tenfold.deployment.bundle import Bundle, read_bundle
from tenfold.deployment.inputs import ImageInputs, raw_pixels
from tenfold.errors import DataError, FileRefusedError, UsageError, listing, printable, quoted
from tenfold.evaluation.compiled import predictor
from tenfold.evaluation.forks import require_threads, use_threads
from tenfold.evaluation.passes import report_of
from tenfold.evaluation.report import Report
from tenfold.tensors import Logits
from tenfold.types import in_memory_order

_BATCH_SIZE = 1024
"""Default number of images per batch in prediction."""


@dataclass(frozen=True)
class Guess:
    """A class that an image may belong to.

    Attributes:
        label: the class's index.
        name: the class's name.
        probability: the model's probability for it, 0..1.
    """

    label: int
    name: str
    probability: float


class Classifier:
    """Predicts the classes of images, converted in the same way as the training images.

    Images can be one file or opened image; a sequence of these; raw pixels as a uint8 tensor or
    array of shape (n, channels, height, width), or (n, height, width) if gray, in the model's
    size; or an `ImageDataset`.

    Args:
        bundle: the model and everything needed to use it.
        device: where to predict.
        use_kernels: use the compiled kernels if they can compute the model; otherwise PyTorch.
        flush_denormals: whether PyTorch flushes them to zero, as it does on a CPU in a run.

    Attributes:
        bundle: the model and everything needed to use it.
        module: the same model as a PyTorch module; its weights may be changed.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str | torch.device = "cpu",
        *,
        use_kernels: bool = True,
        flush_denormals: bool = False,
    ) -> None:
        require_threads(torch.get_num_threads())
        self.bundle = bundle
        self.module = bundle.module().to(device)
        self._predict = predictor(
            self.module,
            bundle.input_shape,
            use_kernels=use_kernels,
            flush_denormals=flush_denormals,
        )

    @classmethod
    def from_file(cls, path: Path, device: str | torch.device = "cpu") -> Classifier:
        """The classifier in a bundle.

        Raises:
            FileRefusedError: the file is not a usable bundle.
        """
        return cls(read_bundle(path), device)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""
        return self.bundle.classes

    def predict(self, images: ImageInputs) -> list[str]:
        """The name of the most probable class for each image.

        Raises:
            DataError: an image cannot be read, or does not have the model's shape; all are named.
            FileRefusedError: the model's weights are so large that its outputs are not finite.
        """
        return [self.classes[label] for label in self._logits(images).argmax(1).tolist()]

    def predict_proba(self, images: ImageInputs) -> Float[np.ndarray, "n classes"]:
        """The probability of each class for each image; every row sums to 1.

        Raises:
            DataError: an image cannot be read, or does not have the model's shape; all are named.
            FileRefusedError: the model's weights are so large that its outputs are not finite.
        """
        probabilities: np.ndarray = self._logits(images).softmax(1).cpu().numpy()
        return probabilities

    def top(self, images: ImageInputs, k: int = 3) -> list[tuple[Guess, ...]]:
        """The k most probable classes for each image, most probable first.

        Raises:
            UsageError: k is less than 1.
            DataError: an image cannot be read, or does not have the model's shape; all are named.
            FileRefusedError: the model's weights are so large that its outputs are not finite.
        """
        if k < 1:
            raise UsageError(f"top: k is {k}, wanted at least 1")
        logits = self._logits(images)
        # By logits: probabilities of logits that differ in the last bit may round to one value.
        best = logits.argsort(dim=1, descending=True, stable=True)[:, :k]
        chances = logits.softmax(1).gather(1, best)
        return [
            tuple(
                Guess(label, self.classes[label], chance)
                for label, chance in zip(labels, row, strict=True)
            )
            for labels, row in zip(best.tolist(), chances.tolist(), strict=True)
        ]

    def evaluate(self, dataset: ImageDataset, *, batch_size: int = _BATCH_SIZE) -> Report:
        """The figures on a data set with the model's classes and image shape.

        Raises:
            DataError: its classes or image shape differ from the model's.
            FileRefusedError: the model's weights are so large that the loss is not finite.
        """
        if dataset.classes != self.classes:
            raise DataError(
                f"{dataset.source}: its classes are {quoted(dataset.classes)}, "
                f"the model's are {quoted(self.classes)}"
            )
        if dataset.image_shape != self.bundle.input_shape:
            raise DataError(
                f"{dataset.source}: its images are {dataset.image_shape}, "
                f"the model's are {self.bundle.input_shape}"
            )
        report = report_of(self._predict(dataset.images, batch_size), dataset)
        if not math.isfinite(report.loss):
            raise _not_finite("evaluate")
        return report

    def __repr__(self) -> str:
        return (
            f"Classifier({self.bundle.header.model}, {self.bundle.input_shape}, "
            f"classes={printable(listing(self.classes, 5))})"
        )

    def _logits(self, images: ImageInputs) -> Logits:
        use_threads(torch.get_num_threads())
        pixels = in_memory_order(raw_pixels(images, self.bundle.input_shape))
        logits = self._predict(torch.from_numpy(pixels), _BATCH_SIZE)
        if not logits.isfinite().all():
            raise _not_finite("predict")
        return logits


def _not_finite(place: str) -> FileRefusedError:
    return FileRefusedError(
        f"{place}: the model's weights are so large that its outputs are not finite",
        remedy="retrain it with a lower learning rate",
    )
