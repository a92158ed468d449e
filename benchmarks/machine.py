"""The machine and versions behind a benchmark's figures."""

from __future__ import annotations

import platform

import torch

import tenfold


def machine(threads: int) -> dict[str, object]:
    """Context for every figure: the machine and the versions."""
    return {
        "threads": threads,
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "tenfold": tenfold.__version__,
    }
