"""How fast a model trains here, from a few steps of it."""

from __future__ import annotations

import time

from tenfold.training.watching import Standing, Watcher

ENOUGH_SECONDS = 2.0
"""A measurement is this long, after a first stretch of steps, which is slower than the others."""


class Pace(Watcher):
    """Measures the time of training steps; `is_known` says when to stop.

    Attributes:
        seconds_per_step: the mean so far, without the first stretch as soon as there is another.
    """

    def __init__(self) -> None:
        self.seconds_per_step = 0.0
        self._began = time.perf_counter()
        self._first: tuple[int, float] | None = None

    def advanced(self, standing: Standing) -> None:
        """Note the time."""
        now = time.perf_counter()
        if self._first is None:
            self._first = standing.step, now
            self.seconds_per_step = (now - self._began) / standing.step
        else:
            step, began = self._first
            self.seconds_per_step = (now - began) / (standing.step - step)

    def is_known(self) -> bool:
        """Whether the measurement has been long enough."""
        return self._first is not None and time.perf_counter() - self._first[1] > ENOUGH_SECONDS
