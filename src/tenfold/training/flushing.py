"""An engine whose steps flush denormals to zero, without changing that for the caller."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Int64
from torch import Tensor

from tenfold.data.dataset import ImageDataset
from tenfold.evaluation.flushing import FlushingThread
from tenfold.tensors import Images, Logits
from tenfold.training.engine import Engine, MakeEngine, StepSettings, Stretch
from tenfold.training.state import TrainingState


class FlushingEngine(Engine):
    """Another engine, run in a thread that flushes denormals.

    Args:
        kind: creates the other engine.
        state: see `Engine`.
        data: see `Engine`.
        settings: see `Engine`.
    """

    def __init__(
        self,
        kind: MakeEngine,
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
        compute, batches = self._engine.logits_as_it_is, torch.split(images, batch_size)
        with self.final_weights_in_place():  # Ctrl-C waits for one batch only
            return torch.cat([self._thread(compute, one, batch_size) for one in batches])

    def close(self) -> None:
        """See `Engine`."""
        try:
            self._thread(self._engine.close)
        finally:
            self._thread.close()
