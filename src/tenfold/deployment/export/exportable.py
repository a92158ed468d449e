"""The whole model as one module: raw pixels in, logits and probabilities out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, export, nn

from tenfold.deployment.bundle import Bundle
from tenfold.errors import ExportError, TenfoldError, printable

INPUT, OUTPUTS = "images", ("logits", "probabilities")
"""The names of the exported model's input and outputs."""


class Exportable(nn.Module):
    """A bundle with everything inside: preprocessing, network and temperature.

    Args:
        bundle: the model.

    Raises:
        FileRefusedError: see `Bundle.module`.
    """

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        self.model = bundle.module()
        self.temperature = bundle.header.temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and probabilities, n x classes.

        The logits are those before the temperature, as in `Classifier.logits`.

        Args:
            images: raw pixels, uint8, n x channels x height x width.
        """
        logits = self.model(images)
        return logits, torch.softmax(logits / self.temperature, dim=1)


def example_of(bundle: Bundle) -> tuple[Tensor]:
    """Some input, from which an exporter learns types and shapes."""
    return (torch.zeros((2, *bundle.input_shape), dtype=torch.uint8),)


def any_number_of_images() -> tuple[dict[int, export.Dim]]:
    """What may differ from the example: the number of images."""
    return ({0: export.Dim("batch")},)


@contextmanager
def exporting() -> Iterator[None]:
    """For exporters: without gradients, and without warnings about PyTorch's own code.

    Its exporter of ONNX also logs that there is no torchvision, of which nothing is exported.

    Raises:
        ExportError: PyTorch cannot export the network.
    """
    exporter = logging.getLogger("torch.onnx")
    before = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    except (TenfoldError, OSError, MemoryError):
        raise
    except Exception as error:  # of many classes, and of the network's own code
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = printable(str(cause).strip().partition("\n")[0], 160)
        raise ExportError(
            "PyTorch cannot export the network, because something in its code has no counterpart "
            f"in the exported form: {type(cause).__name__}: {reason}",
            remedy="write forward without choices that depend on values and without gradients, or "
            "use the model as it is: tenfold predict and tenfold serve run its code",
        ) from error
    finally:
        exporter.setLevel(before)
