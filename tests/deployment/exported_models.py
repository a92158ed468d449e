"""Bundles of every model of the table, with weights as of trained networks."""

from __future__ import annotations

from typing import Any

import torch

from plain_resnet import shuffled
from small_bundles import bundle_with
from tenfold.deployment.bundle import Bundle, PreprocessingHeader
from tenfold.models import build, model_arguments
from tenfold.models.tracing import layer_list
from tenfold.types import ImageShape

SMALL: dict[str, dict[str, Any]] = {
    "convpool": {"channels": [4, 8], "kernels": [5, 3], "hidden": [16, 8]},
    "mlp": {"hidden": [32, 16], "dropout": 0.2},
    "resnet-small": {"widths": [4, 4, 8], "blocks": 2, "stem_pool": True},
}
"""Arguments of networks that are exported quickly."""

CHANNELS = PreprocessingHeader(mean=[0.2, 0.4, 0.5], std=[0.3, 0.25, 0.2])
BY_IMAGE = PreprocessingHeader(mean=[], std=[], by_image=True)


def bundle_of(
    name: str,
    shape: ImageShape = ImageShape(3, 32, 32),  # noqa: B008 - a tuple
    arguments: dict[str, Any] | None = None,
    **header: Any,
) -> Bundle:
    complete = model_arguments(name, SMALL.get(name, {}) if arguments is None else arguments)
    classes = header.pop("classes", [f"class {label}" for label in range(10)])
    network = build(name, shape, len(classes), device="meta", **complete)
    weights = {n: torch.tensor(9) if t.is_meta else t for n, t in shuffled(network).items()}
    return bundle_with(
        weights,
        model=name,
        arguments=complete,
        input_shape=shape,
        classes=classes,
        layers=layer_list(network),
        **({"temperature": 1.7, "preprocessing": CHANNELS} | header),
    )
