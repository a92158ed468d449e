"""What a network changes with every batch that no checkpoint keeps."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tenfold.errors import listing
from tenfold.models.mistakes.explaining import explained
from tenfold.models.mistakes.trial import same_randomness
from tenfold.models.remembering import RandomStates, changes_in, memory_of


def forgotten_in_training(network: nn.Module, images: Tensor) -> list[str]:
    """In words, what changes with every batch that no checkpoint keeps.

    The images pass twice, from the same state dict and the same random states. What is only kept of
    a batch is the same after both, and so are the outputs. Call this inside `undone`.

    Args:
        network: in training mode.
        images: a batch.

    Raises:
        UsageError: the network fails.
    """
    kind, state = type(network).__name__, network.state_dict()
    contents = {name: value.clone() for name, value in state.items()}
    passes = []
    for _ in range(2):
        with torch.no_grad():
            for name, value in network.state_dict().items():
                value.copy_(contents[name])
        passes.append(_one_pass(network, images, contents))
    first, second = passes
    changed = changes_in(first.memory, second.memory)
    found = []
    if first.drawn:
        found.append(
            f"{kind} draws random numbers from {listing(first.drawn)}, so the same run does not "
            "end the same, and a resumed one not like one that never stopped; draw them with "
            "torch.rand and the like"
        )
    if changed := [name for name in changed if name not in first.drawn]:
        found.append(
            f"{kind}.forward changes {listing(changed, 4)}, which no checkpoint keeps, so a "
            "resumed run may not end like one that never stopped; keep numbers in a buffer: "
            "self.register_buffer(...)"
        )
    elif not first.drawn and not are_close(first.output, second.output, 1e-6):
        found.append(
            f"{kind} gives the same images another output after other batches, so it remembers "
            "what no checkpoint keeps, and a resumed run does not end like one that never stopped; "
            "keep it in a buffer: self.register_buffer(...)"
        )
    return found


@dataclass(frozen=True)
class _Pass:
    """What is seen of one pass of images.

    Attributes:
        output: of the network.
        drawn: the names of sources of random numbers that were used, besides PyTorch's own.
        memory: what the network remembers after it, also in buffers that are not saved.
    """

    output: Tensor
    drawn: list[str]
    memory: dict[str, object]


def _one_pass(network: nn.Module, images: Tensor, saved: Collection[str]) -> _Pass:
    """Pass images through a network; the random states are afterwards as they were."""
    states = RandomStates(network)
    with same_randomness(network):
        with torch.enable_grad(), explained(network, images):
            output = network(images.clone()).detach()  # it may change its input in place
        drawn = states.drawn_until(RandomStates(network))
    buffers = {f"self.{name}": each for name, each in network.named_buffers() if name not in saved}
    contents = {name: _bytes_of(each) for name, each in buffers.items()}
    return _Pass(output, drawn, {**memory_of(network), **contents})


def _bytes_of(tensor: Tensor) -> np.ndarray:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().copy()


def are_close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    """Whether outputs differ by no more than a tolerance, absolute and relative."""
    return one.shape == other.shape and torch.allclose(
        one, other, rtol=tolerance, atol=tolerance, equal_nan=True
    )
