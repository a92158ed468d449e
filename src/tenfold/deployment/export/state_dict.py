"""A model as a state dict of PyTorch, and a `model.py` in plain PyTorch that loads and uses it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tenfold.deployment.bundle import Bundle
from tenfold.deployment.export.checking import Agreement, Scores, require_agreement
from tenfold.deployment.export.source import model_source
from tenfold.tensors import from_stored
from tenfold.types import PixelArray


def state_dict_files(
    bundle: Bundle, images: PixelArray, weights_name: str
) -> tuple[bytes, bytes, Agreement]:
    """The contents of both files, and how well they agree with the model.

    Args:
        bundle: the model.
        images: to compare the two on.
        weights_name: the name that the file with the weights will have.

    Returns:
        The contents of the file with the weights and of the source, and the agreement.

    Raises:
        FileRefusedError: the bundle is not usable, or does not list its layers.
        UsageError: no code can be written for its network.
        ExportError: the two do not agree.
    """
    bundle.network()  # refuses what is not of the table
    source, names = model_source(bundle.header, weights_name, bundle.place)
    stored = from_stored({new: bundle.weights[old] for new, old in names.items()})
    file = io.BytesIO()
    torch.save({name: tensor.clone() for name, tensor in stored.items()}, file)
    weights = file.getvalue()
    agreement = require_agreement(PlainModel(source, weights), bundle, images)
    return weights, source.encode(), agreement


class PlainModel:
    """A network from source and weights of ours.

    Args:
        source: of a `model.py`.
        weights: the contents of the file with the weights.
    """

    def __init__(self, source: str, weights: bytes) -> None:
        names: dict[str, Any] = {"__name__": "model", "__file__": "model.py"}
        exec(compile(source, "model.py", "exec"), names)  # noqa: S102 - it has just been written
        self._scaled: Callable[[Tensor], Tensor] = names["scaled"]
        self._predict: Callable[[nn.Module, Tensor], Tensor] = names["predict"]
        self._net: nn.Module = names["load"](io.BytesIO(weights))

    def __call__(self, images: PixelArray) -> tuple[Scores, Scores]:
        """Logits and probabilities of raw pixels."""
        pixels = torch.from_numpy(images)
        with torch.inference_mode():
            logits = self._net(self._scaled(pixels))
        return logits.numpy(), self._predict(self._net, pixels).numpy()
