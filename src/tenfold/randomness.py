"""Keyed randomness.

Every random choice of a run is a function of (seed, purpose, epoch, ...), never of how many
numbers were drawn before. So resuming, logging and the number of workers cannot affect it.
"""

from __future__ import annotations

import hashlib

import numpy as np
from jaxtyping import Int64


def derive_seed(seed: int, *key: str | int) -> int:
    """A seed for one purpose, 0 <= value < 2**63, the same on every machine.

    Args:
        seed: the run's seed, any integer.
        key: the purpose, such as `"order", epoch`.
    """
    text = "/".join(str(part) for part in (seed, *key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def keyed_permutation(n: int, seed: int, *key: str | int) -> Int64[np.ndarray, " n"]:
    """A random permutation of 0..n-1 that depends only on seed and key.

    The same permutation as `torch.randperm` with a generator seeded by `derive_seed`, for fewer
    than 200 million numbers: swaps from the front, driven by the 32-bit Mersenne Twister
    (Matsumoto and Nishimura, 1998).
    """
    twister = np.random.RandomState(derive_seed(seed, *key) % 2**32)
    left = np.arange(n, 1, -1, dtype=np.uint32)
    steps = twister.randint(0, 2**32, len(left), np.uint32) % left
    order = list(range(n))
    for place, step in enumerate(steps.tolist()):
        other = place + step
        order[place], order[other] = order[other], order[place]
    return np.array(order, dtype=np.int64)
