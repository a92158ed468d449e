"""A plot that grows while training: in place in a notebook, elsewhere in a file.

Drawing takes only a small share of the time, and its failures never stop the training.
"""

from __future__ import annotations

import atexit
import importlib
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, SupportsFloat

from matplotlib.figure import Figure
from torch import Tensor

from tenfold.errors import StorageError, UsageError, printable
from tenfold.reporting.plots import SHOWN_TEST, Curves, curves_figure, history_curves
from tenfold.reporting.style import PIXELS_PER_INCH, figure_bytes, picture_format, save_figure
from tenfold.reporting.terminal import DECIDES_NOTHING, PLOT_NAME, PlainWatcher
from tenfold.scratch import Epoch
from tenfold.storage import absolute
from tenfold.training.history import EpochMetrics
from tenfold.training.watching import Watcher

SECONDS_BETWEEN_REDRAWS = 0.5
"""The minimum."""

SHARE_OF_TIME = 0.05
"""Maximum share of time spent drawing: after a slow redraw, the wait is longer."""


class LivePlot(Watcher):
    """Losses, accuracies and any other curves over the epochs, redrawn as epochs end.

    In a notebook it is one output under the cell, updated in place and stored with the notebook
    as an image. With a path it is also written there. Outside a notebook and without a path it is
    written to `training.png`, in the run's folder or, when used by hand, the working directory.

    Use it as the `watcher` of a run, as the `watch` of `tenfold.scratch.train`, or by hand with
    `add`. Some epochs may be drawn late, but the last one is always drawn: immediately if
    `epochs` is known, otherwise when the run, the notebook cell or the program ends.

    Args:
        path: a file that ends in `.png` or `.svg`.
        epochs: total number of epochs, if known.
        tell: called with a sentence that says where the plot is, unless a path was given, and
            once if it cannot be drawn; prints to standard error by default.

    Raises:
        UsageError: the path ends in something else.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        epochs: float | int | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.path = None if path is None else absolute(Path(path))
        if self.path is not None:
            picture_format(self.path)
        self.epochs = epochs
        self._tell = tell or PlainWatcher().note
        self._path_is_given = path is not None
        self._has_drawn = False
        self._has_failed = False
        self._cancel_postponed: Callable[[], None] | None = None
        self._begin()

    def add(
        self,
        epoch: float | int,
        **figures: SupportsFloat | None,
    ) -> None:
        """Add figures of an epoch, by any names; those that are None are left out.

        Figures whose names differ only in the split, such as `train_loss` and `val_loss` (`train_`,
        `val_`, `test_`), share a plot; all others have one each. `acc` and what ends with `_acc`
        are shares, 0..1. An epoch lower than the last one starts a new plot, for example when a
        cell is run again.

        Raises:
            UsageError: a figure is not a number, or an accuracy is not in 0..1.
        """
        if not math.isfinite(epoch):
            raise UsageError(f"plot: the epoch is {epoch}, wanted a number")
        curves = {
            name: {epoch: _number(name, value)}
            for name, value in figures.items()
            if value is not None
        }
        if epoch < self._last_epoch:
            self._begin()
        self._take(epoch, curves)

    def __call__(self, figures: Epoch) -> None:
        """Add the figures of an epoch of `tenfold.scratch.train`."""
        self.add(**figures._asdict())

    def started(self, folder: Path | None, history: Sequence[EpochMetrics]) -> None:
        """Start a new plot with the finished epochs."""
        self._begin(history)
        self._is_of_run = True
        if not self._path_is_given and not in_notebook() and folder is not None:
            self.path = folder / PLOT_NAME

    def epoch_done(self, metrics: EpochMetrics, epochs: int) -> None:
        """Add the epoch's figures."""
        self.epochs, self._is_of_run = epochs, True
        self._take(metrics.epoch, history_curves([metrics]))

    def ended(self) -> None:
        """Draw what is not drawn yet, without room for further epochs."""
        stopped_early = self.epochs is not None and self._last_epoch < self.epochs
        self.epochs = None
        if stopped_early or self._cancel_postponed is not None:
            self.draw()

    def draw(self) -> None:
        """Redraw the plot now; a failure is reported once and not raised."""
        if self._cancel_postponed is not None:
            self._cancel_postponed()
            self._cancel_postponed = None
        if not self.curves:
            return
        started = time.perf_counter()
        try:
            self._show()
        except Exception as error:  # noqa: BLE001 - a plot must not end hours of training
            self._complain(error)
        now = time.perf_counter()
        # The first plot takes longer, because it loads the fonts, so its time does not count.
        cost = now - started if self._has_drawn else 0.0
        self._has_drawn = True
        self._next_draw = now + max(SECONDS_BETWEEN_REDRAWS, cost / SHARE_OF_TIME)

    def _begin(self, history: Sequence[EpochMetrics] = ()) -> None:
        """Start over with these epochs, and leave the existing output under the cell unchanged."""
        if self._cancel_postponed is not None:
            self.draw()
        self._is_of_run = False
        self.curves = history_curves(history)
        self._last_epoch: float | int = max((m.epoch for m in history), default=-math.inf)
        self._output = _Output()
        self._next_draw = 0.0

    def _take(self, epoch: float | int, curves: Curves) -> None:
        """Add an epoch's figures to the plot, and draw it now or later."""
        for name, points in curves.items():
            self.curves.setdefault(name, {}).update(points)
        self._last_epoch = max(self._last_epoch, epoch)
        is_last = self.epochs is not None and epoch >= self.epochs
        if is_last or time.perf_counter() >= self._next_draw:
            self.draw()
        elif self._cancel_postponed is None:
            self._postpone()

    def _postpone(self) -> None:
        """Make sure that the plot is drawn when the cell or the program ends."""
        if in_notebook():
            events = _shell().events
            events.register("post_run_cell", self._cell_ended)
            self._cancel_postponed = lambda: events.unregister("post_run_cell", self._cell_ended)
        else:
            atexit.register(self.draw)
            self._cancel_postponed = lambda: atexit.unregister(self.draw)

    def _cell_ended(self, _result: object) -> None:
        self.draw()

    def _show(self) -> None:
        label = SHOWN_TEST if self._is_of_run else "test"
        figure = curves_figure(self.curves, epochs=self.epochs, test_label=label)
        if in_notebook():
            self._output.show(figure, self._in_words())
        elif self.path is None:
            self.path = absolute(Path(PLOT_NAME))
            self._tell(f"plotting to {printable(self.path)}")
        if self.path is not None:
            save_figure(figure, self.path)

    def _in_words(self) -> str:
        """The newest figures as alternative text."""
        newest = [
            f"{name} {points[max(points)]:.4f}"
            f"{f' ({DECIDES_NOTHING})' if self._is_of_run and name.startswith('test_') else ''}"
            for name, points in self.curves.items()
        ]
        return f"Plot of the training up to epoch {self._last_epoch}: {', '.join(newest)}"

    def _complain(self, error: Exception) -> None:
        if self._has_failed:
            return
        self._has_failed = True
        reason = str(error) if isinstance(error, StorageError) else repr(error)
        self._tell(f"the plot could not be drawn, training continues without it: {reason}")


def show_figure(figure: Figure, path: str | Path | None = None, *, alt: str = "") -> None:
    """Show a figure under the notebook cell, and write it to a file if a path is given.

    Args:
        figure: one not created by pyplot, such as those of `tenfold.reporting.plots`.
        path: a file that ends in `.png` or `.svg`; required outside a notebook.
        alt: alternative text.

    Raises:
        UsageError: there is neither a notebook nor a path, or the path has another ending.
        StorageError: the file cannot be written.
    """
    if path is not None:
        save_figure(figure, path)
    if in_notebook():
        _Output().show(figure, alt)
    elif path is None:
        raise UsageError(
            "not in a notebook, so the figure cannot be shown",
            remedy="name a file to write it to, such as path='figure.png'",
        )


def in_notebook() -> bool:
    """Whether this runs in a notebook's kernel; IPython in a terminal does not count."""
    return getattr(_shell(), "kernel", None) is not None


def _shell() -> Any:  # noqa: ANN401 - IPython's, if it is there
    # A kernel has imported IPython already, so there is no need to import it here.
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


class _Output:
    """One output under a notebook cell, updated in place."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, figure: Figure, alt: str) -> None:
        display = importlib.import_module("IPython.display")
        width, height = (round(inches * PIXELS_PER_INCH) for inches in figure.get_size_inches())
        image = display.Image(
            data=figure_bytes(figure, "png"), format="png", width=width, height=height, alt=alt
        )
        if self._handle is None:
            self._handle = display.display(image, display_id=True)
        else:
            self._handle.update(image)


def _number(name: str, value: SupportsFloat) -> float:
    try:
        number = float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"plot: {name} is {value!r}, wanted one number") from error
    if (name == "acc" or name.endswith("_acc")) and not 0 <= number <= 1:
        raise UsageError(
            f"plot: {name} is {number:g}, wanted a number in 0..1",
            remedy="divide the number of correct predictions by the number of images",
        )
    return number
