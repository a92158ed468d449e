"""What tests of the loader watch: whether batches are gathered, and whether processes start."""

from __future__ import annotations

import gc
from multiprocessing.process import BaseProcess

import pytest
import torch

from tenfold.data.loading.gathering import Rows


@pytest.fixture(autouse=True, scope="session")
def _workers_end_soon():
    """PyTorch waits 5 seconds for each worker of an iterator that an error broke off."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
        yield
        gc.collect()


def results(monkeypatch, kind: type, method: str) -> list:
    """What a method has returned so far; it grows with every call."""
    seen, original = [], getattr(kind, method)

    def call(self, *arguments):
        seen.append(original(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(kind, method, call)
    return seen


@pytest.fixture
def gathered(monkeypatch) -> list:
    """Every batch that was gathered so far, or None where it could not be."""
    return results(monkeypatch, Rows, "batch")


@pytest.fixture
def started(monkeypatch) -> list:
    """One entry for every process that was started so far."""
    return results(monkeypatch, BaseProcess, "start")
