"""What a run may use, and the block inside which using it gives the same bits every time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from tenfold.errors import UsageError, did_you_mean
from tenfold.runs.facts import RunFacts
from tenfold.training.engines import AUTO, ENGINES, require_engine
from tenfold.training.native_engine import NativeEngine
from tenfold.training.torch_engine import TorchEngine

DEVICES = ("auto", "cpu", "cuda", "mps")

MOST_THREADS = 1024

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@dataclass(frozen=True)
class Resources:
    """What a run may use: a folder of data sets, the network, a device, threads, an engine.

    Attributes:
        data_root: a folder of known data sets; None for the run's own, then for the one that
            `TENFOLD_DATA` names.
        download: whether a known data set that is missing may be fetched.
        device: `auto`, `cpu`, `cuda` or `mps`; empty for the run's own, in a new run for `auto`.
        threads: of a CPU; None for as many as the run had, in a new run for half the cores, at
            least two.
        engine: `auto`, `native` or `torch`; empty for the run's last one, in a new run for
            `auto`.
    """

    data_root: Path | None = None
    download: bool = True
    device: str = ""
    threads: int | None = None
    engine: str = ""

    def or_those_of(self, facts: RunFacts, data: object) -> Resources:
        """These, with what the run used in the place of what is not given.

        The run's folder of data sets is only for its own data.

        Args:
            facts: the run's.
            data: what is read; None for the run's own.
        """
        is_own = data is None or (isinstance(data, str) and data == facts.data.source)
        root = Path(facts.data.root) if is_own and facts.data.root is not None else None
        if root is not None and not root.is_dir():
            root = None  # it has moved; `TENFOLD_DATA` may say where
        return Resources(
            data_root=self.data_root or root,
            download=self.download,
            device=self.device or facts.conditions.device_kind,
            threads=facts.conditions.threads if self.threads is None else self.threads,
            engine=self.engine or _like(facts.conditions.engine),
        )

    def require_known_engine(self) -> None:
        """Refuse an engine that there is not.

        Raises:
            UsageError: with the nearest one.
        """
        require_engine(self.engine or AUTO)

    @contextmanager
    def repeatable(self) -> Iterator[torch.device]:
        """Gives the device, and the same run the same bits, until the caller's settings return.

        The settings and the random numbers belong to the process, so one thread at a time can be
        inside; it may enter again, as a watcher does that evaluates while its run is training.

        Raises:
            UsageError: a device or engine that is not there, a wrong number of threads, or another
                thread is inside.
        """
        device = choose_device(self.device or "auto")
        self.require_known_engine()
        if self.threads is not None and not (
            type(self.threads) is int and 1 <= self.threads <= MOST_THREADS
        ):
            raise UsageError(
                f"threads is {self.threads!r}, wanted a whole number, 1..{MOST_THREADS}"
            )
        with _only_thread():
            cudnn, threads_before = torch.backends.cudnn, torch.get_num_threads()
            deterministic, benchmark = cudnn.deterministic, cudnn.benchmark
            cublas = os.environ.get(_CUBLAS)
            devices = [torch.cuda.current_device()] if device.type == "cuda" else []
            try:
                torch.set_num_threads(self.threads or usual_threads(threads_before))
                cudnn.deterministic, cudnn.benchmark = True, False
                os.environ.setdefault(_CUBLAS, ":4096:8")  # cuBLAS is deterministic only with it
                with torch.random.fork_rng(devices=devices):
                    yield device
            finally:
                torch.set_num_threads(threads_before)
                cudnn.deterministic, cudnn.benchmark = deterministic, benchmark
                if cublas is None:
                    os.environ.pop(_CUBLAS, None)


USUAL = Resources()
"""What a run uses if nobody says."""


class _Inside:
    """Held by the thread that is inside `Resources.repeatable`."""

    lock = threading.RLock()

    @classmethod
    def forget(cls) -> None:
        """In a child process: the thread that held the lock may not have come along."""
        cls.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_Inside.forget)


@contextmanager
def _only_thread() -> Iterator[None]:
    lock = _Inside.lock
    if not lock.acquire(blocking=False):
        raise UsageError(
            "another thread of this process is training or evaluating, and the two would change "
            "each other's results",
            remedy="run them one after the other, or each in a process of its own",
        )
    try:
        yield
    finally:
        lock.release()


def _like(began: str) -> str:
    """The engine to ask for where one of this name began: PyTorch goes on where it is gone."""
    if began == NativeEngine.name:
        return AUTO
    return began if began in ENGINES else TorchEngine.name


def choose_device(name: str) -> torch.device:
    """The device that a name means; `auto` takes a GPU where there is one.

    Raises:
        UsageError: an unknown name, or a device that is not there.
    """
    if name not in DEVICES:
        raise UsageError(f"there is no device {name!r}", remedy=did_you_mean(name, DEVICES))
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[name]:
        raise UsageError(
            f"device {name} is not available here",
            remedy="choose --device auto, or install a PyTorch build that supports it",
        )
    return torch.device(name)


def usual_threads(most: int) -> int:
    """How many threads a run has if nobody says: half the cores, at least two if there are two.

    Work this small is cut into pieces of microseconds, and every piece waits for the slowest
    thread: as soon as anything else wants a core, a thread on every core is many times slower
    than a few.

    Args:
        most: what PyTorch was told, or has found.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(most, max(2, (cores or 1) // 2))
