"""torchvision, which tests compare with where it is installed."""

from __future__ import annotations

import functools
import importlib
import warnings

import pytest
import torch


@functools.cache
def torchvision():
    """torchvision, which imports beside a CPU build of PyTorch only if two operators of its
    compiled half are defined."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pytest.importorskip("torchvision", reason="torchvision is not installed")
        except RuntimeError:
            torchvision.kept = library = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            return importlib.import_module("torchvision")
