"""The resources a run may use, and those it used before."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import tenfold
from tenfold.errors import UsageError
from tenfold.evaluation.flushing import FlushingThread
from tenfold.evaluation.threads import run_threads
from tenfold.native.threads import available_cores, pytorch_threads
from tenfold.runs.facts import RunFacts
from tenfold.runs.resources import Resources


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


def test_pytorch_computes_in_its_own_thread_and_the_callers_has_no_workers() -> None:
    """With workers in both, OpenMP would have more threads than cores, and wait less eagerly."""
    before = torch.get_num_threads()
    with Resources(device="cpu", threads=3).repeatable():
        assert (torch.get_num_threads(), run_threads()) == (1, 3)
        with FlushingThread() as thread:
            assert thread(torch.get_num_threads) == 3
        with Resources(device="cpu", threads=2).repeatable():  # as a watcher that evaluates does
            assert run_threads() == 2
        assert run_threads() == 3
    assert torch.get_num_threads() == run_threads() == before


def test_without_pytorch_the_number_of_threads_is_the_one_it_would_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for text, wanted in (("3", 3), ("5,2", 5), ("", None), ("0", None), ("many", None)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert pytorch_threads() == (wanted or available_cores())
