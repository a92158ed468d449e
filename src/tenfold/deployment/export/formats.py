"""The formats that a model can be exported to, and writing one.

Importing this does not import PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenfold.deployment.bundle import Bundle
from tenfold.deployment.export.checking import Agreement, images_to_check
from tenfold.deployment.export.made_up import made_up_images
from tenfold.deployment.export.source import MARK, loading
from tenfold.errors import UsageError, did_you_mean, listing
from tenfold.paths import exists, is_folder
from tenfold.storage import destination, make_folder, read_text, write_together
from tenfold.types import PixelArray


@dataclass(frozen=True)
class Exported:
    """A model that was exported.

    Attributes:
        format: one of `FORMATS`.
        path: the file; of a state dict, the one with the weights.
        others: files that belong to it.
        size: of all files, in bytes.
        images: number of images on which it was compared with the model.
        are_real: whether these are test images, and not made up.
        largest_difference: of a logit, on these images.
        near_ties: number of these images that are of another class; see `Agreement`.
    """

    format: str
    path: Path
    others: tuple[Path, ...]
    size: int
    images: int
    are_real: bool
    largest_difference: float
    near_ties: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "format": self.format,
            "path": str(self.path),
            "others": [str(path) for path in self.others],
            "size": self.size,
            "images": self.images,
            "are_real": self.are_real,
            "largest_difference": self.largest_difference,
            "near_ties": self.near_ties,
        }


LARGEST_SOURCE = 100_000_000
"""More bytes than any `model.py` has."""

_Files = dict[Path, bytes]
_Make = Callable[[Bundle, PixelArray, Path], tuple[_Files, Agreement]]


@dataclass(frozen=True)
class ExportFormat:
    """How a model is exported.

    Attributes:
        suffixes: that the file's name may end in, the usual one first.
        make: from a bundle, images to check it on and a path to the contents of all files.
    """

    suffixes: tuple[str, ...]
    make: _Make


def _onnx(bundle: Bundle, images: PixelArray, path: Path) -> tuple[_Files, Agreement]:
    from tenfold.deployment.export.onnx import onnx_file

    contents, agreement = onnx_file(bundle, images)
    return {path: contents}, agreement


def _torch_export(bundle: Bundle, images: PixelArray, path: Path) -> tuple[_Files, Agreement]:
    from tenfold.deployment.export.torch_export import torch_export_file

    contents, agreement = torch_export_file(bundle, images)
    return {path: contents}, agreement


def _state_dict(bundle: Bundle, images: PixelArray, path: Path) -> tuple[_Files, Agreement]:
    from tenfold.deployment.export.state_dict import state_dict_files

    weights, source, agreement = state_dict_files(bundle, images, path.name)
    return {path: weights, path.with_suffix(".py"): source}, agreement


FORMATS = {
    "onnx": ExportFormat((".onnx",), _onnx),
    "torch-export": ExportFormat((".pt2",), _torch_export),
    "state-dict": ExportFormat((".pth", ".pt"), _state_dict),
}
"""By name."""


def export_path(to: str, out: Path | None, default: Path) -> Path:
    """The file that an export goes to.

    Args:
        to: one of `FORMATS`.
        out: a file, or a folder, also a new one; None for the default.
        default: where it goes otherwise, without a suffix.

    Raises:
        UsageError: there is no such format, or the file's name does not say that it is of it.
    """
    if to not in FORMATS:
        raise UsageError(f"there is no format {to!r}", remedy=did_you_mean(to, FORMATS))
    suffixes = FORMATS[to].suffixes
    if out is None:
        return default.with_name(f"{default.name}{suffixes[0]}")
    if is_folder(out) or not out.suffix:
        return out / f"model{suffixes[0]}"
    if out.suffix not in suffixes:
        raise UsageError(
            f"{out}: the name of the file ends in {out.suffix}, wanted {listing(suffixes)}",
            remedy=f"choose a name such as {out.with_suffix(suffixes[0]).name}, or a folder",
        )
    return out


def require_target(to: str, path: Path) -> None:
    """Require that an export may be written, before it is made.

    Args:
        to: one of `FORMATS`.
        path: where to, as `export_path` gives it.

    Raises:
        UsageError: code is there that is not of an earlier export to the same file.
        StorageError: what is there is no regular file.
        FileRefusedError: the code that is there cannot be read.
    """
    destination(path)
    source = path.with_suffix(".py")
    if to != "state-dict" or not exists(destination(source)):
        return
    remedy = f"choose another name: --out NAME{path.suffix}"
    text = read_text(source, LARGEST_SOURCE)
    if not text.startswith(MARK):
        raise UsageError(
            f"{source}: this file is not of an earlier export, and would be replaced", remedy=remedy
        )
    if loading(path.name) not in text:
        raise UsageError(
            f"{source}: this file belongs to other weights than {path.name}, and would be replaced",
            remedy=remedy,
        )


def export_bundle(bundle: Bundle, to: str, path: Path, images: PixelArray | None) -> Exported:
    """Export a model, if the result computes what the model computes.

    Args:
        bundle: the model.
        to: one of `FORMATS`.
        path: where to, as `export_path` gives it; what is there is replaced.
        images: real ones to compare the two on, in the model's shape; None for made-up ones.

    Raises:
        ExportError: the two do not agree; nothing is written.
        FileRefusedError: the bundle is not usable.
        UsageError: the format cannot hold this model, packages are missing, or see
            `require_target`.
        StorageError: a file could not be written; all are as before.
    """
    checked = made_up_images(bundle.input_shape, images_to_check(bundle))
    if images is not None:
        checked = images
    require_target(to, path)
    files, agreement = FORMATS[to].make(bundle, checked, path)
    make_folder(path.parent)
    write_together({destination(place): contents for place, contents in files.items()})
    return Exported(
        to,
        path,
        tuple(place for place in files if place != path),
        sum(map(len, files.values())),
        agreement.images,
        images is not None,
        agreement.largest_difference,
        agreement.near_ties,
    )
