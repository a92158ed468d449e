"""The error for running out of memory: where, with which batch size, and what to try."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tenfold.errors import TrainingError, set_option
from tenfold.training.state import TrainingState

_SIGNS = (
    "can't allocate memory",  # PyTorch's allocator for the CPU
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
"""Messages of libraries that have no error class for it."""


def is_out_of_memory(error: MemoryError | RuntimeError) -> bool:
    """Whether this error means that memory ran out."""
    has_its_own_error = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return has_its_own_error or any(sign in str(error) for sign in _SIGNS)


@contextmanager
def out_of_memory_explained(
    state: TrainingState, *, batch_size: int | None, eval_batch_size: int
) -> Iterator[None]:
    """Turn running out of memory inside the block into an error that names the batch size.

    Args:
        state: for the current epoch and batch.
        batch_size: in training; None if the block only evaluates.
        eval_batch_size: in evaluation.

    Raises:
        TrainingError: memory ran out.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if batch_size is None or state.batch == len(state.losses):  # the epoch's batches are done
            place, key, size = "in evaluation", "eval_batch_size", eval_batch_size
        else:
            place = f"in epoch {state.epoch + 1}, batch {state.batch + 1}"
            key, size = "batch_size", batch_size
        remedy = (
            f"train with {set_option(key, size // 2)}; to continue the run instead, set "
            f"{key} = {size // 2} in its recipe.toml and resume with --accept recipe"
        )
        raise TrainingError(
            f"memory ran out {place}, with {key} = {size:,}",
            remedy=remedy if size > 1 else "choose a smaller model",
        ) from error


def peak_memory() -> int | None:
    """The most memory that this process has had so far, in bytes; None on Windows."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
