"""The model bundle: one file that means one model, wherever it is carried.

A safetensors file with the network's weights and a JSON header with all that it takes to use
them: architecture and arguments, class names, input shape, preprocessing; and where they come
from: the data's fingerprint and the figures of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tenfold.errors import FileRefusedError, TenfoldError, UsageError, listing
from tenfold.models import ImageModel, Preprocessing, build, model_arguments
from tenfold.storage import read_tensors, write_tensors
from tenfold.types import ImageShape

KIND, VERSION = "tenfold-bundle", 1

MOST_CLASSES = 65_536


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model and what it means.

    Attributes:
        model: its name in `MODELS`.
        arguments: the model's own arguments, complete.
        input_shape: of one image.
        classes: the classes' names, in the order of the logits.
        preprocessing: the first step, from raw pixels to what the network expects.
        weights: the network's, by name.
        data: `source` and `fingerprint` of the data it learned from.
        figures: what was measured when it was made, under the usual names.
    """

    model: str
    arguments: dict[str, Any]
    input_shape: ImageShape
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    weights: Mapping[str, Tensor]
    data: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def network(self) -> nn.Module:
        """A new network with these weights, on the CPU, in evaluation mode."""
        network = _outline(self).to_empty(device="cpu")
        network.load_state_dict(dict(self.weights))
        return network.eval()

    def module(self) -> nn.Module:
        """A new module: raw uint8 images to logits, on the CPU, in evaluation mode."""
        return ImageModel(self.preprocessing, self.network()).eval()


def write_bundle(path: Path, bundle: Bundle) -> None:
    """Write a bundle so that a death at any instant leaves the old file or the new one.

    Raises:
        StorageError: it could not be written.
    """
    header = {
        "model": bundle.model,
        "arguments": model_arguments(bundle.model, bundle.arguments),
        "input_shape": list(bundle.input_shape),
        "classes": list(bundle.classes),
        "preprocessing": bundle.preprocessing.to_header(),
        "data": bundle.data,
        "figures": bundle.figures,
    }
    write_tensors(path, bundle.weights, kind=KIND, version=VERSION, header=header)


def read_bundle(path: Path) -> Bundle:
    """Read a bundle; its weights are on the CPU.

    Nothing in the file is run, and no more memory is used than its own size and the model's.

    Raises:
        FileRefusedError: the file is no bundle, is damaged, newer, or contradicts itself.
    """
    header, tensors = read_tensors(path, kind=KIND, version=VERSION)
    try:
        bundle = Bundle(
            model=_text(header, "model"),
            arguments=model_arguments(_text(header, "model"), _table(header, "arguments")),
            input_shape=_shape(header["input_shape"]),
            classes=_classes(header["classes"]),
            preprocessing=Preprocessing.from_header(header["preprocessing"]),
            weights=tensors,
            data=_table(header, "data"),
            figures=_table(header, "figures"),
        )
        _require_fitting_preprocessing(bundle)
        _require_same_shapes(_outline(bundle).state_dict(), tensors)
        _require_finite(tensors)
    except (KeyError, TypeError, ValueError, AttributeError, UsageError, FileRefusedError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        if isinstance(error, TenfoldError):
            reason = error.message  # what to do about a recipe does not help with a file
        raise FileRefusedError(
            f"{path}: this is not a bundle that can be used: {reason}",
            remedy="name a run folder or its model.safetensors",
        ) from error
    return bundle


def _outline(bundle: Bundle) -> nn.Module:
    """The network's shapes, without weights or memory for them."""
    return build(
        bundle.model,
        bundle.input_shape,
        len(bundle.classes),
        device="meta",
        **bundle.arguments,
    )


def _shape(value: object) -> ImageShape:
    if (
        not isinstance(value, list)
        or len(value) != 3
        or not all(type(side) is int and side > 0 for side in value)
    ):
        raise FileRefusedError(f"input_shape is {value!r}, wanted three positive whole numbers")
    return ImageShape(*value)


def _classes(value: object) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= MOST_CLASSES
        or not all(isinstance(name, str) for name in value)
    ):
        raise FileRefusedError("classes is not a list of names")
    return tuple(value)


def _text(header: Mapping[str, Any], key: str) -> str:
    value = header[key]
    if not isinstance(value, str):
        raise FileRefusedError(f"{key} is not a text")
    return value


def _table(header: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = header[key]
    if not isinstance(value, dict):
        raise FileRefusedError(f"{key} is not a table")
    return value


def _require_fitting_preprocessing(bundle: Bundle) -> None:
    means, channels = len(bundle.preprocessing.to_header()["mean"]), bundle.input_shape.channels
    if means not in (0, channels):
        raise FileRefusedError(
            f"its preprocessing is for {means} channels, its model for {channels}"
        )


def _require_same_shapes(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """What the architecture asks for must be what lies in the file, before memory is taken."""
    differing = [
        name
        for name in sorted(wanted.keys() | found.keys())
        if name not in wanted
        or name not in found
        or wanted[name].shape != found[name].shape
        or wanted[name].dtype != found[name].dtype
    ]
    if differing:
        raise FileRefusedError(f"its weights do not fit its architecture: {listing(differing, 5)}")


def _require_finite(weights: Mapping[str, Tensor]) -> None:
    """No run saves weights that are not numbers, and no answer of theirs would be one."""
    wrong = [name for name in sorted(weights) if not weights[name].isfinite().all()]
    if wrong:
        raise FileRefusedError(f"its weights are not all finite numbers: {listing(wrong, 5)}")
