"""A trained classifier, ready for pictures of any size and mode."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.data.folders.images import decode_image, image_to_array
from tenfold.deployment.bundle import Bundle, read_bundle
from tenfold.errors import DataError, FileRefusedError, TenfoldError, UsageError, listing, printable
from tenfold.evaluation.evaluate import evaluate, predict_logits
from tenfold.evaluation.report import Report
from tenfold.types import Images, Logits

Picture = str | Path | Image.Image
"""A file of an image, or an opened image."""


@dataclass(frozen=True)
class Guess:
    """One class that an image may belong to.

    Attributes:
        label: the class's index.
        name: the class's name.
        probability: what the model gives it, 0..1.
    """

    label: int
    name: str
    probability: float


class Classifier:
    """Predicts classes for images, by the same conversion that the training images went through.

    Wherever images are wanted they may be: one file or opened image; a sequence of these; raw
    pixels as a uint8 tensor or array of shape (n, channels, height, width), or (n, height, width)
    for grey ones, in the model's own size; or an `ImageDataset`.

    Args:
        bundle: the model and what it means.
        device: where to predict.
    """

    def __init__(self, bundle: Bundle, device: str | torch.device = "cpu") -> None:
        self.bundle = bundle
        self.module = bundle.module().to(device)

    @classmethod
    def from_file(cls, path: Path, device: str | torch.device = "cpu") -> Classifier:
        """The classifier in a bundle.

        Raises:
            FileRefusedError: the file is not a bundle that can be used.
        """
        return cls(read_bundle(path), device)

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the probabilities."""
        return self.bundle.classes

    def predict(
        self, images: Picture | Sequence[Picture] | Tensor | np.ndarray | ImageDataset
    ) -> list[str]:
        """The name of the most probable class of every image.

        Raises:
            DataError: an image cannot be read, or has not the model's shape; all are named.
            FileRefusedError: the model's weights are so large that it gives no finite numbers.
        """
        return [self.classes[label] for label in self._logits(images).argmax(1).tolist()]

    def predict_proba(
        self, images: Picture | Sequence[Picture] | Tensor | np.ndarray | ImageDataset
    ) -> Float[np.ndarray, "n classes"]:
        """The probability of every class for every image; each row adds up to 1.

        Raises:
            DataError: an image cannot be read, or has not the model's shape; all are named.
            FileRefusedError: the model's weights are so large that it gives no finite numbers.
        """
        probabilities: np.ndarray = self._logits(images).softmax(1).cpu().numpy()
        return probabilities

    def top(
        self,
        images: Picture | Sequence[Picture] | Tensor | np.ndarray | ImageDataset,
        k: int = 3,
    ) -> list[tuple[Guess, ...]]:
        """The k most probable classes of every image, the most probable first.

        Raises:
            UsageError: k is less than 1.
            DataError: an image cannot be read, or has not the model's shape; all are named.
            FileRefusedError: the model's weights are so large that it gives no finite numbers.
        """
        if k < 1:
            raise UsageError(f"top: k is {k}, wanted at least 1")
        logits = self._logits(images)
        # By logits, not probabilities: those that differ in the last bit may round to one value.
        best = logits.argsort(dim=1, descending=True, stable=True)[:, :k]
        chances = logits.softmax(1).gather(1, best)
        return [
            tuple(
                Guess(label, self.classes[label], chance)
                for label, chance in zip(labels, row, strict=True)
            )
            for labels, row in zip(best.tolist(), chances.tolist(), strict=True)
        ]

    def evaluate(self, dataset: ImageDataset, *, batch_size: int = 1024) -> Report:
        """The figures on a data set with the model's classes and shape.

        Raises:
            DataError: its classes or its images' shape differ from the model's.
            FileRefusedError: the model's weights are so large that it gives no finite loss.
        """
        if dataset.classes != self.classes:
            raise DataError(
                f"{dataset.source}: its classes are "
                f"{listing(dataset.classes)}, the model's are "
                f"{listing(self.classes)}"
            )
        if dataset.image_shape != self.bundle.input_shape:
            raise DataError(
                f"{dataset.source}: its images are {dataset.image_shape}, "
                f"the model's are {self.bundle.input_shape}"
            )
        report = evaluate(self.module, dataset, batch_size=batch_size)
        if not math.isfinite(report.loss):
            raise _not_finite("evaluate")
        return report

    def __repr__(self) -> str:
        return (
            f"Classifier({self.bundle.model}, {self.bundle.input_shape}, "
            f"classes={printable(listing(self.classes, 5))})"
        )

    def _logits(
        self, images: Picture | Sequence[Picture] | Tensor | np.ndarray | ImageDataset
    ) -> Logits:
        logits = predict_logits(self.module, self._pixels(images))
        if not logits.isfinite().all():
            raise _not_finite("predict")
        return logits

    def _pixels(
        self, images: Picture | Sequence[Picture] | Tensor | np.ndarray | ImageDataset
    ) -> Images:
        if isinstance(images, ImageDataset):
            images = images.images
        if isinstance(images, np.ndarray):
            images = _as_tensor(images)
        if isinstance(images, Tensor):
            return self._checked(images)
        pictures = _pictures(images)
        if not pictures:
            raise DataError("predict: there is no image, wanted at least one")
        return self._decoded(pictures)

    def _checked(self, images: Tensor) -> Images:
        wanted = self.bundle.input_shape
        whole = images.unsqueeze(1) if images.ndim == 3 else images
        if whole.dtype != torch.uint8 or tuple(whole.shape[1:]) != wanted or not len(whole):
            raise DataError(
                f"predict: found {images.dtype} of shape {list(images.shape)}, wanted raw pixels: "
                f"torch.uint8 of shape [n, {', '.join(map(str, wanted))}], n at least 1"
            )
        return whole

    def _decoded(self, pictures: Sequence[Picture]) -> Images:
        arrays, problems = [], []
        channels, height, width = self.bundle.input_shape
        for picture in pictures:
            try:
                if isinstance(picture, Image.Image):
                    arrays.append(image_to_array(picture, channels=channels, size=(height, width)))
                else:
                    arrays.append(
                        decode_image(
                            _read(Path(picture)),
                            str(picture),
                            channels=channels,
                            size=(height, width),
                        )
                    )
            except TenfoldError as error:
                problems.append(error.message)
        if problems:
            raise DataError(
                f"{len(problems)} of {len(pictures)} images cannot be used: {listing(problems)}",
                remedy="replace or leave them out",
            )
        return torch.from_numpy(np.stack(arrays))


def _not_finite(place: str) -> FileRefusedError:
    return FileRefusedError(
        f"{place}: the model's weights are so large that its answers are no finite numbers",
        remedy="train it anew with a lower learning rate",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # a name that no file can have
        raise DataError(f"{path}: {error}") from error


def _as_tensor(images: np.ndarray) -> Tensor:
    try:
        return torch.from_numpy(np.array(images))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"predict: found an array of {images.dtype}, wanted raw pixels: uint8"
        ) from error


def _pictures(images: object) -> list[Picture]:
    """One picture or several as a list, whatever holds them."""
    several = isinstance(images, Iterable) and not isinstance(images, Picture)
    found: list[object] = list(images) if several else [images]  # type: ignore[call-overload]
    pictures = []
    for place, picture in enumerate(found):
        if not isinstance(picture, Picture):
            raise UsageError(
                f"predict: image {place} is a {type(picture).__name__}, wanted a file's name or an "
                "opened image",
                remedy="stack arrays or tensors of raw pixels into one",
            )
        pictures.append(picture)
    return pictures
