"""Runs whose process is killed, and the machine under it, end with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from kill import EVERYTHING, state_of

from engines import ENGINES
from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources

HARNESS = Path(__file__).parent.parent / "soak" / "kill.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no SIGKILL here")


@pytest.mark.parametrize("engine", ENGINES)
def test_sixty_kills_make_no_difference(engine: str) -> None:
    result = subprocess.run(
        [
            *(sys.executable, str(HARNESS), "--kills", "60", "--seed", "11", "--json"),
            *("--engine", engine),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["kills"] >= 60
    assert report["resumes"] > 0
    assert report["differences"] == 0
    assert any("and the machine" in each for each in report["died"])
    assert any("in the middle of an epoch" in each for each in report["left_behind"])


def test_the_harness_notices_a_wrong_resume(tmp_path: Path) -> None:
    """A change of one bit in a run's results is a difference."""
    runs = [tmp_path / "one", tmp_path / "other"]
    for seed, run in enumerate(runs):
        train_run(
            load_recipe(EVERYTHING, {"epochs": 1, "seed": seed}),
            out=run,
            resources=Resources(threads=1),
        )
    one, other = map(state_of, runs)
    assert one.keys() == other.keys()
    differing = {key.partition(":")[0] for key in one if one[key] != other[key]}
    assert differing >= {"checkpoint", "model", "best", "history", "figures", "recipe"}


@pytest.fixture(scope="module", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, engine: str) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    resources = Resources(threads=1, engine=engine)
    train_run(load_recipe(EVERYTHING), out=run, resources=resources, checkpoint_every="7")
    return run


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step-*"))


@pytest.mark.parametrize(
    "far_enough",
    [
        lambda run: (run / "run.json").exists(),
        lambda run: "step-000000007.safetensors" in checkpoints(run),
        lambda run: (run / "checkpoints" / "best.safetensors").exists(),
        lambda run: len(checkpoints(run)) > 1 and checkpoints(run)[-1] > "step-000000070",
    ],
    ids=["at the beginning", "in the first epoch", "after an epoch", "near the end"],
)
def test_the_command_line_killed_and_resumed(
    far_enough: Callable[[Path], bool], tmp_path: Path, whole: Path, engine: str
) -> None:
    run = tmp_path / "run"
    tenfold = [sys.executable, "-m", "tenfold"]
    training = subprocess.Popen(
        [
            *(*tenfold, "train", "--recipe", EVERYTHING, "--out", run, "--threads", "1"),
            *("--checkpoint-every", "7", "--quiet", "--engine", engine),
        ],
        stdout=subprocess.PIPE,
    )
    while training.poll() is None and not far_enough(run):
        time.sleep(0.001)
    training.kill()
    training.communicate()
    resumed = subprocess.run(
        [*tenfold, "resume", run, "--quiet"], capture_output=True, text=True, check=False
    )
    assert resumed.returncode == 0, resumed.stderr
    assert state_of(run) == state_of(whole)
