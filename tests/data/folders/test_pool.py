"""Work for a pool of threads, after the main thread has ended."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, thread

import pytest

from tenfold.data.folders.pool import submitted


def test_work_keeps_its_order_when_the_pool_refuses_more(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[int] = []

    def work(number: int) -> int:
        time.sleep(0.05)
        order.append(number)
        return number

    with ThreadPoolExecutor(1) as pool:
        futures = [submitted(pool, work, number) for number in range(4)]
        monkeypatch.setattr(thread, "_shutdown", True)  # what the end of the main thread does
        futures += [submitted(pool, work, number) for number in (4, 5)]
        assert order == [0, 1, 2, 3, 4, 5] == [future.result() for future in futures]


def test_errors_wait_for_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(thread, "_shutdown", True)
        future = submitted(pool, int, "no number")
    with pytest.raises(ValueError, match="no number"):
        future.result()
