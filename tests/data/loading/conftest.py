"""Fixtures that watch whether batches are gathered and whether processes start."""

from __future__ import annotations

import gc
from multiprocessing.process import BaseProcess

import pytest
import torch

from tenfold.data.loading.gathering import Rows


@pytest.fixture(autouse=True, scope="session")
def _workers_end_soon():
    """Skip PyTorch's wait of 5 seconds for each worker after an error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
        yield
        gc.collect()


def results(monkeypatch, kind: type, method: str) -> list:
    """A method's return values so far; grows with every call."""
    seen, original = [], getattr(kind, method)

    def call(self, *arguments):
        seen.append(original(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(kind, method, call)
    return seen


@pytest.fixture
def gathered(monkeypatch) -> list:
    """Every batch gathered so far, or None if it could not be."""
    return results(monkeypatch, Rows, "batch")


@pytest.fixture
def started(monkeypatch) -> list:
    """One entry for every process started so far."""
    return results(monkeypatch, BaseProcess, "start")
