"""Bundles made by hand, of PyTorch's tensors and what the header must say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

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
