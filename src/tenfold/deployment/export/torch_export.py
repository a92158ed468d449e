"""A model as a program of `torch.export`, which PyTorch runs without any of tenfold's code."""

from __future__ import annotations

import io
import json

import torch

from tenfold.deployment.bundle import Bundle
from tenfold.deployment.export.checking import Agreement, Scores, require_agreement
from tenfold.deployment.export.exportable import (
    Exportable,
    any_number_of_images,
    example_of,
    exporting,
)
from tenfold.deployment.export.facts import metadata
from tenfold.types import PixelArray

FACTS = "tenfold.json"
"""The extra file with what `metadata` says, as one JSON object."""


def torch_export_file(bundle: Bundle, images: PixelArray) -> tuple[bytes, Agreement]:
    """The contents of a `.pt2` file, and how well it agrees with the model.

    Args:
        bundle: the model.
        images: to compare the two on.

    Raises:
        FileRefusedError: the bundle is not usable.
        ExportError: the two do not agree.
    """
    with exporting():
        program = torch.export.export(
            Exportable(bundle), example_of(bundle), dynamic_shapes=any_number_of_images()
        )
        _forget_the_code(program)
        file = io.BytesIO()
        torch.export.save(program, file, extra_files={FACTS: json.dumps(metadata(bundle))})
    contents = file.getvalue()
    return contents, require_agreement(ExportedProgram(contents), bundle, images)


class ExportedProgram:
    """A `.pt2` file of ours, computed by PyTorch.

    Args:
        file: its contents.
    """

    def __init__(self, file: bytes) -> None:
        with exporting():
            self._module = torch.export.load(io.BytesIO(file)).module()

    def __call__(self, images: PixelArray) -> tuple[Scores, Scores]:
        """Logits and probabilities of raw pixels."""
        with torch.no_grad():
            logits, probabilities = self._module(torch.from_numpy(images))
        return logits.numpy(), probabilities.numpy()


def _forget_the_code(program: torch.export.ExportedProgram) -> None:
    """Take out which lines of which files each node comes from."""
    for node in program.graph.nodes:
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack"):
            node.meta.pop(key, None)
