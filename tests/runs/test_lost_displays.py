"""A display that is lost does not end a training; `tests/soak/displays.py` has more of them."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pty", reason="there are no terminals here")

from displays import STREAMS, TERMINALS, difference, lose_streams, use_terminal
from kill import EVERYTHING, state_of

from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources
from thoroughness import some

SOME_STREAMS = some(["both have a reader of one line", "standard error is full"])
SOME_TERMINALS = ["disappears", "20 columns"]


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The results of a run that nobody disturbed."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    train_run(
        load_recipe(EVERYTHING), out=run, resources=Resources(threads=1), checkpoint_every="7"
    )
    return state_of(run)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("name", SOME_STREAMS)
def test_lost_streams(name: str, tmp_path: Path, wanted: dict[str, object]) -> None:
    assert name in STREAMS
    assert lose_streams(name, tmp_path / "run") == ""
    assert (tmp_path / "run/model.safetensors").exists()
    assert difference(tmp_path / "run", wanted) == ""


@pytest.mark.parametrize("name", SOME_TERMINALS)
def test_terminals(name: str, tmp_path: Path, wanted: dict[str, object]) -> None:
    assert name in TERMINALS
    assert use_terminal(name, tmp_path / "run") == ""
    assert difference(tmp_path / "run", wanted) == ""
