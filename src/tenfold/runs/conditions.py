"""What a run's bits depend on besides its recipe and data: device, threads, versions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import tenfold
from tenfold.errors import printable
from tenfold.evaluation.flushing import FlushingThread, denormals_are_flushed
from tenfold.evaluation.threads import run_threads
from tenfold.runs.facts import Conditions
from tenfold.training.engines import ChosenEngine
from tenfold.training.native_engine import NativeEngine

IRRELEVANT = {NativeEngine.name: {"threads", "denormals"}}
"""The conditions that an engine's bits do not depend on."""


def conditions(device: torch.device, engine: ChosenEngine) -> Conditions:
    """What a run's bits depend on besides its recipe and data; call inside `repeatable`."""
    return Conditions(
        **{**machine_conditions(device), "instructions": engine.instructions},
        engine=engine.kind.name,
        engine_version=engine.kind.version,
    )


def machine_conditions(device: torch.device) -> dict[str, Any]:
    """The same without the engine: PyTorch's conditions here; call inside `repeatable`."""
    threads = run_threads()
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
    """The relevant conditions that differ, with both values, as text."""
    if old.engine == new.engine:
        ignored = IRRELEVANT.get(new.engine)
    else:
        ignored = {"engine_version", "instructions"}  # another engine has its own
    return changed(old.model_dump(exclude=ignored), new.model_dump(exclude=ignored))


def device_name(device: torch.device) -> str:
    """The kind of device; for a GPU also its model."""
    if device.type == "cuda":
        return f"cuda ({torch.cuda.get_device_name(device)})"
    return device.type


def changed(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The keys whose values differ between two nested tables, with both values, as text."""
    differences = []
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        name = f"{prefix}{printable(key, 80)}"
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            differences += changed(before, after, f"{name}.")
        elif before != after:
            differences.append(f"{name} was {_short(before)}, is {_short(after)}")
    return differences


def _short(value: object) -> str:
    return printable(repr(value), 300)
