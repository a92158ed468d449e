"""Bundles made by hand, and what is in those of runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

import tenfold
from tenfold.deployment.bundle import Bundle, BundleHeader, PreprocessingHeader
from tenfold.tensors import to_stored


def bundle_with(weights: Mapping[str, Tensor], **header: Any) -> Bundle:
    """With the plain scale to 0..1, unless the header says otherwise."""
    defaults = {
        "arguments": {},
        "preprocessing": PreprocessingHeader(mean=[], std=[]),
        "data": {},
        "figures": {},
    }
    return Bundle(BundleHeader(**(defaults | header)), to_stored(weights))


def weights_of(model: Path | tenfold.Run) -> dict[str, bytes]:
    """The bytes of a model's weights, by name."""
    return {name: bytes(w.data) for name, w in tenfold.load(model).bundle.weights.items()}
