"""Learning-rate schedules: pure functions from step to learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from tenfold.errors import UsageError, did_you_mean

Schedule = Callable[[int], float]
"""From the number of steps taken so far to the learning rate of the next one."""


def constant(step: int, *, lr: float) -> float:
    """A constant learning rate."""
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

    Smith and Topin, "Super-Convergence", arXiv:1708.07120, with the default shape of PyTorch's
    `OneCycleLR`; momentum is unchanged.
    """
    lowest, last = lr / 25, lr / 25 / 1e4
    peak = rising * total_steps - 1
    if step <= peak:
        return _between(lowest, lr, step / peak if peak > 0 else 1.0)
    return _between(lr, last, min((step - peak) / (total_steps - 1 - peak), 1.0))


def _between(start: float, end: float, share: float) -> float:
    """The value between start and end at this fraction of half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True)
class ScheduleEntry:
    """An entry in the table of schedules.

    Attributes:
        build: from the keywords `lr`, `total_steps`, `steps_per_epoch` and the options of all
            schedules.
        own: options that not every schedule has, with defaults; each is a recipe key.
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
"""The schedules by name."""


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
    """A schedule by name, multiplied by an optional linear warmup.

    Args:
        name: one of `SCHEDULES`.
        lr: the highest learning rate.
        epochs: length of the whole schedule in epochs.
        steps_per_epoch: at least 1.
        drop_every: for `step`, epochs between drops.
        drop_factor: for `step`, the factor of each drop.
        warmup_epochs: epochs over which the warmup factor rises from nearly 0 to 1.

    Raises:
        UsageError: the name is unknown.
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
