"""Learning-rate schedules: pure functions from a step to a learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from tenfold.errors import UsageError, did_you_mean

Schedule = Callable[[int], float]
"""From the number of steps taken so far to the learning rate of the next one."""


def constant(step: int, *, lr: float) -> float:
    """The same learning rate always."""
    del step
    return lr


def cosine(step: int, *, lr: float, total_steps: int) -> float:
    """Half a cosine from `lr` down to 0 (Loshchilov and Hutter, arXiv:1608.03983, one cycle).

    >>> [round(cosine(step, lr=0.1, total_steps=4), 4) for step in range(5)]
    [0.1, 0.0854, 0.05, 0.0146, 0.0]
    """
    return _between(lr, 0.0, min(step / total_steps, 1.0))


def step_decay(step: int, *, lr: float, steps_per_drop: int, factor: float) -> float:
    """`lr` multiplied by `factor` after every `steps_per_drop` steps.

    >>> [step_decay(step, lr=1.0, steps_per_drop=2, factor=0.5) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    return lr * factor ** (step // steps_per_drop)


def one_cycle(step: int, *, lr: float, total_steps: int, rising: float = 0.3) -> float:
    """Up from lr/25 to `lr`, then down to almost 0, both along half a cosine.

    Smith and Topin, "Super-Convergence", arXiv:1708.07120, with the shape that PyTorch's
    `OneCycleLR` gives it by default; momentum is left alone.
    """
    lowest, last = lr / 25, lr / 25 / 1e4
    peak = rising * total_steps - 1
    if step <= peak:
        return _between(lowest, lr, step / peak if peak > 0 else 1.0)
    return _between(lr, last, min((step - peak) / (total_steps - 1 - peak), 1.0))


def _between(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine, of which this share is done."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class ScheduleEntry:
    """A schedule that has a name.

    Attributes:
        build: from `lr`, `total_steps`, `steps_per_epoch` and the options of all schedules by
            keyword.
        own: the options that not every schedule has, each a key of the recipe, with defaults.
    """

    build: Callable[..., Schedule]
    own: Mapping[str, int | float] = field(default_factory=dict)


SCHEDULES: dict[str, ScheduleEntry] = {
    "constant": ScheduleEntry(lambda lr, **_: partial(constant, lr=lr)),
    "cosine": ScheduleEntry(
        lambda lr, total_steps, **_: partial(cosine, lr=lr, total_steps=total_steps)
    ),
    "step": ScheduleEntry(
        lambda lr, steps_per_epoch, drop_every, drop_factor, **_: partial(
            step_decay, lr=lr, steps_per_drop=drop_every * steps_per_epoch, factor=drop_factor
        ),
        own={"drop_every": 10, "drop_factor": 0.1},
    ),
    "one-cycle": ScheduleEntry(
        lambda lr, total_steps, **_: partial(one_cycle, lr=lr, total_steps=total_steps)
    ),
}
"""Every schedule that has a name."""


def build_schedule(
    name: str,
    *,
    lr: float,
    epochs: int,
    steps_per_epoch: int,
    drop_every: int = 10,
    drop_factor: float = 0.1,
    warmup_epochs: float = 0.0,
) -> Schedule:
    """A schedule by name, with an optional linear warm-up laid over its beginning.

    Args:
        name: one of `SCHEDULES`.
        lr: the highest learning rate.
        epochs: over how many epochs the whole schedule stretches.
        steps_per_epoch: at least 1.
        drop_every: for `step`, epochs between two drops.
        drop_factor: for `step`, what the learning rate is multiplied by.
        warmup_epochs: over how many epochs a factor rises from nearly 0 to 1.

    Raises:
        UsageError: the name is not known.
    """
    if name not in SCHEDULES:
        raise UsageError(f"there is no schedule {name!r}", remedy=did_you_mean(name, SCHEDULES))
    schedule = SCHEDULES[name].build(
        lr=lr,
        total_steps=max(1, epochs * steps_per_epoch),
        steps_per_epoch=steps_per_epoch,
        drop_every=drop_every,
        drop_factor=drop_factor,
    )
    warmup = warmup_epochs * steps_per_epoch
    if not warmup:
        return schedule
    return lambda step: schedule(step) * min(1.0, (step + 1) / warmup)
