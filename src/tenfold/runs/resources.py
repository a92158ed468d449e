"""The resources a run may use, and the context that makes results bit-for-bit repeatable."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.errors import UsageError, did_you_mean
from tenfold.evaluation.threads import computing_with, run_threads
from tenfold.models.own import OwnModel
from tenfold.models.own_files import refuse_while_a_file_is_run
from tenfold.native import waiting
from tenfold.native.threads import MOST_THREADS, available_cores
from tenfold.paths import is_folder
from tenfold.runs.facts import Beginnings
from tenfold.training.engine_table import AUTO, ENGINES, NATIVE, TORCH, require_engine

if TYPE_CHECKING:
    from torch import device as TorchDevice  # noqa: N812
else:
    TorchDevice = Any

CPU = "cpu"

DEVICES = ("auto", CPU, "cuda", "mps")

_CUBLAS = "CUBLAS_WORKSPACE_CONFIG"


@dataclass(frozen=True)
class Resources:
    """What a run may use: a data set folder, the internet, a device, threads, an engine, code.

    Attributes:
        data_root: a folder of known data sets; None for the run's own, then `TENFOLD_DATA`.
        download: whether missing known data sets may be downloaded.
        device: `auto`, `cpu`, `cuda` or `mps`; empty for the run's own, or `auto` for a new run.
        threads: CPU threads; None for the run's own number, or for a new run half the cores, at
            least two.
        engine: `auto`, `native` or `torch`; empty for the run's last one, or `auto` for a new
            run.
        own: the user's own code that may be run, which makes the network; None for none.
    """

    data_root: Path | None = None
    download: bool = True
    device: str = ""
    threads: int | None = None
    engine: str = ""
    own: OwnModel | None = None

    def with_defaults_from(self, facts: Beginnings, data: object) -> Resources:
        """A copy whose unset values are those that the run used.

        The run's data set folder is used only for its own data.

        Args:
            facts: the run's.
            data: the data to read; None for the run's own.
        """
        is_own = data is None or (isinstance(data, str) and data == facts.data.source)
        root = Path(facts.data.root) if is_own and facts.data.root is not None else None
        if root is not None and not is_folder(root):
            root = None  # it has moved, maybe to where `TENFOLD_DATA` points
        return Resources(
            data_root=self.data_root or root,
            download=self.download,
            device=self.device or facts.conditions.device_kind,
            threads=facts.conditions.threads if self.threads is None else self.threads,
            engine=self.engine or _like(facts.conditions.engine),
            own=self.own,
        )

    def require_valid(self) -> None:
        """Refuse an unknown engine, an impossible number of threads, and a file that is run.

        Raises:
            UsageError: says which, and what was wanted.
        """
        refuse_while_a_file_is_run()
        require_engine(self.engine or AUTO)
        if self.threads is not None and not (
            type(self.threads) is int and 1 <= self.threads <= MOST_THREADS
        ):
            raise UsageError(
                f"threads is {self.threads!r}, wanted a whole number, 1..{MOST_THREADS}"
            )

    @property
    def prefer_kernels(self) -> bool:
        """Whether an evaluation should be computed by the kernels if they can.

        They compute on the CPU, so not if another device is wanted, or may be.
        """
        return self.device in ("", CPU) and self.engine in ("", AUTO)

    @contextmanager
    def repeatable(self) -> Iterator[TorchDevice]:
        """Yield the device; inside, the same run gives the same bits. Restores settings on exit.

        Settings and random state are global to the process, so only one thread can be inside at a
        time. It may re-enter, as a watcher does that evaluates during training.

        Raises:
            UsageError: the device or engine is not available, the number of threads is invalid or
                impossible after a fork, or another thread is inside.
        """
        import torch

        device = torch.device(choose_device(self.device or "auto"))
        self.require_valid()
        with _only_thread():
            cudnn, threads_before = torch.backends.cudnn, torch.get_num_threads()
            threads = self.threads or usual_threads()
            deterministic, benchmark = cudnn.deterministic, cudnn.benchmark
            cublas = os.environ.get(_CUBLAS)
            devices = [torch.cuda.current_device()] if device.type == "cuda" else []
            try:
                _set_threads(threads, in_own_thread=device.type == CPU)
                cudnn.deterministic, cudnn.benchmark = True, False
                os.environ.setdefault(_CUBLAS, ":4096:8")  # without it cuBLAS is not deterministic
                with computing_with(threads), torch.random.fork_rng(devices=devices):
                    yield device
            finally:
                torch.set_num_threads(threads_before)
                cudnn.deterministic, cudnn.benchmark = deterministic, benchmark
                if cublas is None:
                    os.environ.pop(_CUBLAS, None)


USUAL = Resources()
"""The defaults."""


class _Inside:
    """The lock of the thread that is inside `Resources.repeatable`."""

    lock = threading.RLock()

    @classmethod
    def forget(cls) -> None:
        """Reset the lock in a forked child, where the thread that held it may not exist."""
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
            remedy="run them one after the other, or in separate processes",
        )
    try:
        yield
    finally:
        lock.release()


def _set_threads(threads: int, *, in_own_thread: bool) -> None:
    """Set PyTorch's number of threads for a run.

    Args:
        threads: of the run.
        in_own_thread: whether PyTorch computes in a thread of the run's own. If the calling thread
            had workers too, there could be more threads than cores. OpenMP's threads then hardly
            wait for each other before they sleep, and on two cores a step takes nearly twice as
            long. But this is also all that keeps steps short next to other processes, unless the
            environment limits the waiting.
    """
    import torch

    torch.set_num_threads(threads)
    if in_own_thread and waiting.is_limited():
        torch.set_num_threads(1)
        # The last call decides how many threads other new threads have.
        other = threading.Thread(target=torch.set_num_threads, args=(threads,))
        other.start()
        other.join()


def _like(began: str) -> str:
    """The engine to request for a run started with this one; PyTorch if it no longer exists."""
    if began == NATIVE:
        return AUTO
    return began if began in ENGINES else TORCH


def choose_device(name: str) -> str:
    """The device to use for this name; `auto` takes a GPU if there is one.

    Raises:
        UsageError: the name is unknown, or the device is not available.
    """
    if name not in DEVICES:
        meant = {"gpu": "cuda"}.get(name, name)
        raise UsageError(f"there is no device {name!r}", remedy=did_you_mean(meant, DEVICES))
    if name == CPU:
        return name
    import torch

    there = {
        CPU: True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else CPU
    if not there[name]:
        raise UsageError(
            f"device {name} is not available here",
            remedy="choose --device auto, or install a PyTorch build that supports it",
        )
    return name


def usual_threads() -> int:
    """Default number of threads: half the cores, at least two, at most PyTorch's own setting.

    Small batches split into microsecond-sized pieces, and each piece waits for the slowest
    thread. As soon as anything else needs a core, one thread per core is many times slower than
    a few.
    """
    return min(run_threads(), max(2, available_cores() // 2))
