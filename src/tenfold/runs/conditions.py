"""What the bits of a run depend on beside its recipe and data: device, threads, versions."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

import tenfold
from tenfold.errors import UsageError, did_you_mean, printable
from tenfold.runs.facts import Conditions
from tenfold.training.engine import Engine
from tenfold.training.torch_engine import TorchEngine

DEVICES = ("auto", "cpu", "cuda", "mps")


def conditions(device: torch.device, engine: type[Engine] = TorchEngine) -> Conditions:
    """What the bits of a run depend on beside its recipe and data, inside `repeatable`."""
    return Conditions(
        device=device_name(device),
        threads=torch.get_num_threads(),
        instructions=torch.backends.cpu.get_cpu_capability(),
        denormals="flushed" if _denormals_are_flushed() else "kept",
        engine=engine.name,
        engine_version=engine.version,
        torch=torch.__version__,
        tenfold=tenfold.__version__,
    )


def _denormals_are_flushed() -> bool:
    """Whether every thread flushes denormals to zero.

    Threads that were there before the setting was made do not know of it.
    """
    share_of_every_thread = torch.get_num_threads() * 2**16
    # Made and looked at as bits: as numbers, a thread that flushes would see zeros.
    denormal = torch.full((share_of_every_thread,), 1000, dtype=torch.int32).view(torch.float32)
    return not bool((denormal * 0.5).view(torch.int32).count_nonzero())


def device_name(device: torch.device) -> str:
    """The kind of device, and for a GPU its model."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def choose_device(name: str) -> torch.device:
    """The device that a name means; `auto` takes a GPU where there is one.

    Raises:
        UsageError: an unknown name, or a device that is not there.
    """
    if name not in DEVICES:
        raise UsageError(f"there is no device {name!r}", remedy=did_you_mean(name, DEVICES))
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[name]:
        raise UsageError(
            f"device {name} is not available here",
            remedy="choose --device auto, or install a PyTorch build that supports it",
        )
    return torch.device(name)


def usual_threads(most: int) -> int:
    """How many threads a run has if nobody says: half of the cores, but two where there are two.

    Work this small is cut into pieces of microseconds, and every piece waits for the slowest
    thread: as soon as anything else wants a core, a thread on every core is many times slower
    than a few.

    Args:
        most: what PyTorch was told, or has found.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(most, max(2, (cores or 1) // 2))


@contextmanager
def repeatable(device: torch.device, threads: int | None) -> Iterator[None]:
    """The conditions under which the same run gives the same bits; the caller's own after it.

    Args:
        device: where the work is done.
        threads: of a CPU; None for half of the cores, but two where there are two.

    Raises:
        UsageError: less than one thread.
    """
    if threads is not None and not 1 <= threads <= 1024:
        raise UsageError(f"threads is {threads}, wanted 1..1024")
    before = torch.get_num_threads()
    deterministic, benchmark = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.set_num_threads(threads or usual_threads(before))
    torch.set_flush_denormal(True)
    if not _denormals_are_flushed():
        torch.set_flush_denormal(False)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    devices = [torch.cuda.current_device()] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        torch.set_num_threads(before)
        torch.set_flush_denormal(False)
        torch.backends.cudnn.deterministic = deterministic
        torch.backends.cudnn.benchmark = benchmark


def changed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys at which two nested tables differ, with both values, as text."""
    differences = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            differences += changed(before, after, f"{prefix}{printable(key, 80)}.")
        elif before != after:
            differences.append(
                f"{prefix}{printable(key, 80)} was {_short(before)}, is {_short(after)}"
            )
    return differences


def _short(value: object) -> str:
    return printable(repr(value), 300)
