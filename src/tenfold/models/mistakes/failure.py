"""What is known about an exception that a learner's code raised."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor, nn

from tenfold.errors import UsageError
from tenfold.models.mistakes.naming import called, sizes
from tenfold.models.mistakes.tracebacks import Place
from tenfold.models.mistakes.trial import Shape, Trial, learners_part, try_out

_ENOUGH = 2
"""Images in a trial: with one, a mixed-up batch would not show."""


class Failure:
    """An exception, and what the network was doing.

    Args:
        error: with its traceback.
        network: what was called; anything.
        images: its input; anything.
        labels: anything.

    Attributes:
        network: the learner's network; None if it is not a module.
        place: where it was raised.
        layer: the innermost module that was running; the network if none was.
        taken: that layer's input.
    """

    def __init__(self, error: Exception, network: object, images: object, labels: object) -> None:
        self.error, self.images, self.labels = error, images, labels
        self._called = network if isinstance(network, nn.Module) else None
        self.network = None if self._called is None else learners_part(self._called)
        self.place = Place(error)
        self.layer, self.taken = self.place.layer or self.network, self.place.taken

    @property
    def first_line(self) -> str:
        """What PyTorch says."""
        return str(self.error).partition("\n")[0]

    @property
    def layer_name(self) -> str:
        """The running layer, in a sentence."""
        return "the network" if self.layer is None else called(self.network, self.layer)

    @cached_property
    def trial(self) -> Trial:
        """What the network does with two of the images."""
        if self._called is None or not isinstance(self.images, Tensor):
            return Trial((), (), None, failed=True)
        return try_out(self._called, self.images[:_ENOUGH])

    def explained_by(self, found: str, *, remedy: str) -> UsageError:
        """The error to raise in its place: where, what was found, what was wanted."""
        where = f"{self.place.line}: " if self.place.line else ""
        return UsageError(f"{where}{found}", remedy=remedy)

    def source_of(self, numbers: int) -> str:
        """What gave so many numbers per image to the running layer; empty if that is not known."""
        candidates: list[tuple[str, Shape]] = []
        if isinstance(self.images, Tensor):
            candidates.append(("the images", tuple(self.images.shape)))
        for source, shape in self.trial.results:
            name = source if isinstance(source, str) else called(self.network, source)
            candidates.append((name, shape))
        for name, shape in reversed(candidates):
            if len(shape) > 2 and torch.Size(shape[1:]).numel() == numbers:
                if name == "the images":
                    return f"the images are {sizes(shape)}, which is {numbers} numbers"
                return f"{name} gives {sizes(shape)}, which is {numbers} numbers"
        before = next((call for call in reversed(self.trial.calls) if call.given), None)
        if before is None or before.given is None or before.given[1:] != (numbers,):
            return ""
        return f"{called(self.network, before.layer)} gives {numbers}"
