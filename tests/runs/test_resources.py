"""The resources a run may use, and those it used before."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

import tenfold
from tenfold.errors import UsageError
from tenfold.evaluation.flushing import FlushingThread
from tenfold.evaluation.threads import run_threads
from tenfold.native import threads
from tenfold.native.threads import available_cores, pytorch_threads
from tenfold.runs.facts import RunFacts
from tenfold.runs.resources import Resources, usual_threads
from thoroughness import some


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> RunFacts:
    """The facts of a PyTorch run on the CPU with three threads."""
    out = tmp_path_factory.mktemp("runs") / "run"
    resources = {"device": "cpu", "threads": 3, "engine": "torch"}
    return tenfold.train("digits", epochs=1, out=out, quiet=True, **resources).facts


def test_unset_resources_are_the_runs(facts: RunFacts) -> None:
    wanted = Resources(device="cpu", threads=3, engine="torch")
    assert Resources().with_defaults_from(facts, None) == wanted
    assert Resources(download=False).with_defaults_from(facts, "digits").download is False


def test_given_resources_take_precedence(facts: RunFacts, tmp_path: Path) -> None:
    given = Resources(tmp_path, device="mps", threads=7, engine="native")
    assert given.with_defaults_from(facts, None) == given


@pytest.mark.parametrize(
    ("began", "asked_for"),
    [("native", "auto"), ("torch", "torch"), ("one that is no longer there", "torch")],
)
def test_the_engine_that_started_a_run_continues_it_if_it_can(
    began: str, asked_for: str, facts: RunFacts
) -> None:
    conditions = facts.conditions.model_copy(update={"engine": began})
    found = Resources().with_defaults_from(facts.updated(conditions=conditions), None)
    assert found.engine == asked_for


def test_zero_threads_do_not_count_as_unset(facts: RunFacts) -> None:
    resources = Resources(threads=0).with_defaults_from(facts, None)
    with (
        pytest.raises(UsageError, match=r"threads is 0, wanted a whole number"),
        resources.repeatable(),
    ):
        pass


def test_its_folder_is_used_for_its_own_data_while_it_exists(
    facts: RunFacts, tmp_path: Path
) -> None:
    root = tmp_path / "sets"
    root.mkdir()
    moved = facts.updated(data=facts.data.model_copy(update={"root": str(root)}))
    for data, found in ((None, root), ("digits", root), ("mnist", None), (object(), None)):
        assert Resources().with_defaults_from(moved, data).data_root == found
    root.rmdir()
    assert Resources().with_defaults_from(moved, None).data_root is None


@pytest.mark.parametrize(
    ("variable", "own"),
    [
        (None, 3),
        (("GOMP_SPINCOUNT", "2000"), 1),
        (("GOMP_SPINCOUNT", "300000"), 3),
        (("GOMP_SPINCOUNT", "infinite"), 3),
        (("OMP_WAIT_POLICY", "Passive"), 1),
    ],
)
def test_the_callers_thread_has_no_workers_if_waiting_is_limited(
    variable: tuple[str, str] | None, own: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With workers there too, OpenMP may have more threads than cores, and waits less eagerly."""
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if variable is not None:
        monkeypatch.setenv(*variable)
    before = torch.get_num_threads()
    with Resources(device="cpu", threads=3).repeatable():
        assert (torch.get_num_threads(), run_threads()) == (own, 3)
        with FlushingThread() as thread, ThreadPoolExecutor() as pool:
            assert thread(torch.get_num_threads) == 3
            assert pool.submit(torch.get_num_threads).result() == 3
        assert usual_threads() == min(3, max(2, available_cores() // 2))
        with Resources(device="cpu", threads=2).repeatable():  # as a watcher that evaluates does
            assert run_threads() == 2
        assert (torch.get_num_threads(), run_threads()) == (own, 3)
    assert torch.get_num_threads() == run_threads() == before


def test_without_pytorch_the_number_of_threads_is_the_one_it_would_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(threads, "available_cores", lambda: 4)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    for text, wanted in (("3", 3), ("1,2", 1), ("5000", 4), ("", 2), ("0", 2), ("many", 2)):
        monkeypatch.setenv("MKL_NUM_THREADS", text)
        assert pytorch_threads() == wanted
    for name in ("MKL_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name)
    assert pytorch_threads() == 4


@pytest.mark.parametrize(
    "environment",
    some(
        [
            {},
            {"OMP_NUM_THREADS": "64"},
            {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"},
            {"OMP_NUM_THREADS": "1"},
            {"MKL_NUM_THREADS": "64"},
            {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "1"},
        ],
        3,
    ),
    ids=str,
)
def test_that_is_so_for_each_setting_of_the_environment(environment: dict[str, str]) -> None:
    code = (
        "from tenfold.native.threads import pytorch_threads\n"
        "before = pytorch_threads()\n"
        "import torch\n"
        "assert before == torch.get_num_threads(), (before, torch.get_num_threads())\n"
    )
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    subprocess.run([sys.executable, "-c", code], env=kept | environment, check=True)
