"""What the bits of a run depend on beside its recipe and data: device, threads, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import tenfold
from tenfold.errors import printable
from tenfold.runs.facts import Conditions
from tenfold.training.engines import ChosenEngine
from tenfold.training.flushing import FlushingThread, denormals_are_flushed
from tenfold.training.native_engine import NativeEngine

OF_NO_MATTER = {NativeEngine.name: {"threads", "denormals"}}
"""By engine: conditions that its bits do not depend on."""


def conditions(device: torch.device, engine: ChosenEngine) -> Conditions:
    """What the bits of a run depend on beside its recipe and data, inside `repeatable`."""
    return Conditions(
        **{**machine_conditions(device), "instructions": engine.instructions},
        engine=engine.kind.name,
        engine_version=engine.kind.version,
    )


def machine_conditions(device: torch.device) -> dict[str, Any]:
    """The same but for the engine: what PyTorch has here, inside `repeatable`."""
    threads = torch.get_num_threads()
    with FlushingThread() as thread:
        are_flushed = thread(denormals_are_flushed, threads)
    return {
        "device": device_name(device),
        "threads": threads,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "denormals": "flushed" if are_flushed else "kept",
        "torch": torch.__version__,
        "tenfold": tenfold.__version__,
    }


def changed_conditions(old: Conditions, new: Conditions) -> list[str]:
    """The conditions that differ and that the bits depend on, with both values, as text."""
    if old.engine == new.engine:
        ignored = OF_NO_MATTER.get(new.engine)
    else:
        ignored = {"engine_version", "instructions"}  # another engine has its own
    return changed(old.model_dump(exclude=ignored), new.model_dump(exclude=ignored))


def device_name(device: torch.device) -> str:
    """The kind of device, and for a GPU its model."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


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
