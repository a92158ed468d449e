"""From a recipe and data to everything the loop needs, before anything is written."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import tenfold
from tenfold.data.augment import Augmentation
from tenfold.data.dataset import Splits, split_stratified
from tenfold.data.sources import LoadedData, load_splits
from tenfold.errors import DataError, UsageError, did_you_mean, printable
from tenfold.models import Preprocessing, build, model_arguments
from tenfold.randomness import derive_seed
from tenfold.recipes import Recipe
from tenfold.training.averaging import AveragedWeights
from tenfold.training.optimizers import build_optimizer
from tenfold.training.schedules import Schedule, build_schedule
from tenfold.training.state import TrainingState

DEVICES = ("auto", "cpu", "cuda", "mps")

Progress = Callable[[str, int, int | None], None]
"""Told what is being read, how much is done, and how much there is, where that is known."""


@dataclass(frozen=True)
class Prepared:
    """A run that is ready to start.

    Attributes:
        recipe: complete: data, model arguments and all.
        splits: what is learned from, validated on and tested on.
        preprocessing: the model's first step.
        network: the rest of it.
        state: fresh.
        schedule: of the learning rate.
        augmentation: None where the recipe has none.
        notes: what a person should know about the data.
    """

    recipe: Recipe
    splits: Splits
    preprocessing: Preprocessing
    network: nn.Module
    state: TrainingState
    schedule: Schedule
    augmentation: Augmentation | None
    notes: tuple[str, ...]

    def context(self) -> dict[str, Any]:
        """What a resume must find unchanged, and what it must know to be bit-exact."""
        return {
            "recipe": self.recipe.decisive(),
            "data": {part.split: part.fingerprint for part in self.splits},
            "classes": list(self.splits.train.classes),
            "conditions": conditions(self.state.device),
        }


def conditions(device: torch.device) -> dict[str, Any]:
    """What the bits of a run depend on beside its recipe and data."""
    return {
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "tiny_numbers": "flushed" if _tiny_numbers_are_flushed() else "kept",
        "torch": torch.__version__,
        "tenfold": tenfold.__version__,
    }


def _tiny_numbers_are_flushed() -> bool:
    """Whether every thread takes numbers below the normal range for 0.

    Threads that were there before the setting was made do not know of it.
    """
    share_of_every_thread = torch.get_num_threads() * 2**16
    # Made and looked at as bits: as numbers, a thread that flushes would see zeros.
    tiny = torch.full((share_of_every_thread,), 1000, dtype=torch.int32).view(torch.float32)
    return not bool((tiny * 0.5).view(torch.int32).count_nonzero())


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
        raise UsageError(
            f"there is no device {printable(name)!r}", remedy=did_you_mean(name, DEVICES)
        )
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
    if not _tiny_numbers_are_flushed():
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


def prepare(
    recipe: Recipe,
    data: object,
    *,
    device: torch.device,
    data_root: Path | None = None,
    download: bool = True,
    progress: Progress | None = None,
) -> Prepared:
    """Read the data and build the model; call it inside `repeatable`.

    Args:
        recipe: what to do.
        data: see `load_splits`.
        device: where to train.
        data_root: a folder of known data sets.
        download: whether what is missing may be fetched.
        progress: told about long reading.

    Raises:
        DataError: the data cannot be read or trained on.
        UsageError: the recipe does not fit the data.
    """
    loaded = load_splits(
        data,
        data_root=data_root,
        image_size=recipe.image_size,
        channels=recipe.channels,
        test_fraction=recipe.test,
        download=download,
        progress=progress,
    )
    splits = with_validation(loaded.splits, recipe)
    recipe = _resolved(recipe, loaded)
    _require_fit(recipe, splits)
    train = splits.train
    preprocessing = Preprocessing.fitted_to(train.images) if recipe.normalize else Preprocessing()
    torch.manual_seed(derive_seed(recipe.seed, "model"))
    network = build(recipe.model, train.image_shape, len(train.classes), **recipe.model_args)
    model = nn.Sequential(preprocessing, network).to(device)
    state = TrainingState(
        model=model,
        optimizer=build_optimizer(
            recipe.optimizer,
            model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov,
            weight_decay=recipe.weight_decay,
        ),
        averaged=AveragedWeights(model, recipe.average_decay) if recipe.average_decay else None,
    )
    augmentation = Augmentation(recipe.seed, **recipe.augment.model_dump())
    return Prepared(
        recipe=recipe,
        splits=splits,
        preprocessing=preprocessing,
        network=network,
        state=state,
        schedule=_schedule(recipe, len(train)),
        augmentation=None if augmentation.changes_nothing else augmentation,
        notes=loaded.notes,
    )


def _resolved(recipe: Recipe, loaded: LoadedData) -> Recipe:
    """The recipe with what was left open settled: data, images' size and mode, model arguments."""
    channels, height, width = loaded.splits.train.image_shape
    if loaded.source != loaded.source.encode("utf-8", "replace").decode():
        raise DataError(
            f"{printable(loaded.source)}: the path is not UTF-8, so no recipe can name it",
            remedy="rename the folder",
        )
    return recipe.model_copy(
        update={
            "data": loaded.source,
            "image_size": (height, width),
            "channels": channels if channels in (1, 3) else None,
            "model_args": model_arguments(recipe.model, recipe.model_args),
        }
    )


def with_validation(splits: Splits, recipe: Recipe) -> Splits:
    """The splits with a part of the training images held out, where the recipe wants it.

    A data set that comes with a validation split keeps its own.
    """
    if splits.val is not None or not recipe.val:
        return splits
    train, val = split_stratified(splits.train, recipe.val, seed=recipe.seed, name="val")
    return Splits(train, val, splits.test)


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


def _schedule(recipe: Recipe, n: int) -> Schedule:
    return build_schedule(
        recipe.schedule,
        lr=recipe.lr,
        epochs=recipe.epochs,
        steps_per_epoch=math.ceil(n / recipe.batch_size),
        drop_every=recipe.drop_every,
        drop_factor=recipe.drop_factor,
        warmup_epochs=recipe.warmup_epochs,
    )


def _require_fit(recipe: Recipe, splits: Splits) -> None:
    if recipe.batch_size > len(splits.train):
        raise UsageError(
            f"batch_size is {recipe.batch_size:,}, but there are only {len(splits.train):,} "
            "training images",
            remedy=f"choose at most {len(splits.train)}",
        )
    if recipe.patience and splits.val is None:
        raise UsageError(
            f"patience is {recipe.patience}, but there is no validation split to judge epochs by",
            remedy="hold some out with --val 0.1, or set patience = 0",
        )
