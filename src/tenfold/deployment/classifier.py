"""A trained classifier for images of any size and mode."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from tenfold.data.dataset import ImageDataset
from tenfold.deployment.bundle import Bundle, PreprocessingHeader, read_bundle
from tenfold.deployment.differences import Differences
from tenfold.deployment.inputs import ImageInputs, conversion_for, raw_pixels
from tenfold.deployment.looks import looks_of
from tenfold.errors import (
    DataError,
    FileRefusedError,
    UsageError,
    listing,
    printable,
    quoted,
)
from tenfold.evaluation.metrics import softmax
from tenfold.evaluation.report import Report, report_of
from tenfold.evaluation.threads import require_threads, run_threads, use_threads
from tenfold.native.library import Kernels, find_kernels
from tenfold.native.predictor import Predictor
from tenfold.native.records import BY_IMAGE, ChannelNormalization, Normalization, tensor_shapes
from tenfold.types import PixelArray, in_memory_order

if TYPE_CHECKING:
    from torch import device as TorchDevice  # noqa: N812

    from tenfold.models.image_model import ImageModel
else:
    TorchDevice = ImageModel = Any

_Predict = Callable[[PixelArray, int], Float[np.ndarray, "n classes"]]
"""From raw pixels and a batch size to logits."""

_BATCH_SIZE = 1024
"""Default number of images per batch in prediction."""

_PIXELS_AT_ONCE = 2**22
"""Networks need some kilobytes of memory for each pixel of an image."""


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

    def to_dict(self) -> dict[str, object]:
        """The guess as the command line and the server write it, ready for JSON."""
        return {"class": self.name, "label": self.label, "probability": self.probability}


class Classifier:
    """Predicts the classes of images, converted in the same way as the training images.

    Images can be one file, by its name, as bytes or opened; an opened Pillow image; a sequence of
    these; raw pixels as a uint8 tensor or array of shape (n, channels, height, width), or (n,
    height, width) if gray, in the model's size; or an `ImageDataset`. With `paths=False`, names of
    files are refused and no file is opened, as for images from strangers.

    Probabilities are those of logits divided by the bundle's temperature, which fits them to the
    validation images of the training.

    Compiled kernels compute a network that the bundle lists layer by layer, without PyTorch, until
    `module` is used; from then on, the module's weights count.

    Args:
        bundle: the model and everything needed to use it.
        device: where to predict.
        use_kernels: use the compiled kernels if they can compute the model; otherwise PyTorch.
        flush_denormals: whether PyTorch flushes them to zero, as it does on a CPU in a run.
        threads: CPU threads of the kernels, as long as `module` is not used; None for as many as
            PyTorch uses.

    Attributes:
        bundle: the model and everything needed to use it.
    """

    def __init__(
        self,
        bundle: Bundle,
        device: str | TorchDevice = "cpu",
        *,
        use_kernels: bool = True,
        flush_denormals: bool = False,
        threads: int | None = None,
    ) -> None:
        self.bundle = bundle
        self._device, self._use_kernels = device, use_kernels
        self._flush_denormals = flush_denormals
        self._kernels: _Predict | None = None
        if use_kernels and str(device) == "cpu" and is_for_kernels(bundle):
            self._kernels = _by_kernels(bundle, threads)
        else:
            _ = self.module

    @property
    def uses_kernels(self) -> bool:
        """Whether compiled kernels compute the bundle's network, and no module does."""
        return self._kernels is not None and "_built" not in vars(self)

    @property
    def module(self) -> ImageModel:
        """The same model as a PyTorch module, on the classifier's device.

        Its weights may be changed.

        Raises:
            FileRefusedError: the architecture is unknown, or the weights or layers do not fit it.
        """
        if "_built" not in vars(self):
            # Of several threads that come here at once, all get the same module.
            vars(self).setdefault("_built", self._build())
        module: ImageModel = vars(self)["_built"][0]
        return module

    def _predict(self, pixels: PixelArray, batch_size: int) -> Float[np.ndarray, "n classes"]:
        """Logits of raw pixels, by the module once it exists."""
        built = vars(self).get("_built")
        predict = self._kernels if built is None else built[1]
        assert predict is not None, "there are kernels, or a module was built"
        return predict(pixels, batch_size)

    def _build(self) -> tuple[ImageModel, _Predict]:
        """A module, and how to predict with it."""
        import torch

        from tenfold.evaluation.compiled import predictor

        require_threads(run_threads())
        module = self.bundle.module().to(self._device)
        compute = predictor(
            module,
            self.bundle.input_shape,
            use_kernels=self._use_kernels,
            flush_denormals=self._flush_denormals,
        )

        def predict(pixels: PixelArray, batch_size: int) -> np.ndarray:
            use_threads(run_threads())
            logits: np.ndarray = compute(torch.from_numpy(pixels), batch_size).cpu().numpy()
            return logits

        return module, predict

    @classmethod
    def from_file(cls, path: Path, device: str | TorchDevice = "cpu") -> Classifier:
        """The classifier in a bundle.

        Raises:
            FileRefusedError: the file is not a usable bundle.
        """
        return cls(read_bundle(path), device)

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the probabilities."""
        return self.bundle.classes

    def pixels(
        self,
        images: ImageInputs,
        *,
        paths: bool = True,
        invert: bool = False,
        center: bool = False,
    ) -> PixelArray:
        """The images as the model takes them: uint8 of shape (n, channels, height, width).

        Args:
            images: see `Classifier`.
            paths: whether names of files are taken, and these files opened.
            invert: take the negatives, for images that are dark on light where the training images
                are light on dark, or the other way round; with `center`, of what that gives.
            center: crop each image to its subject, and make that as large, central and strong as
                in the training images, and light on dark or dark on light as there: for drawings,
                scans and photographs of paper.

        Raises:
            UsageError: the images are of another type, or are names although `paths` is False; or
                `center` is set, but the training images have no common background.
            DataError: an image cannot be read, or does not have the model's shape; all are named.
        """
        conversion = conversion_for(self.bundle.header, invert=invert, center=center)
        return in_memory_order(raw_pixels(images, conversion, paths=paths))

    def logits(
        self, images: ImageInputs, *, paths: bool = True, batch_size: int = _BATCH_SIZE
    ) -> Float[np.ndarray, "n classes"]:
        """The network's outputs for each image, before the temperature.

        With PyTorch, their last bits may depend on the number of images per batch.

        Raises:
            UsageError, DataError: see `pixels`.
            FileRefusedError: the model's weights are so large that its outputs are not finite.
        """
        logits = self._predict(self.pixels(images, paths=paths), batch_size)
        if not np.isfinite(logits).all():
            raise _not_finite("predict")
        return logits

    def predict(
        self,
        images: ImageInputs,
        *,
        paths: bool = True,
        invert: bool = False,
        center: bool = False,
    ) -> list[str]:
        """The name of the most probable class for each image.

        Like `predict_proba` and `top`, it warns of images that look unlike the training images.

        Args:
            images: see `Classifier`.
            paths: see `pixels`.
            invert: see `pixels`.
            center: see `pixels`.

        Raises:
            UsageError, DataError, FileRefusedError: see `pixels` and `logits`.
        """
        logits = self._noticing(images, paths=paths, invert=invert, center=center)
        return [self.classes[label] for label in logits.argmax(1)]

    def predict_proba(
        self,
        images: ImageInputs,
        *,
        paths: bool = True,
        invert: bool = False,
        center: bool = False,
    ) -> Float[np.ndarray, "n classes"]:
        """The probability of each class for each image; every row sums to 1.

        Args:
            images: see `Classifier`.
            paths: see `pixels`.
            invert: see `pixels`.
            center: see `pixels`.

        Raises:
            UsageError, DataError, FileRefusedError: see `pixels` and `logits`.
        """
        logits = self._noticing(images, paths=paths, invert=invert, center=center)
        return softmax(logits, self.bundle.header.temperature)

    def top(
        self,
        images: ImageInputs,
        k: int = 3,
        *,
        paths: bool = True,
        invert: bool = False,
        center: bool = False,
    ) -> list[tuple[Guess, ...]]:
        """The k most probable classes for each image, most probable first.

        Args:
            images: see `Classifier`.
            k: how many; at least 1.
            paths: see `pixels`.
            invert: see `pixels`.
            center: see `pixels`.

        Raises:
            UsageError: k is less than 1; or see `pixels`.
            DataError, FileRefusedError: see `pixels` and `logits`.
        """
        if k < 1:
            raise UsageError(f"top: k is {k}, wanted at least 1")
        return self.guesses(self._noticing(images, paths=paths, invert=invert, center=center), k)

    def _noticing(
        self, images: ImageInputs, *, paths: bool, invert: bool, center: bool
    ) -> Float[np.ndarray, "n classes"]:
        """Logits, with a warning to the caller's caller if images are unlike those of training."""
        pixels = self.pixels(images, paths=paths, invert=invert, center=center)
        background = self.bundle.header.background
        differences = Differences(background, invert=invert, center=center)
        for place, look in enumerate(looks_of(pixels, background, cropped=center)):
            differences.add(f"image {place}", look)
        for note in differences.notes("invert=True", "center=True"):
            warnings.warn(note, stacklevel=3)
        return self.logits(pixels)

    def guesses(
        self, logits: Float[np.ndarray, "n classes"], k: int = 3
    ) -> list[tuple[Guess, ...]]:
        """The k most probable classes by logits of this model, most probable first."""
        # By logits: probabilities of logits that differ in the last bit may round to one value.
        best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
        chances = softmax(logits, self.bundle.header.temperature)
        chances = np.take_along_axis(chances, best, axis=1)
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
        report = report_of(
            self._predict(dataset.image_array, batch_size),
            dataset,
            self.bundle.header.class_weights,
        )
        if not math.isfinite(report.loss):
            raise _not_finite("evaluate")
        return report

    def __repr__(self) -> str:
        return (
            f"Classifier({self.bundle.header.model}, {self.bundle.input_shape}, "
            f"classes={printable(listing(self.classes, 5))})"
        )


def images_at_once(shape: Sequence[int]) -> int:
    """How many images of a shape to compute at once, where that is not given.

    Args:
        shape: channels, height, width.
    """
    return max(1, min(_BATCH_SIZE, _PIXELS_AT_ONCE // max(1, math.prod(shape))))


def is_for_kernels(bundle: Bundle) -> bool:
    """Whether compiled kernels can predict with a bundle, so that PyTorch is not needed.

    It has to list the network's layers, and this computer has to have kernels.
    """
    layers, weights = bundle.header.layers, bundle.weights
    if layers is None or not isinstance(find_kernels(), Kernels):
        return False
    names = tensor_shapes(layers)
    return all(name in weights and weights[name].dtype == "float32" for name in names)


def _by_kernels(bundle: Bundle, threads: int | None) -> _Predict:
    """Prediction by compiled kernels, with copies of the bundle's weights."""
    header = bundle.header
    assert header.layers is not None
    predictor = Predictor(header.layers)
    weights = {name: stored.array().copy() for name, stored in bundle.weights.items()}
    normalization = normalization_of(header.preprocessing)

    def predict(pixels: PixelArray, batch_size: int) -> Float[np.ndarray, "n classes"]:
        try:
            return predictor(
                weights,
                pixels,
                batch_size=batch_size,
                threads=threads or run_threads(),
                normalization=normalization,
            )
        except MemoryError as error:
            raise FileRefusedError(
                f"{bundle.place}: there is not enough memory to compute this model"
            ) from error

    return predict


def normalization_of(header: PreprocessingHeader) -> Normalization:
    """The normalization of a bundle, as the kernels take it."""
    if header.by_image:
        return BY_IMAGE
    mean, std = (np.array(values, np.float32) for values in (header.mean, header.std))
    return ChannelNormalization(mean, std) if len(mean) else None


def _not_finite(place: str) -> FileRefusedError:
    return FileRefusedError(
        f"{place}: the model's weights are so large that its outputs are not finite",
        remedy="retrain it with a lower learning rate",
    )
