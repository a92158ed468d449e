"""The number of CPU threads to use, without importing PyTorch."""

from __future__ import annotations

import os
import sys

MOST_THREADS = 1024


def available_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def pytorch_threads() -> int:
    """PyTorch's number of threads, or if it is not imported, the one it would start with."""
    ask = getattr(sys.modules.get("torch"), "get_num_threads", None)
    if ask is not None:
        return min(int(ask()), MOST_THREADS)
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        wanted = os.environ.get(name, "").partition(",")[0].strip()
        if wanted.isdecimal() and len(wanted) < 6 and int(wanted):
            return min(int(wanted), available_cores())
    return min(available_cores(), MOST_THREADS)
