"""A model as an ONNX file, computed by ONNX Runtime for the check."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from tenfold.deployment.bundle import Bundle
from tenfold.deployment.export.checking import Agreement, Scores, require_agreement
from tenfold.deployment.export.exportable import (
    INPUT,
    OUTPUTS,
    Exportable,
    any_number_of_images,
    example_of,
    exporting,
)
from tenfold.deployment.export.extras import require_onnx
from tenfold.deployment.export.facts import metadata
from tenfold.errors import UsageError
from tenfold.evaluation.threads import run_threads
from tenfold.types import PixelArray

if TYPE_CHECKING:
    from onnx import ModelProto
else:
    ModelProto = Any

_LARGEST = 2**31 - 2**24
"""Bytes of weights that fit into one file, whose format ends at 2 GiB, beside everything else."""

_ERRORS_ONLY = 3
"""The level of ONNX Runtime's messages."""


def onnx_file(bundle: Bundle, images: PixelArray) -> tuple[bytes, Agreement]:
    """The contents of an ONNX file, and how well it agrees with the model.

    Args:
        bundle: the model.
        images: to compare the two on.

    Raises:
        UsageError: packages are missing, or the model is too large for the format.
        FileRefusedError: the bundle is not usable.
        ExportError: the two do not agree.
    """
    require_onnx()
    _require_small(bundle)
    model = _exported(bundle)
    _forget_the_code(model)
    for key, value in metadata(bundle).items():
        model.metadata_props.add(key=key, value=value)
    contents = model.SerializeToString()
    return contents, require_agreement(OnnxModel(contents), bundle, images)


class OnnxModel:
    """An ONNX file of ours, computed by ONNX Runtime on the CPU.

    Args:
        file: its contents.
    """

    def __init__(self, file: bytes) -> None:
        import onnxruntime  # type: ignore[import-untyped]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = run_threads()
        options.log_severity_level = _ERRORS_ONLY
        self._session = onnxruntime.InferenceSession(
            file, options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, images: PixelArray) -> tuple[Scores, Scores]:
        """Logits and probabilities of raw pixels."""
        logits, probabilities = self._session.run(list(OUTPUTS), {INPUT: images})
        return logits, probabilities


def _require_small(bundle: Bundle) -> None:
    size = sum(stored.data.nbytes for stored in bundle.weights.values())
    if size > _LARGEST:
        raise UsageError(
            f"{bundle.place}: its weights take {size:,} bytes, more than fit into an ONNX file, "
            f"{_LARGEST:,}",
            remedy="export it with --to torch-export",
        )


def _exported(bundle: Bundle) -> ModelProto:
    model = Exportable(bundle)
    with exporting():
        program = torch.onnx.export(
            model,
            example_of(bundle),
            dynamo=True,
            dynamic_shapes=any_number_of_images(),
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            external_data=False,
            verbose=False,
        )
    assert program is not None, "PyTorch gives a program if it gets no path"
    return program.model_proto


def _forget_the_code(model: ModelProto) -> None:
    """Take out where PyTorch's exporter notes which lines of which files each node comes from."""
    graph = model.graph
    for noted in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        del noted.metadata_props[:]
    for value in graph.initializer:
        del value.metadata_props[:]
