"""Facts about data sets and the machine, as plain values and as text."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import tenfold
from tenfold.data.catalog.table import DATASETS
from tenfold.data.dataset import ImageDataset, fingerprint_of
from tenfold.data.load import ReadData
from tenfold.errors import printable
from tenfold.native.library import NoKernels, find_kernels
from tenfold.reporting.terminal import class_column
from tenfold.storage import cache_folder


def catalog_facts() -> list[dict[str, Any]]:
    """The data sets in the catalog, ready for JSON."""
    return [
        {
            "name": entry.name,
            "title": entry.title,
            "classes": len(entry.classes),
            "image_shape": list(entry.image_shape),
            "n_train": entry.n_train,
            "n_test": entry.n_test,
        }
        for entry in DATASETS.values()
    ]


def catalog_text(entries: Sequence[Mapping[str, Any]]) -> str:
    """The same as text."""
    lines = [f"{'name':<15}{'shape':<10}{'classes':>7}{'train':>8}{'test':>8}  title"]
    for entry in entries:
        shape = "x".join(str(side) for side in entry["image_shape"])
        lines.append(
            f"{entry['name']:<15}{shape:<10}{entry['classes']:>7}{entry['n_train']:>8,}"
            f"{format(entry['n_test'], ',') if entry['n_test'] else '-':>8}  {entry['title']}"
        )
    return "\n".join(lines)


def data_facts(read: ReadData) -> dict[str, Any]:
    """The contents of a data set, ready for JSON."""
    parts = list(read.parts.values())
    return {
        "data": read.source,
        "classes": {name: index for index, name in enumerate(parts[0].classes)},
        "image_shape": list(parts[0].image_shape),
        "fingerprint": fingerprint_of(parts),
        "splits": {part.split: _split_facts(part) for part in parts},
        "notes": list(read.notes),
        **({"bad_files": dict(read.skipped)} if read.skipped else {}),
    }


def data_text(facts: Mapping[str, Any]) -> str:
    """The same as text."""
    splits = facts["splits"]
    shape = "x".join(str(side) for side in facts["image_shape"])
    lines = [
        f"{printable(facts['data'])}: images of {shape} (channels x height x width), "
        + ", ".join(f"{name} {split['n']:,}" for name, split in splits.items()),
        "",
    ]
    head, *names = class_column(facts["classes"])
    lines.append(f"label  {head}" + "".join(f"{name:>8}" for name in splits))
    for label, name in enumerate(names):
        counts = "".join(f"{split['class_counts'][label]:>8,}" for split in splits.values())
        lines.append(f"{label:>5}  {name}{counts}")
    lines.append("")
    for name, split in splits.items():
        mean = ", ".join(f"{value:.3f}" for value in split["pixel_mean"])
        lines.append(
            f"{name}: array {split['array']}, pixels {split['lowest']} to {split['highest']}, "
            f"mean {mean} (0..1)"
        )
    lines += [f"note: {printable(note, 2000)}" for note in facts["notes"]]
    return "\n".join(lines)


def machine_facts() -> dict[str, Any]:
    """Versions, devices and folders, ready for JSON."""
    import torch

    return {
        "tenfold": tenfold.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        **{name: metadata.version(name) for name in ("numpy", "pillow")},
        "engine": _engine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "mps": torch.backends.mps.is_available(),
        "cache": str(cache_folder()),
        "TENFOLD_DATA": os.environ.get("TENFOLD_DATA"),
    }


def _engine() -> str:
    """The engine that `auto` prefers here, with its instruction set or why it is not native."""
    found = find_kernels()
    if isinstance(found, NoKernels):
        return f"torch ({found.reason})"
    others = [f"not {name}: {reason}" for name, reason in found.skipped.items()]
    return f"native ({'; '.join([found.instruction_set, *others])})"


def _split_facts(part: ImageDataset) -> dict[str, Any]:
    pixels = part.image_array
    return {
        "n": len(part),
        "array": f"uint8 {list(pixels.shape)}",
        "class_counts": part.class_counts().tolist(),
        "lowest": int(pixels.min()),
        "highest": int(pixels.max()),
        "pixel_mean": (pixels.mean(axis=(0, 2, 3)) / 255).tolist(),
    }
