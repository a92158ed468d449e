"""PyTorch's threads in processes made by a fork.

A fork copies PyTorch's record of its threads, but not the threads, and PyTorch then waits for them
forever. So a process that was forked after several threads were used has only one.
"""

from __future__ import annotations

import os

from tenfold.errors import UsageError


class _Process:
    """What tenfold knows of this process and those it was forked from.

    Attributes:
        has_used_threads: whether tenfold has used several threads of PyTorch's in it.
        lost_threads: whether that is true of a process it was forked from.
    """

    has_used_threads = False
    lost_threads = False

    @classmethod
    def forked(cls) -> None:
        """Begin anew in a forked child."""
        cls.lost_threads = cls.lost_threads or cls.has_used_threads
        cls.has_used_threads = False


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
