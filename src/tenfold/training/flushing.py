"""An engine whose steps flush denormals to zero, without changing that for the caller."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Int64
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.evaluation.flushing import FlushingThread, logits_in
from tenfold.tensors import Images, Logits
from tenfold.training.engine import Engine, StepSettings, Stretch
from tenfold.training.state import TrainingState


class FlushingEngine(Engine):
    """Another engine, run in a thread that flushes denormals.

    Args:
        kind: the other engine's class.
        state: see `Engine`.
        data: see `Engine`.
        settings: see `Engine`.
    """

    def __init__(
        self,
        kind: type[Engine],
        state: TrainingState,
        data: ImageDataset,
        settings: StepSettings,
    ) -> None:
        super().__init__(state, data, settings)
        self._thread = FlushingThread()
        try:
            self._engine = self._thread(kind, state, data, settings)
        except BaseException:
            self._thread.close()
            raise

    def begin_epoch(self, epoch: int, order: Int64[Tensor, " n"]) -> None:
        """See `Engine`."""
        self._thread(self._engine.begin_epoch, epoch, order)

    def advance(
        self, first: int, learning_rates: Sequence[float], *, gradient_norms: bool = False
    ) -> Stretch:
        """See `Engine`."""
        return self._thread(
            self._engine.advance, first, learning_rates, gradient_norms=gradient_norms
        )

    def logits(self, images: Images, batch_size: int) -> Logits:
        """See `Engine`."""
        model, acceleration = self.state.model, self.settings.acceleration
        with self.state.final_weights_in_place(), acceleration.evaluating(model):
            return logits_in(self._thread, self.state.model, images, batch_size)

    def close(self) -> None:
        """See `Engine`."""
        try:
            self._thread(self._engine.close)
        finally:
            self._thread.close()
