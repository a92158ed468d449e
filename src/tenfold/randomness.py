"""Randomness that is keyed, not consumed.

What is random in a run is a function of (seed, purpose, epoch, ...), never of how many numbers
were drawn before. So resuming, logging and the number of workers cannot disturb it.
"""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *key: str | int) -> int:
    """A seed for one purpose, 0 <= value < 2**63, the same on every machine.

    Args:
        seed: the run's seed, any integer.
        key: what the numbers are for, such as `"order", epoch`.
    """
    text = "/".join(str(part) for part in (seed, *key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def keyed_generator(seed: int, *key: str | int) -> torch.Generator:
    """A CPU generator that starts at `derive_seed(seed, *key)`."""
    return torch.Generator().manual_seed(derive_seed(seed, *key))
