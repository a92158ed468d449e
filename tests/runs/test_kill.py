"""Runs whose process is killed, and the machine under it, end with the same bits."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kill import EVERYTHING, state_of

from engines import ENGINES
from tenfold.recipes import load_recipe
from tenfold.runs import train_run
from tenfold.runs.resources import Resources
from thoroughness import IS_THOROUGH, some

HARNESS = Path(__file__).parent.parent / "soak" / "kill.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no SIGKILL here")


KILLS = 12 if IS_THOROUGH else 8
"""`make soak` runs a thousand, of more recipes."""

SEED = 52
"""With it, the first process loses the machine in the middle of an epoch, with either engine."""


@pytest.mark.parametrize("engine", some(reversed(ENGINES)))
def test_kills_make_no_difference(engine: str) -> None:
    result = subprocess.run(
        [
            *(sys.executable, str(HARNESS), "--kills", str(KILLS), "--seed", str(SEED), "--json"),
            *("--recipe", "everything", "--engine", engine),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["kills"] >= KILLS
    assert report["resumes"] > 0
    assert report["differences"] == 0
    assert any("and the machine" in each for each in report["died"])
    assert any("in the middle of an epoch" in each for each in report["left_behind"])
    assert len(report["phases"]) > 2  # in how many depends on the speed of the machine


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


def newest_checkpoint(run: Path) -> str:
    return max((path.name for path in (run / "checkpoints").glob("step-*")), default="")


FAR_ENOUGH = {"torch": "step-000000007", "native": "step-000000071"}
"""A checkpoint in the first epoch, and one near the end. The harness covers other moments."""


@pytest.mark.parametrize("engine", some(ENGINES))
def test_the_command_line_killed_and_resumed(engine: str, tmp_path: Path) -> None:
    whole = train_run(
        load_recipe(EVERYTHING),
        out=tmp_path / "whole",
        resources=Resources(threads=1, engine=engine),
        checkpoint_every="7",
    )
    run = tmp_path / "run"
    tenfold = [sys.executable, "-m", "tenfold"]
    training = subprocess.Popen(
        [
            *(*tenfold, "train", "--recipe", EVERYTHING, "--out", run, "--threads", "1"),
            *("--checkpoint-every", "7", "--quiet", "--engine", engine),
        ],
        stdout=subprocess.PIPE,
    )
    while training.poll() is None and newest_checkpoint(run) < FAR_ENOUGH[engine]:
        time.sleep(0.001)
    training.kill()
    training.communicate()
    assert training.returncode == -signal.SIGKILL
    resumed = subprocess.run(
        [*tenfold, "resume", run, "--quiet"], capture_output=True, text=True, check=False
    )
    assert resumed.returncode == 0, resumed.stderr
    assert state_of(run) == state_of(whole.folder)
