"""The number of threads that a run computes with, and PyTorch's threads after a fork.

A fork copies PyTorch's record of its threads, but not the threads, and PyTorch then waits for them
forever. So a process that was forked after several threads were used has only one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tenfold.errors import UsageError
from tenfold.native.threads import pytorch_threads


class _Process:
    """What tenfold knows of this process and those it was forked from.

    Attributes:
        has_used_threads: whether tenfold has used several threads of PyTorch's in it.
        lost_threads: whether that is true of a process it was forked from.
        of_run: the threads of the run that is going on; 0 if there is none.
    """

    has_used_threads = False
    lost_threads = False
    of_run = 0

    @classmethod
    def forked(cls) -> None:
        """Begin anew in a forked child."""
        cls.lost_threads = cls.lost_threads or cls.has_used_threads
        cls.has_used_threads = False
        cls.of_run = 0


def run_threads() -> int:
    """The number of threads to compute with: the run's inside `computing_with`, else PyTorch's."""
    return _Process.of_run or pytorch_threads()


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Set the number of threads for what is computed inside the block."""
    use_threads(threads)
    before, _Process.of_run = _Process.of_run, threads
    try:
        yield
    finally:
        _Process.of_run = before


def use_threads(threads: int) -> None:
    """Note that PyTorch is about to compute with threads; see `require_threads`."""
    require_threads(threads)
    _Process.has_used_threads = _Process.has_used_threads or threads > 1


def require_threads(threads: int) -> None:
    """Refuse threads that PyTorch would wait for in vain.

    Threads that a program used without tenfold are not known.

    Args:
        threads: number of threads that PyTorch is about to use.

    Raises:
        UsageError: there are several, and the process was forked from one that had used several.
    """
    if threads > 1 and _Process.lost_threads:
        raise UsageError(
            "this process was forked from one that had used several threads, so PyTorch can only "
            f"use one here, not {threads}",
            remedy="choose threads=1 or call torch.set_num_threads(1), or start processes with "
            "multiprocessing's method spawn",
        )


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Process.forked)
